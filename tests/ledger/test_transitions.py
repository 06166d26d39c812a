"""One function changes a status: once, remembered, announced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, models

from ledger import events
from ledger.errors import InvalidTransition
from ledger.models import ProgressEvent, Transition
from ledger.transitions import transition
from registry.enums import AgentStatus
from registry.models import Agent
from tests.builders import make_caller

pytestmark = pytest.mark.django_db


def make_agent() -> Agent:
    caller = make_caller()
    return Agent.objects.create(
        organization=caller.organization,
        owner=caller.user,
        agent_id="WowLedger",
        name="Ledger Agent",
        display_name="Ledger Agent",
        tier=1,
        template_slug="blank",
        template_version="1.0.0",
    )


def test_changes_the_row_and_remembers_who_and_why() -> None:
    agent = make_agent()

    transition(agent, to=AgentStatus.ACTIVE, actor=agent.owner, reason="ready")

    agent.refresh_from_db()
    assert agent.status == AgentStatus.ACTIVE
    row = Transition.objects.get(subject_id=agent.pk)
    assert (row.subject_type, row.from_status, row.to_status) == ("agent", "draft", "active")
    assert (row.actor, row.reason, row.organization_id) == (
        agent.owner,
        "ready",
        agent.organization_id,
    )


def test_other_columns_are_written_with_the_status() -> None:
    agent = make_agent()

    transition(agent, to=AgentStatus.ACTIVE, endpoint="http://127.0.0.1:1")

    assert agent.endpoint == "http://127.0.0.1:1"
    agent.refresh_from_db()
    assert agent.endpoint == "http://127.0.0.1:1"


def test_a_way_that_does_not_exist_is_refused_and_nothing_is_written() -> None:
    agent = make_agent()

    with pytest.raises(InvalidTransition) as error:
        transition(agent, to=AgentStatus.PAUSED)

    assert error.value.message == "This agent is draft and can't become paused from there."
    agent.refresh_from_db()
    assert agent.status == AgentStatus.DRAFT
    assert not Transition.objects.exists()
    assert not ProgressEvent.objects.exists()


def test_the_database_decides_not_the_object_in_memory() -> None:
    agent = make_agent()
    stale = Agent.objects.get(pk=agent.pk)
    transition(agent, to=AgentStatus.ACTIVE)

    with pytest.raises(InvalidTransition):
        transition(stale, to=AgentStatus.ACTIVE)


def test_a_deleted_row_is_named_as_gone() -> None:
    agent = make_agent()
    Agent.objects.filter(pk=agent.pk).delete()

    with pytest.raises(InvalidTransition, match="gone"):
        transition(agent, to=AgentStatus.ACTIVE)


def test_a_further_condition_can_refuse() -> None:
    agent = make_agent()

    with pytest.raises(InvalidTransition):
        transition(agent, to=AgentStatus.ACTIVE, only_if=models.Q(endpoint="elsewhere"))

    agent.refresh_from_db()
    assert agent.status == AgentStatus.DRAFT


def test_an_overlong_reason_is_cut() -> None:
    agent = make_agent()

    transition(agent, to=AgentStatus.ACTIVE, reason="x" * 900)

    assert Transition.objects.get().reason == "x" * 500


@pytest.mark.django_db(transaction=True)
def test_of_two_racing_callers_one_wins() -> None:
    agent = make_agent()

    def activate(_: int) -> bool:
        try:
            transition(Agent.objects.get(pk=agent.pk), to=AgentStatus.ACTIVE)
        except InvalidTransition:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(activate, range(4)))

    assert sorted(won) == [False, False, False, True]
    assert Transition.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_numbers_have_no_gap_and_no_double_however_many_write() -> None:
    agent = make_agent()

    def publish(number: int) -> None:
        try:
            events.publish("agent", agent.pk, "note", {"number": number})
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, range(20)))

    rows = events.events_after("agent", agent.pk, 0)
    assert [row.seq for row in rows] == list(range(1, 21))
    assert events.last_seq("agent", agent.pk) == 20
    assert [row.seq for row in events.events_after("agent", agent.pk, 18)] == [19, 20]
