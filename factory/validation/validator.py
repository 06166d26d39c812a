"""Run the rules over a request."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from accounts.callers import Caller
from accounts.models import Membership
from accounts.roles import Action, Role
from factory.compilation import compile_request
from factory.validation.facts import read_facts
from factory.validation.findings import Finding, Report, error, in_order
from factory.validation.findings import RuleTier as Tier
from factory.validation.platform import platform_findings
from factory.validation.policy import policy_findings
from factory.validation.structure import compilation_findings, structure_findings
from ledger.errors import InvalidInput, NotFound
from registry.models import Agent
from registry.spec import AgentSpec
from templates_lib.models import TemplateVersion
from templates_lib.services import template_for

BLANK_TEMPLATE: Final = "blank"
_NAMED_ADMINS: Final = 3


def validate(*, caller: Caller, request: Mapping[str, Any], agent: Agent | None = None) -> Report:
    """Return everything that speaks for or against what ``request`` asks for.

    Without a ``template_id`` it is judged as made from the blank template. ``agent`` is the one
    that the request would change, which then neither takes its own id nor counts twice.

    Raises:
        NotAllowed: the role does not include creating agents.

    """
    caller.require(Action.CREATE_AGENTS)
    try:
        spec = compile_request(request, template_version=requested_template(request))
    except InvalidInput as problem:
        return Report(findings=tuple(compilation_findings(problem)), spec=None)
    except NotFound as missing:
        found = error(Tier.STRUCTURE, missing.code, "template_id", missing.message)
        return Report(findings=(found,), spec=None)
    return validate_spec(caller=caller, spec=spec, agent=agent)


def validate_spec(*, caller: Caller, spec: AgentSpec, agent: Agent | None = None) -> Report:
    """Return what the rules say of a compiled specification.

    Raises:
        NotAllowed: the role does not include creating agents.

    """
    caller.require(Action.CREATE_AGENTS)
    facts = read_facts(caller, spec, agent=agent)
    findings: list[Finding] = [
        *structure_findings(spec),
        *policy_findings(spec, facts, may_raise=partial(who_may_raise, caller)),
        *platform_findings(spec, facts),
    ]
    return Report(findings=in_order(findings), spec=spec)


def requested_template(request: Mapping[str, Any]) -> TemplateVersion:
    """Return the newest published version of the template that the request names.

    Raises:
        InvalidInput: ``template_id`` is not a text.
        NotFound: ``template_not_found``.

    """
    wanted = request.get("template_id", BLANK_TEMPLATE)
    if not isinstance(wanted, str) or not wanted:
        raise InvalidInput.of_field(
            "template_id", "string_type", "Give a template's id, as in memory-agent."
        )
    return template_for(wanted)[1]


def who_may_raise(caller: Caller) -> str:
    """Return, in words, who can raise a quota of the caller's organisation."""
    names = list(
        Membership.objects.filter(
            organization=caller.organization, role=Role.ADMIN, user__is_active=True
        )
        .order_by("user__username")
        .values_list("user__username", flat=True)[:_NAMED_ADMINS]
    )
    return f"an admin ({', '.join(names)})" if names else "an administrator of the platform"
