"""The ways between an agent's states, and its registration."""

from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.callers import Caller
from accounts.roles import Action
from ledger import audit
from ledger.errors import Conflict, NotFound
from ledger.transitions import transition
from registry.enums import AgentStatus, Health
from registry.models import Agent, Release

_REGISTERED: Final = Q(registered_at__isnull=False, current_release__isnull=False, deleted_at=None)
_UNDEPLOYED_TO_DRAFT: Final = frozenset({AgentStatus.ACTIVE, AgentStatus.PAUSED})


def register_agent(*, agent: Agent, release: Release, endpoint: str, deployed: bool = True) -> bool:
    """Make the running agent known: where it answers and which release it runs.

    Returns whether that changed anything. An agent that had failed is a draft again once it is
    ``deployed`` anew; one that was only started again is still to be looked at.
    """
    with transaction.atomic():
        row = Agent.objects.present().select_for_update().filter(pk=agent.pk).first()
        if row is None:
            raise NotFound("agent_not_found", "This agent was deleted.")
        known = (row.current_release_id, row.endpoint) == (release.pk, endpoint)
        changed = row.registered_at is None or not known
        if changed:
            now = timezone.now()
            Agent.objects.filter(pk=agent.pk).update(
                registered_at=row.registered_at or now,
                endpoint=endpoint,
                current_release=release,
                updated_at=now,
            )
            audit.record("agent.registered", row, actor=None, detail={"release": release.number})
        if deployed and row.status == AgentStatus.FAILED:
            transition(row, to=AgentStatus.DRAFT, reason="Deployed again.")
    agent.refresh_from_db()
    return changed


def unregister_agent(*, agent: Agent) -> bool:
    """Forget where the agent answers; one that was active or paused is a draft again.

    Returns whether that changed anything: doing it twice does it once.
    """
    with transaction.atomic():
        row = Agent.objects.select_for_update().filter(pk=agent.pk).first()
        if row is None or row.registered_at is None:
            return False
        Agent.objects.filter(pk=agent.pk).update(
            registered_at=None,
            endpoint="",
            current_release=None,
            health=Health.UNKNOWN,
            health_detail={},
            updated_at=timezone.now(),
        )
        if row.status in _UNDEPLOYED_TO_DRAFT:
            transition(row, to=AgentStatus.DRAFT, reason="Undeployed.")
        audit.record("agent.unregistered", row, actor=None)
    agent.refresh_from_db()
    return True


def activate_agent(*, caller: Caller, agent: Agent) -> Agent:
    """Let the agent be called.

    Raises:
        NotAllowed: the role does not include deploying.
        Conflict: ``agent_not_deployed``; nothing is running that could answer.
        InvalidTransition: it is active already, or deprecated.

    """
    return _move(caller, agent, AgentStatus.ACTIVE, "agent.activated", needs=_REGISTERED)


def pause_agent(*, caller: Caller, agent: Agent) -> Agent:
    """Stop the agent from being called; it keeps running.

    Raises:
        NotAllowed: the role does not include deploying.
        InvalidTransition: it is not active.

    """
    return _move(caller, agent, AgentStatus.PAUSED, "agent.paused")


def resume_agent(*, caller: Caller, agent: Agent) -> Agent:
    """Let a paused agent be called again.

    Raises:
        NotAllowed: the role does not include deploying.
        Conflict: ``agent_not_paused`` or ``agent_not_deployed``.

    """
    caller.require(Action.DEPLOY_AGENTS)
    _refresh(caller, agent)
    if agent.status != AgentStatus.PAUSED:
        raise Conflict(
            "agent_not_paused",
            f"This agent is {agent.status}. Only a paused agent can be resumed.",
        )
    needs = _REGISTERED & Q(status=AgentStatus.PAUSED)
    return _move(caller, agent, AgentStatus.ACTIVE, "agent.resumed", needs=needs)


def deprecate_agent(*, caller: Caller, agent: Agent) -> Agent:
    """Retire the agent for good: it can't be called any more.

    It counts in its tier's quota until it is undeployed, for so long it runs.

    Raises:
        NotAllowed: the role does not include deploying.
        InvalidTransition: it is neither active nor paused.

    """
    return _move(caller, agent, AgentStatus.DEPRECATED, "agent.deprecated")


def fail_agent(*, agent: Agent, reason: str) -> bool:
    """Mark the agent as failed: nobody calls it until somebody has looked at it and activates it.

    ``reason`` is for people. Returns whether that changed anything: doing it twice does it once,
    and a deprecated agent, which can't be called anyway, stays so.
    """
    with transaction.atomic():
        row = Agent.objects.present().select_for_update().filter(pk=agent.pk).first()
        if row is None or row.status in (AgentStatus.FAILED, AgentStatus.DEPRECATED):
            return False
        transition(row, to=AgentStatus.FAILED, reason=reason)
    agent.refresh_from_db()
    return True


def _move(
    caller: Caller, agent: Agent, to: AgentStatus, event: str, *, needs: Q | None = None
) -> Agent:
    caller.require(Action.DEPLOY_AGENTS)
    with transaction.atomic():
        _refresh(caller, agent)
        if needs is not None and (agent.registered_at is None or agent.current_release_id is None):
            raise Conflict(
                "agent_not_deployed", "Nothing of this agent is running. Deploy it first."
            )
        condition = Q(deleted_at=None) if needs is None else needs
        transition(agent, to=to, actor=caller.user, only_if=condition, updated_at=timezone.now())
        audit.record(event, agent, actor=caller.user)
    return agent


def _refresh(caller: Caller, agent: Agent) -> None:
    """Read the row again, if it is the caller's to change."""
    present = Agent.objects.of(caller.organization)
    if not present.filter(pk=agent.pk).exists():
        raise NotFound("agent_not_found", "There is no such agent. Look it up in the agent list.")
    agent.refresh_from_db()
