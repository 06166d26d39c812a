"""Old tests go, but not those that the deploy gate goes by."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from ledger import events
from ledger.models import ProgressEvent
from registry.services.agents import create_release, delete_agent, reserve_agent
from sandbox.enums import SandboxTestStatus, Verdict
from sandbox.models import SandboxTest, ScenarioResult
from sandbox.services import gate
from sandbox.tasks import delete_old_rows
from tests.builders import make_caller, make_spec

if TYPE_CHECKING:
    from accounts.callers import Caller
    from registry.models import Agent
    from registry.spec import AgentSpec

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller() -> Caller:
    return make_caller()


def ended_test(
    caller: Caller,
    spec: AgentSpec,
    *,
    days: float,
    status: str = SandboxTestStatus.PASSED,
    **verdicts: str,
) -> SandboxTest:
    """Make a test that ended so many days ago."""
    then = timezone.now() - timedelta(days=days)
    test = SandboxTest.objects.create(
        organization=caller.organization,
        spec=spec.to_json_dict(),
        digest=spec.digest,
        driver="process",
        status=status,
        completed_at=then,
        torn_down_at=then,
    )
    SandboxTest.objects.filter(pk=test.pk).update(created_at=then)
    for position, (name, verdict) in enumerate(verdicts.items()):
        ScenarioResult.objects.create(
            test=test, position=position, name=name, capability="describe_agent", input={},
            status=verdict, logs=["x" * 1000],
        )  # fmt: skip
    events.publish("sandboxtest", test.pk, "status", {})
    return test


def released(caller: Caller, spec: AgentSpec) -> Agent:
    agent = reserve_agent(caller=caller, spec=spec)
    create_release(caller=caller, agent=agent, spec=spec, files={})
    return agent


def left() -> set[object]:
    return set(SandboxTest.objects.values_list("pk", flat=True))


def test_old_tests_go_with_results_and_progress(caller: Caller) -> None:
    ended_test(caller, make_spec(), days=91, store=Verdict.PASSED)
    kept = ended_test(caller, make_spec(), days=89, store=Verdict.PASSED)

    delete_old_rows()

    assert left() == {kept.pk}
    assert ScenarioResult.objects.get().test_id == kept.pk
    assert ProgressEvent.objects.get(subject_type="sandboxtest").subject_id == kept.pk


def test_what_a_release_was_let_through_by_stays(caller: Caller) -> None:
    spec = make_spec()
    agent = released(caller, spec)
    ended_test(caller, spec, days=99, store=Verdict.FAILED, search=Verdict.PASSED)
    older = ended_test(caller, spec, days=98, search=Verdict.PASSED)
    newer = ended_test(caller, spec, days=97, store=Verdict.PASSED, search=Verdict.SKIPPED)
    of_another = ended_test(make_caller(), spec, days=97, store=Verdict.PASSED)

    delete_old_rows()

    assert left() == {older.pk, newer.pk}
    assert of_another.pk not in left()
    assert gate(organization=caller.organization, digest=spec.digest).passed
    delete_agent(caller=caller, agent=agent)
    delete_old_rows()
    assert left() == set()


@pytest.mark.parametrize("status", [SandboxTestStatus.QUEUED, SandboxTestStatus.RUNNING])
def test_what_is_under_way_or_not_cleared_away_stays(caller: Caller, status: str) -> None:
    under_way = ended_test(caller, make_spec(), days=99, status=status)
    not_cleared = ended_test(caller, make_spec(), days=99)
    SandboxTest.objects.filter(pk=not_cleared.pk).update(torn_down_at=None)

    delete_old_rows()

    assert left() == {under_way.pk, not_cleared.pk}
