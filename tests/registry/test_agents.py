"""Agents from a reserved name to a deleted row, and their releases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from accounts.roles import Role
from ledger.errors import Conflict, NotAllowed, NotFound
from ledger.models import AuditEntry
from registry.models import Agent, AgentCredentials
from registry.services.agents import (
    activate_agent,
    agent_for,
    agent_of_egress_token,
    apply_spec,
    create_release,
    credentials_of,
    delete_agent,
    deprecate_agent,
    pause_agent,
    reserve_agent,
    resume_agent,
    update_agent,
)
from tests.builders import make_caller, make_organization, make_spec
from tests.registry.reserved import FILES, make_agent, make_registered

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.callers import Caller

pytestmark = pytest.mark.django_db


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
