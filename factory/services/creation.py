"""From a request to an agent that is being deployed, once."""

import hashlib
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final

from django.db import connection, transaction

from accounts.callers import Caller
from accounts.models import Organization
from accounts.roles import Action
from factory import cost
from factory.enums import BlueprintStatus
from factory.models import Blueprint, IdempotencyKey, Tier
from factory.validation import Report, Severity, validate
from factory.validation.facts import read_facts
from factory.validation.platform import taken_message
from factory.validation.policy import quota_message
from factory.validation.validator import who_may_raise
from ledger.errors import (
    Conflict,
    DomainError,
    FieldProblem,
    InvalidInput,
    NotFound,
    TooManyRequests,
)
from ledger.transitions import transition
from provisioning.models import Deployment
from provisioning.services import deploy_release
from registry.models import Agent
from registry.services.agents import create_release, reserve_agent
from registry.spec import AgentSpec, canonical_json
from sandbox.services import gate, require_gate, waive
from templates_lib.rendering import RenderedProject
from templates_lib.services import render_and_check, version_of

_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")


def create_agent(
    *,
    caller: Caller,
    request: Mapping[str, Any],
    idempotency_key: str | None = None,
    skip_test_reason: str | None = None,
    blueprint: Blueprint | None = None,
    scenarios: Collection[str] | None = None,
) -> tuple[Agent, Deployment]:
    """Make the agent that ``request`` asks for and begin to deploy it, all or nothing.

    In order: validate, compile, ask the deploy gate, render and check the code; then, all in one
    transaction, ask the gate again (or skip the test for a written reason), take the name, add the
    first release, begin its deployment. The work starts when the transaction commits. The same
    ``idempotency_key`` with the same request returns what the first one made. ``scenarios`` are
    the names that the gate goes by, where it is known which scenarios there are.

    Raises:
        NotAllowed: the role does not include creating and deploying agents.
        InvalidInput: the request can't be used; ``problems`` name the fields.
        Conflict: ``agent_id_taken`` (with free ids), ``idempotency_key_reused``,
            ``sandbox_test_required``, ``blueprint_archived`` or ``blueprint_deployed``.
        TooManyRequests: ``tier_quota_full``; the message says who can raise it.
        RenderingRejected: the rendered code did not pass its checks.

    """
    caller.require(Action.CREATE_AGENTS)
    caller.require(Action.DEPLOY_AGENTS)
    remembered = _Remembered(caller, idempotency_key, request, skip_test_reason)
    if (earlier := remembered.earlier()) is not None:
        return earlier.agent, earlier
    try:
        # Before anything is held: judging and rendering take a moment.
        spec = accepted_spec(validate(caller=caller, request=request))
        if skip_test_reason is None:
            require_gate(organization=caller.organization, digest=spec.digest, names=scenarios)
        project = render_and_check(spec)
        with transaction.atomic():
            remembered.take_turn()
            if (earlier := remembered.earlier()) is not None:
                return earlier.agent, earlier
            pass_gate(caller, spec.digest, skip_test_reason, scenarios)
            agent, deployment = _make(caller, spec, project)
            _finish(caller, request, spec, agent, blueprint)
            remembered.keep(deployment)
    except DomainError as error:
        # The same request may have taken the name, or the last place, a moment ago.
        if (earlier := remembered.made_meanwhile()) is not None:
            return earlier.agent, earlier
        if isinstance(error, InvalidInput) and blueprint is not None:
            _remember_refusal(caller, blueprint, error)
        raise
    return agent, deployment


def accepted_spec(report: Report) -> AgentSpec:
    """Return the specification, or raise what speaks against it.

    Raises:
        InvalidInput: something in the request needs attention.
        Conflict: nothing but the id, which is taken.
        TooManyRequests: nothing but the tier, whose quota is used up.

    """
    if report.spec is not None and report.valid:
        return report.spec
    errors = [item for item in report.findings if item.severity == Severity.ERROR]
    if len(errors) == 1:
        only = errors[0]
        problems = (FieldProblem(only.field, only.rule, only.message),)
        if only.rule == "agent_id_taken":
            raise Conflict(only.rule, only.message, problems=problems)
        if only.rule == "tier_quota_full":
            raise TooManyRequests(only.rule, only.message, problems=problems)
    raise report.as_error()


