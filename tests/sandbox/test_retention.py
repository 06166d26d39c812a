"""Old tests go, but not those that the deploy gate goes by."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db.models.signals import pre_delete
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


def test_a_scenario_without_a_verdict_keeps_the_gate_closed(caller: Caller) -> None:
    spec = make_spec()
    released(caller, spec)
    ended_test(caller, spec, days=99, search=Verdict.SKIPPED)
    skipped = ended_test(caller, spec, days=98, search=Verdict.SKIPPED)
    passed = ended_test(caller, spec, days=97, store=Verdict.PASSED)
    assert not gate(organization=caller.organization, digest=spec.digest).passed

    delete_old_rows()

    assert left() == {skipped.pk, passed.pk}
    assert not gate(organization=caller.organization, digest=spec.digest).passed


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.SKIPPED])
def test_the_gate_of_what_was_not_released_does_not_open_by_itself(
    caller: Caller, verdict: str
) -> None:
    spec = make_spec()
    closing = ended_test(caller, spec, days=91, search=verdict)
    younger = ended_test(caller, spec, days=89, store=Verdict.PASSED)

    delete_old_rows()

    assert left() == {closing.pk, younger.pk}
    assert not gate(organization=caller.organization, digest=spec.digest).passed


def test_a_deletion_that_breaks_off_leaves_no_progress_without_its_test(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.retention._BATCH", 1)
    for _ in range(3):
        ended_test(caller, make_spec(), days=91, store=Verdict.PASSED)
    tried: list[object] = []

    def break_off(instance: SandboxTest, **_: object) -> None:
        tried.append(instance.pk)
        if len(tried) > 1:
            raise ConnectionError

    pre_delete.connect(break_off, sender=SandboxTest)
    try:
        with pytest.raises(ConnectionError):
            delete_old_rows()
    finally:
        pre_delete.disconnect(break_off, sender=SandboxTest)

    assert len(left()) == 2
    assert set(ProgressEvent.objects.values_list("subject_id", flat=True)) == left()


@pytest.mark.parametrize("status", [SandboxTestStatus.QUEUED, SandboxTestStatus.RUNNING])
def test_what_is_under_way_or_not_cleared_away_stays(caller: Caller, status: str) -> None:
    under_way = ended_test(caller, make_spec(), days=99, status=status)
    not_cleared = ended_test(caller, make_spec(), days=99)
    SandboxTest.objects.filter(pk=not_cleared.pk).update(torn_down_at=None)

    delete_old_rows()

    assert left() == {under_way.pk, not_cleared.pk}
