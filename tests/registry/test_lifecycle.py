"""Registering an agent, and what may become of it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounts.roles import Role
from ledger.errors import Conflict, NotAllowed, NotFound
from ledger.models import AuditEntry, Transition
from registry.enums import AgentStatus, Health
from registry.models import Agent
from registry.services.agents import (
    activate_agent,
    create_release,
    delete_agent,
    deprecate_agent,
    fail_agent,
    pause_agent,
    record_health,
    register_agent,
    reserve_agent,
    resume_agent,
    unregister_agent,
)
from tests.builders import make_caller, make_spec
from tests.registry.reserved import ENDPOINT, FILES, make_agent, make_registered

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.django_db


def test_registering_twice_does_it_once() -> None:
    caller = make_caller()
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files=FILES)

    assert register_agent(agent=agent, release=release, endpoint=ENDPOINT) is True
    since = agent.registered_at
    assert register_agent(agent=agent, release=release, endpoint=ENDPOINT) is False

    assert (agent.endpoint, agent.current_release, agent.registered_at) == (
        ENDPOINT,
        release,
        since,
    )


def test_a_deleted_agent_is_not_registered() -> None:
    caller = make_caller()
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files=FILES)
    delete_agent(caller=caller, agent=agent)

    with pytest.raises(NotFound):
        register_agent(agent=agent, release=release, endpoint=ENDPOINT)


def test_unregistering_makes_a_draft_and_doing_it_twice_does_it_once() -> None:
    caller = make_caller()
    agent, _ = make_registered(caller)
    activate_agent(caller=caller, agent=agent)
    record_health(agent=agent, health=Health.HEALTHY, detail={"redis": "ok"})

    assert unregister_agent(agent=agent) is True
    assert unregister_agent(agent=agent) is False

    agent.refresh_from_db()
    assert (agent.status, agent.registered_at, agent.endpoint, agent.current_release) == (
        "draft",
        None,
        "",
        None,
    )
    assert (agent.health, agent.health_detail) == ("unknown", {})


def test_an_agent_that_nothing_runs_of_is_not_activated() -> None:
    caller = make_caller()
    agent = make_agent(caller)

    with pytest.raises(Conflict) as caught:
        activate_agent(caller=caller, agent=agent)

    assert caught.value.code == "agent_not_deployed"
    assert "Deploy it first" in caught.value.message


def test_an_agents_life() -> None:
    caller = make_caller()
    agent, _ = make_registered(caller)

    activate_agent(caller=caller, agent=agent)
    pause_agent(caller=caller, agent=agent)
    resume_agent(caller=caller, agent=agent)
    deprecate_agent(caller=caller, agent=agent)

    moves = Transition.objects.filter(subject_id=agent.pk).values_list("from_status", "to_status")
    assert list(moves) == [
        ("draft", "active"),
        ("active", "paused"),
        ("paused", "active"),
        ("active", "deprecated"),
    ]
    events = AuditEntry.objects.filter(event__startswith="agent.", actor=caller.user)
    assert {"agent.activated", "agent.paused", "agent.resumed", "agent.deprecated"} <= set(
        events.values_list("event", flat=True)
    )


@pytest.mark.parametrize(
    ("service", "code"),
    [
        (pause_agent, "invalid_transition"),
        (resume_agent, "agent_not_paused"),
        (deprecate_agent, "invalid_transition"),
    ],
)
def test_a_draft_is_neither_paused_nor_resumed_nor_deprecated(
    service: Callable[..., Agent], code: str
) -> None:
    caller = make_caller()
    agent, _ = make_registered(caller)

    with pytest.raises(Conflict) as caught:
        service(caller=caller, agent=agent)

    assert caught.value.code == code
    agent.refresh_from_db()
    assert agent.status == AgentStatus.DRAFT


def test_activating_twice_is_refused_and_a_stale_object_does_not_help() -> None:
    caller = make_caller()
    agent, _ = make_registered(caller)
    stale = Agent.objects.get(pk=agent.pk)
    activate_agent(caller=caller, agent=agent)

    with pytest.raises(Conflict):
        activate_agent(caller=caller, agent=stale)


@pytest.mark.parametrize("service", [activate_agent, pause_agent, resume_agent, deprecate_agent])
def test_a_viewer_steers_nothing(service: Callable[..., Agent]) -> None:
    caller = make_caller()
    agent, _ = make_registered(caller)
    viewer = make_caller(Role.VIEWER, caller.organization)

    with pytest.raises(NotAllowed):
        service(caller=viewer, agent=agent)


def test_a_failed_agent_is_a_draft_again_once_it_is_registered() -> None:
    caller = make_caller()
    agent, release = make_registered(caller)

    assert fail_agent(agent=agent, reason="It does not start.") is True
    assert fail_agent(agent=agent, reason="It does not start.") is False
    assert agent.status == AgentStatus.FAILED
    unregister_agent(agent=agent)
    register_agent(agent=agent, release=release, endpoint=ENDPOINT)

    assert agent.status == AgentStatus.DRAFT


def test_a_failed_agent_that_was_only_started_again_is_still_to_be_looked_at() -> None:
    caller = make_caller()
    agent, release = make_registered(caller)
    fail_agent(agent=agent, reason="It ends again and again.")

    moved = f"{ENDPOINT}1"
    assert register_agent(agent=agent, release=release, endpoint=moved, deployed=False) is True

    assert (agent.status, agent.endpoint) == (AgentStatus.FAILED, moved)
    assert activate_agent(caller=caller, agent=agent).status == AgentStatus.ACTIVE


def test_a_deprecated_agent_does_not_fail_for_it_could_be_activated_then() -> None:
    caller = make_caller()
    agent, _ = make_registered(caller)
    activate_agent(caller=caller, agent=agent)
    deprecate_agent(caller=caller, agent=agent)

    assert fail_agent(agent=agent, reason="It ends again and again.") is False

    agent.refresh_from_db()
    assert agent.status == AgentStatus.DEPRECATED


def test_health_is_remembered() -> None:
    agent = make_agent(make_caller())

    record_health(agent=agent, health=Health.DEGRADED, detail={"redis": "slow"})

    agent.refresh_from_db()
    assert (agent.health, agent.health_detail) == ("degraded", {"redis": "slow"})
    assert agent.health_checked_at is not None


def test_health_of_an_agent_that_answers_elsewhere_by_now_is_not_remembered() -> None:
    agent, release = make_registered(make_caller())
    asked = Agent.objects.get(pk=agent.pk)

    register_agent(agent=agent, release=release, endpoint="http://127.0.0.1:2")
    record_health(agent=asked, health=Health.UNREACHABLE, detail={"message": "gone"})
    unregister_agent(agent=agent)
    record_health(agent=asked, health=Health.HEALTHY, detail={})

    agent.refresh_from_db()
    assert (agent.health, agent.health_checked_at) == (Health.UNKNOWN, None)
    assert asked.health == Health.UNKNOWN