def pass_gate(
    caller: Caller,
    digest: str,
    skip_test_reason: str | None,
    scenarios: Collection[str] | None = None,
) -> None:
    """Do nothing if the specification may be deployed; skip its test if there is a reason to.

    ``scenarios`` are the names that count; ``None``: all that were ever asked of the digest.

    Raises:
        Conflict: ``sandbox_test_required``.
        InvalidInput: the reason is empty or too long.

    """
    organization = caller.organization
    if skip_test_reason is not None:
        verdict = gate(organization=organization, digest=digest, names=scenarios)
        if not verdict.passed:
            waive(caller=caller, digest=digest, reason=skip_test_reason)
    require_gate(organization=organization, digest=digest, names=scenarios)


def _make(caller: Caller, spec: AgentSpec, project: RenderedProject) -> tuple[Agent, Deployment]:
    estimate = cost.estimate(tier=spec.tier, resources=spec.resources)
    hold_quota(caller, spec)
    try:
        agent = reserve_agent(caller=caller, spec=spec)
    except Conflict as conflict:
        if conflict.code != "agent_id_taken":
            raise
        message = taken_message(spec.agent_id, read_facts(caller, spec))
        problem = FieldProblem("agent_id", conflict.code, message)
        raise Conflict(conflict.code, message, problems=(problem,)) from None
    release = create_release(caller=caller, agent=agent, spec=spec, files=project.files)
    deployment = deploy_release(
        caller=caller,
        agent=agent,
        release=release,
        monthly_cost_inr=Decimal(estimate.monthly_cost_inr),
    )
    return agent, deployment


def hold_quota(caller: Caller, spec: AgentSpec, *, agent: Agent | None = None) -> None:
    """Count again with the organisation's row held: creators of one organisation take turns.

    ``agent`` is the one that is changed, which does not count.

    Raises:
        TooManyRequests: ``tier_quota_full``.

    """
    Organization.objects.select_for_update(no_key=True).get(pk=caller.organization.pk)
    tier = Tier.objects.get(pk=spec.tier)
    others = Agent.objects.of(caller.organization).counted_in_quota().filter(tier=spec.tier)
    used = (others if agent is None else others.exclude(pk=agent.pk)).count()
    if used >= tier.quota:
        message = quota_message(tier, used, may_raise=who_may_raise(caller))
        problem = FieldProblem("tier", "tier_quota_full", message)
        raise TooManyRequests("tier_quota_full", message, problems=(problem,))


def _finish(
    caller: Caller,
    request: Mapping[str, Any],
    spec: AgentSpec,
    agent: Agent,
    blueprint: Blueprint | None,
) -> None:
    """Let the blueprint, the given one or a new one, say what became of it."""
    if blueprint is None:
        row = Blueprint(organization=caller.organization, created_by=caller.user)
    else:
        row = locked_blueprint(caller, blueprint)
        _refuse_what_ended(row)
    row.name = spec.name
    row.request = dict(request)
    row.template_version = version_of(spec.template)
    row.agent = agent
    row.findings = []
    row.save()
    if row.status in (BlueprintStatus.VALIDATION_FAILED, BlueprintStatus.DEPLOYED):
        transition(row, to=BlueprintStatus.DRAFT, actor=caller.user)
    if row.status == BlueprintStatus.DRAFT:
        transition(row, to=BlueprintStatus.VALIDATING, actor=caller.user)
    if row.status == BlueprintStatus.VALIDATING:
        transition(row, to=BlueprintStatus.READY, actor=caller.user)
    transition(row, to=BlueprintStatus.DEPLOYED, actor=caller.user)
    if blueprint is not None:
        blueprint.refresh_from_db()


