"""Changing an agent that exists: its words at once, its behaviour by a new release."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction
from pydantic import TypeAdapter, ValidationError

from accounts.callers import Caller
from accounts.roles import Action
from factory import cost
from factory.field_messages import spec_problems
from factory.services.creation import accepted_spec, hold_quota, pass_gate
from factory.validation import validate
from ledger.errors import Conflict, FieldProblem, InvalidInput
from provisioning.models import Deployment
from provisioning.services import deploy_release
from registry.models import Agent, Release
from registry.services.agents import agent_for, apply_spec, create_release, update_agent
from registry.spec import AgentSpec, canonical_json
from templates_lib.services import render_and_check

_EDITABLE = ("display_name", "description", "tags")


def edit_agent(*, caller: Caller, agent: Agent, changes: Mapping[str, Any]) -> Agent:
    """Change how the agent is shown: ``display_name``, ``description`` and ``tags``.

    Its behaviour, and so its releases, stay as they are.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: the agent is not the caller's.
        InvalidInput: a field is unknown or out of bounds.

    """
    caller.require(Action.CREATE_AGENTS)
    known = ", ".join(_EDITABLE)
    problems = [
        FieldProblem(
            str(name)[:100],
            "unknown_field",
            f"This can't be changed here. Fields that can: {known}.",
        )
        for name in sorted(changes.keys() - set(_EDITABLE), key=str)[:20]
    ]
    checked: dict[str, Any] = {}
    for name in _EDITABLE:
        if name in changes:
            try:
                checked[name] = _checked(name, changes[name])
            except ValidationError as error:
                problems += [
                    FieldProblem(f"{name}.{item.attr}".rstrip("."), item.code, item.detail)
                    for item in spec_problems(error)
                ]
            except ValueError as error:
                problems.append(FieldProblem(name, "invalid", str(error)))
    if problems:
        raise InvalidInput(
            "invalid_input",
            problems[0].detail if len(problems) == 1 else "Some fields need attention.",
            problems=tuple(problems),
        )
    return update_agent(caller=caller, agent=agent, changes=checked) if checked else agent


def _checked(name: str, value: Any) -> Any:
    field = AgentSpec.model_fields[name]
    annotation = field.rebuild_annotation()
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    result = adapter.validate_json(canonical_json(value), strict=True)
    return list(result) if isinstance(result, tuple) else result


def revise_agent(*, caller: Caller, agent: Agent, request: Mapping[str, Any]) -> Release:
    """Add a release of the agent from a whole new request. What runs goes on until it is deployed.

    The request is judged as for a new agent; its id stays.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: the agent is not the caller's.
        InvalidInput: the request can't be used, or names another ``agent_id``.
        TooManyRequests: the tier that it changes to is full.
        RenderingRejected: the rendered code did not pass its checks.

    """
    caller.require(Action.CREATE_AGENTS)
    agent = agent_for(caller, str(agent.pk))
    wanted = request.get("agent_id", agent.agent_id)
    if not isinstance(wanted, str) or wanted.lower() != agent.agent_id.lower():
        raise InvalidInput.of_field(
            "agent_id", "immutable", f"The id stays {agent.agent_id}. Leave it out or as it is."
        )
    whole = {"template_id": agent.template_slug, **request, "agent_id": agent.agent_id}
    spec = accepted_spec(validate(caller=caller, request=whole, agent=agent))
    project = render_and_check(spec)
    with transaction.atomic():
        hold_quota(caller, spec, agent=agent)
        release = create_release(caller=caller, agent=agent, spec=spec, files=project.files)
        apply_spec(caller=caller, agent=agent, spec=spec)
    return release


def deploy_newest(
    *, caller: Caller, agent: Agent, skip_test_reason: str | None = None
) -> Deployment:
    """Deploy the agent's newest release, once its test passed or was skipped in writing.

    Raises:
        NotAllowed: the role does not include deploying.
        NotFound: the agent is not the caller's.
        Conflict: ``sandbox_test_required``, ``release_missing``, or what ``deploy_release`` says.

    """
    caller.require(Action.DEPLOY_AGENTS)
    agent = agent_for(caller, str(agent.pk))
    release = agent.releases.order_by("-number").first()
    if release is None:
        raise Conflict(
            "release_missing", "There is nothing to deploy yet. Configure the agent first."
        )
    spec = release.agent_spec()
    estimate = cost.estimate(tier=spec.tier, resources=spec.resources)
    with transaction.atomic():
        pass_gate(caller, release.digest, skip_test_reason)
        return deploy_release(
            caller=caller,
            agent=agent,
            release=release,
            monthly_cost_inr=Decimal(estimate.monthly_cost_inr),
        )
