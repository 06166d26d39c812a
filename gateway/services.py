"""Call a running agent."""

import atexit
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final
from uuid import UUID

import structlog

from accounts.callers import Caller
from accounts.roles import Action
from gateway.errors import AgentTimedOut
from gateway.problems import domain_error_of
from ledger.errors import Conflict, DomainError, InvalidInput, NotFound, Unavailable, UpstreamFailed
from provisioning.agent_client import (
    AgentAnswer,
    AgentCallError,
    AgentClient,
    AgentTooSlow,
    AgentUnreachable,
    call_capability,
)
from registry.enums import AgentStatus
from registry.json_bounds import check_json_bounds
from registry.models import Agent, Release
from registry.services.agents import credentials_of
from registry.spec import AgentSpec

log = structlog.get_logger(__name__)

_MARGIN_SECONDS: Final = 2.0
_NOT_FOR_REQUEST_ID: Final = re.compile(r"[^A-Za-z0-9._:-]")
_MAX_REQUEST_ID: Final = 128
_MAX_NAMED: Final = 20

_NEXT: Final[Mapping[str, str]] = {
    AgentStatus.DRAFT: "Deploy it if it does not run yet, then activate it.",
    AgentStatus.PAUSED: "Resume it to call it again.",
    AgentStatus.DEPRECATED: "It was retired: call the agent that took its place.",
    AgentStatus.FAILED: "Look at its health, put that right, then activate it.",
}


@dataclass(frozen=True, kw_only=True)
class InvokeResult:
    """What the agent answered."""

    output: dict[str, Any]
    request_id: str
    duration_ms: float
    """Measured around the call, in milliseconds."""


def invoke_agent(
    *,
    caller: Caller,
    agent: Agent,
    capability: str,
    payload: Any,
    request_id: str | None = None,
    trial: bool = False,
) -> InvokeResult:
    """Call one capability of a running agent with ``payload``, an object, and return its output.

    An agent answers once it is active. With ``trial``, somebody who may deploy can try a draft that
    runs. What was said is not kept; the log gets names and durations.

    Raises:
        NotAllowed: the caller may not invoke (or, for a draft, not deploy).
        NotFound: the agent is another organisation's, or has no such capability.
        Conflict: ``agent_not_active``.
        InvalidInput: the agent's own findings on the input, field by field.
        Unavailable, AgentTimedOut, AgentBusy, ModelNotConnected, UpstreamFailed: the agent did not
            answer, or said why it can't.

    """
    caller.require(Action.INVOKE_AGENTS)
    if agent.organization_id != caller.organization.pk:
        raise NotFound("agent_not_found", "There is no such agent.")
    release_id = _running_release(caller, agent, trial=trial)
    spec = _spec_of(release_id)
    found = spec.capability(capability)
    if found is None:
        names = ", ".join(item.name for item in spec.capabilities[:_MAX_NAMED])
        raise NotFound("capability_not_found", f"The agent can be asked for: {names}.")
    _check_payload(payload)
    request_id = clean_request_id(request_id)
    own_limit = min(found.timeout_seconds, spec.policies.timeouts.operation_seconds)
    outcome = "ok"
    duration_ms: float | None = None
    try:
        answer = _call(agent, capability, payload, request_id, own_limit + _MARGIN_SECONDS)
        duration_ms = answer.duration_ms
        if not answer.ok:
            raise domain_error_of(answer)
    except DomainError as error:
        outcome = error.code
        raise
    finally:
        log.info(
            "agent invoked",
            agent=str(agent.pk),
            capability=capability,
            call_id=request_id,
            outcome=outcome,
            duration_ms=duration_ms,
        )
    return InvokeResult(output=answer.output, request_id=request_id, duration_ms=answer.duration_ms)


def clean_request_id(sent: str | None) -> str:
    """Return the caller's id of the request, freed of odd characters, or a new one."""
    cleaned = _NOT_FOR_REQUEST_ID.sub("", (sent or "")[:_MAX_REQUEST_ID])
    return cleaned or f"req-{uuid.uuid4().hex[:16]}"


def _running_release(caller: Caller, agent: Agent, *, trial: bool) -> UUID:
    if trial and agent.status == AgentStatus.DRAFT:
        caller.require(Action.DEPLOY_AGENTS)
    elif agent.status != AgentStatus.ACTIVE:
        advice = _NEXT[agent.status]
        label = AgentStatus(agent.status).label.lower()
        raise Conflict("agent_not_active", f"{agent.agent_id} is not active ({label}). {advice}")
    if agent.current_release_id is None or not agent.endpoint:
        raise Conflict(
            "agent_not_running", f"{agent.agent_id} does not run. Deploy it, then call it again."
        )
    return agent.current_release_id


@lru_cache(maxsize=256)
def _spec_of(release_id: UUID) -> AgentSpec:
    # A release never changes.
    return Release.objects.only("spec").get(pk=release_id).agent_spec()


def _check_payload(payload: Any) -> None:
    if not isinstance(payload, Mapping):
        raise InvalidInput(
            "invalid_input", 'Send the input as a JSON object, as in {"text": "hello"}.'
        )
    try:
        check_json_bounds(payload)
    except ValueError as error:
        raise InvalidInput("invalid_input", str(error)) from None


def _call(
    agent: Agent,
    capability: str,
    payload: Mapping[str, Any],
    request_id: str,
    timeout_seconds: float,
) -> AgentAnswer:
    try:
        return call_capability(
            _client(os.getpid()),
            address=agent.endpoint,
            token=credentials_of(agent).invoke_token,
            capability=capability,
            payload=payload,
            request_id=request_id,
            timeout_seconds=timeout_seconds,
        )
    except AgentUnreachable as error:
        raise Unavailable(
            "agent_unreachable",
            f"{error} Try again soon; if it stays so, look at the agent's health and deploy it "
            "again.",
        ) from error
    except AgentTooSlow as error:
        raise AgentTimedOut(
            "agent_timeout", f"{error} Send less, or raise the capability's timeout."
        ) from error
    except AgentCallError as error:
        raise UpstreamFailed(
            "agent_answer_unusable", f"{error} Look at the agent's log."
        ) from error


@cache
def _client(_process: int) -> AgentClient:
    """Return this process's client; a forked child must not share its parent's connections."""
    client = AgentClient()
    atexit.register(client.close)
    return client