def _refuse_what_ended(row: Blueprint) -> None:
    """Do nothing if an agent may be made of the blueprint: another tab may have been faster."""
    if row.status == BlueprintStatus.ARCHIVED:
        raise Conflict("blueprint_archived", "This draft was put away. Start a new agent instead.")
    if row.agent_id is not None:
        raise Conflict(
            "blueprint_deployed",
            "This draft became an agent already. Look it up in the agent list.",
        )


def locked_blueprint(caller: Caller, blueprint: Blueprint) -> Blueprint:
    """Return the blueprint's row as it is now, held until the transaction ends.

    Raises:
        NotFound: ``blueprint_not_found``; another organisation's looks the same.

    """
    row = (
        Blueprint.objects.of(caller.organization).select_for_update().filter(pk=blueprint.pk)
    ).first()
    if row is None:
        raise NotFound("blueprint_not_found", "There is no such draft. Start a new agent instead.")
    return row


def _remember_refusal(caller: Caller, blueprint: Blueprint, error: DomainError) -> None:
    """Keep the findings with the blueprint, so that resuming it shows them."""
    with transaction.atomic():
        row = locked_blueprint(caller, blueprint)
        if row.status in (BlueprintStatus.ARCHIVED, BlueprintStatus.DEPLOYED):
            return
        row.findings = [
            {"field": item.attr, "rule": item.code, "message": item.detail}
            for item in error.problems
        ]
        row.save(update_fields=["findings", "updated_at"])
        if row.status in (BlueprintStatus.VALIDATION_FAILED, BlueprintStatus.READY):
            transition(row, to=BlueprintStatus.DRAFT, actor=caller.user)
        if row.status == BlueprintStatus.DRAFT:
            transition(row, to=BlueprintStatus.VALIDATING, actor=caller.user)
        transition(row, to=BlueprintStatus.VALIDATION_FAILED, actor=caller.user)
    blueprint.refresh_from_db()


class _Remembered:
    """What is remembered of a request that names an idempotency key; without one, nothing."""

    def __init__(
        self,
        caller: Caller,
        key: str | None,
        request: Mapping[str, Any],
        skip_test_reason: str | None,
    ) -> None:
        if key is not None and not _KEY.fullmatch(key):
            raise InvalidInput.of_field(
                "Idempotency-Key",
                "invalid",
                "Use 1 to 200 visible ASCII characters, as in a UUID.",
            )
        self._organization = caller.organization
        self._key = key
        body = {"request": request, "skip_test_reason": skip_test_reason}
        try:
            self._digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
        except (ValueError, RecursionError):
            raise InvalidInput("invalid_input", "The request is no storable JSON.") from None

    def take_turn(self) -> None:
        """Wait for another request of this key that is under way; hold the key until the commit."""
        if self._key is None:
            return
        name = hashlib.sha256(f"{self._organization.pk}/{self._key}".encode()).digest()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(name[:8], "big", signed=True)]
            )

    def made_meanwhile(self) -> Deployment | None:
        """Return what a request of this key that was under way just now has made.

        Raises:
            Conflict: as ``earlier``.

        """
        if self._key is None:
            return None
        with transaction.atomic():
            self.take_turn()
            return self.earlier()

    def earlier(self) -> Deployment | None:
        """Return what the first request of this key made.

        Raises:
            Conflict: ``idempotency_key_reused``; that request was another one.

        """
        if self._key is None:
            return None
        row = IdempotencyKey.objects.filter(organization=self._organization, key=self._key).first()
        if row is None:
            return None
        deployment = (
            Deployment.objects.of(self._organization)
            .select_related("agent", "release", "organization")
            .filter(pk=row.deployment_id)
            .first()
        )
        if row.request_digest != self._digest or deployment is None:
            raise Conflict(
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request. Send a new one.",
            )
        return deployment

    def keep(self, deployment: Deployment) -> None:
        """Remember what was made."""
        if self._key is not None:
            IdempotencyKey.objects.create(
                organization=self._organization,
                key=self._key,
                request_digest=self._digest,
                deployment_id=deployment.pk,
            )
