"""Agents from a reserved name to a deleted row, and their releases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from accounts.roles import Role
from ledger.errors import Conflict, NotAllowed, NotFound
from ledger.models import AuditEntry, Transition
from registry.enums import AgentStatus, Health
from registry.models import Agent, AgentCredentials, Release
from registry.services.agents import (
    activate_agent,
    agent_for,
    agent_of_egress_token,
    apply_spec,
    create_release,
    credentials_of,
    delete_agent,
    deprecate_agent,
    fail_agent,
    pause_agent,
    record_health,
    register_agent,
    reserve_agent,
    resume_agent,
    unregister_agent,
    update_agent,
)
from tests.builders import make_caller, make_organization, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.callers import Caller

pytestmark = pytest.mark.django_db

FILES = {"main.py": "print('hello')\n"}
ENDPOINT = "http://127.0.0.1:9000"


def make_agent(caller: Caller, **changes: object) -> Agent:
    return reserve_agent(caller=caller, spec=make_spec(**changes))


def make_registered(caller: Caller) -> tuple[Agent, Release]:
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files=FILES)
    register_agent(agent=agent, release=release, endpoint=ENDPOINT)
    return agent, release


# --- Names ------------------------------------------------------------------------------------


def test_reserving_takes_the_name_and_keeps_what_the_specification_says() -> None:
    caller = make_caller()

    agent = make_agent(caller, agent_id="WowOne", description="Does one thing.", tags=("a", "b"))

    agent.refresh_from_db()
    assert (agent.agent_id, agent.status, agent.owner) == ("WowOne", "draft", caller.user)
    assert (agent.description, agent.tags, agent.template_slug) == (
        "Does one thing.",
        ["a", "b"],
        "blank",
    )
    entry = AuditEntry.objects.get(event="agent.created")
    assert entry.organization_id == caller.organization.pk


def test_a_name_is_taken_once_whatever_its_case() -> None:
    caller = make_caller()
    make_agent(caller, agent_id="WowOne")

    with pytest.raises(Conflict) as caught:
        make_agent(caller, agent_id="WOWONE")

    assert caught.value.code == "agent_id_taken"
    assert Agent.objects.count() == AgentCredentials.objects.count() == 1


def test_another_organisation_may_use_the_same_name() -> None:
    make_agent(make_caller(), agent_id="WowOne")
    make_agent(make_caller(), agent_id="WowOne")

    assert Agent.objects.count() == 2


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_making_an_agent_needs_a_role(role: str) -> None:
    with pytest.raises(NotAllowed):
        make_agent(make_caller(role))


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_a_name_at_once_exactly_one_gets_it() -> None:
    organization = make_organization()
    callers = [make_caller(organization=organization) for _ in range(2)]
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def take(caller: Caller) -> None:
        try:
            start.wait(10)
            make_agent(caller, agent_id="WowRace")
            outcomes.append("made")
        except Conflict as conflict:
            outcomes.append(conflict.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(outcomes) == ["agent_id_taken", "made"]
    assert Agent.objects.count() == 1


# --- Finding ----------------------------------------------------------------------------------


def test_an_agent_is_found_by_its_id_in_any_case_and_by_its_uuid() -> None:
    caller = make_caller()
    agent = make_agent(caller, agent_id="WowOne")

    assert agent_for(caller, "wowONE") == agent
    assert agent_for(caller, str(agent.pk)) == agent


@pytest.mark.parametrize(
    "wanted", ["", "WowTwo", "x" * 5000, "Wow\x00One", "wow one", "İ" * 10, "'; DROP TABLE", "%"]
)
def test_what_is_not_there_is_not_found(wanted: str) -> None:
    caller = make_caller()
    make_agent(caller, agent_id="WowOne")

    with pytest.raises(NotFound) as caught:
        agent_for(caller, wanted)

    assert caught.value.code == "agent_not_found"


def test_another_organisation_finds_nothing_and_changes_nothing() -> None:
    owner, stranger = make_caller(), make_caller()
    agent, release = make_registered(owner)
    spec = release.agent_spec()
    attempts: list[Callable[[], object]] = [
        lambda: agent_for(stranger, agent.agent_id),
        lambda: agent_for(stranger, str(agent.pk)),
        lambda: create_release(caller=stranger, agent=agent, spec=spec, files=FILES),
        lambda: apply_spec(caller=stranger, agent=agent, spec=spec),
        lambda: update_agent(caller=stranger, agent=agent, changes={"name": "Mine"}),
        lambda: delete_agent(caller=stranger, agent=agent),
        lambda: activate_agent(caller=stranger, agent=agent),
        lambda: pause_agent(caller=stranger, agent=agent),
        lambda: resume_agent(caller=stranger, agent=agent),
        lambda: deprecate_agent(caller=stranger, agent=agent),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound) as caught:
            attempt()
        assert caught.value.code == "agent_not_found"

    agent.refresh_from_db()
    assert (agent.status, agent.name, agent.deleted_at) == ("draft", "Test Agent", None)
    assert agent.releases.count() == 1


# --- Credentials ------------------------------------------------------------------------------


def test_credentials_are_encrypted_and_shown_by_no_repr() -> None:
    agent = make_agent(make_caller())

    secrets = credentials_of(agent)

    values = [
        secrets.invoke_token,
        secrets.egress_token,
        secrets.redis_password,
        secrets.database_password,
    ]
    assert len(set(values)) == 4
    assert all(len(value) >= 40 for value in values)
    stored = bytes(AgentCredentials.objects.get(agent=agent).ciphertext).decode()
    assert not [value for value in values if value in stored or value in repr(secrets)]


def test_the_egress_token_says_whose_it_is() -> None:
    agent, other = make_agent(make_caller()), make_agent(make_caller())
    token = credentials_of(agent).egress_token

    assert agent_of_egress_token(token) == agent
    assert agent_of_egress_token(token + "x") is None
    assert agent_of_egress_token(f"{other.pk.hex}.{token.partition('.')[2]}") is None


@pytest.mark.parametrize("token", ["", "x", "é.é", "0" * 32 + ".token", "\x00"])
def test_a_made_up_egress_token_is_nobodys(token: str) -> None:
    make_agent(make_caller())

    assert agent_of_egress_token(token) is None


# --- Releases ---------------------------------------------------------------------------------


def test_releases_are_numbered_and_what_equals_the_newest_is_the_newest() -> None:
    caller = make_caller()
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    changed = make_spec(agent_id=spec.agent_id, goal="Another one")

    first = create_release(caller=caller, agent=agent, spec=spec, files=FILES)
    again = create_release(caller=caller, agent=agent, spec=spec, files=dict(FILES))
    second = create_release(caller=caller, agent=agent, spec=changed, files=FILES)
    files = create_release(caller=caller, agent=agent, spec=changed, files={"main.py": "pass\n"})
    back = create_release(caller=caller, agent=agent, spec=spec, files=FILES)

    assert again == first
    assert [release.number for release in (first, second, files, back)] == [1, 2, 3, 4]
    assert first.digest == back.digest == spec.digest
    assert first.agent_spec() == spec


def test_the_row_follows_a_specification() -> None:
    caller = make_caller()
    agent = make_agent(caller)

    apply_spec(
        caller=caller,
        agent=agent,
        spec=make_spec(agent_id=agent.agent_id, display_name="Shown", tier=4, tags=("new",)),
    )

    agent.refresh_from_db()
    assert (agent.display_name, agent.tier, agent.tags) == ("Shown", 4, ["new"])
    entry = AuditEntry.objects.get_for_object(agent).filter(action=1).latest("timestamp")
    assert entry.changes_dict["display_name"] == ["Test Agent", "Shown"]


# --- Registration and lifecycle ---------------------------------------------------------------


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


# --- Deleting ---------------------------------------------------------------------------------


def test_deleting_frees_the_name_and_destroys_the_credentials() -> None:
    caller = make_caller()
    agent = make_agent(caller, agent_id="WowOne")
    token = credentials_of(agent).egress_token

    delete_agent(caller=caller, agent=agent)

    assert agent_of_egress_token(token) is None
    with pytest.raises(NotFound):
        credentials_of(agent)
    with pytest.raises(NotFound):
        agent_for(caller, "WowOne")
    with pytest.raises(NotFound):
        delete_agent(caller=caller, agent=agent)
    assert make_agent(caller, agent_id="WowOne").pk != agent.pk
    assert Agent.objects.count() == 2


def test_a_registered_agent_is_not_deleted() -> None:
    caller = make_caller()
    agent, _ = make_registered(caller)

    with pytest.raises(Conflict) as caught:
        delete_agent(caller=caller, agent=agent)

    assert caught.value.code == "agent_deployed"
