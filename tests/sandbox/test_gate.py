"""The deploy gate: whose results count, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounts.roles import Role
from ledger.errors import Conflict, InvalidInput, NotAllowed
from ledger.models import AuditEntry
from sandbox.enums import SandboxTestStatus
from sandbox.models import SandboxTest, ScenarioResult, Waiver
from sandbox.services import gate, require_gate, start_test, waive
from tests.builders import make_caller
from tests.sandbox.specs import scenario, sentiment_spec

if TYPE_CHECKING:
    from accounts.callers import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def maker(db: None) -> Caller:
    return make_caller(Role.OPERATOR)


def started(caller: Caller) -> SandboxTest:
    return start_test(caller=caller, spec=sentiment_spec(), scenarios=[scenario()])


def judged(
    caller: Caller, digest: str, status: str = SandboxTestStatus.FAILED, **verdicts: str
) -> SandboxTest:
    """Make a test that has ended, of that digest with a result for each scenario name."""
    test = SandboxTest.objects.create(
        organization=caller.organization,
        spec={},
        digest=digest,
        driver="process",
        status=status,
    )
    ScenarioResult.objects.bulk_create(
        ScenarioResult(test=test, position=n, name=name, capability="x", input={}, status=verdict)
        for n, (name, verdict) in enumerate(verdicts.items())
    )
    return test


def verdict_on(caller: Caller, digest: str) -> tuple[bool, bool]:
    found = gate(organization=caller.organization, digest=digest)
    return found.passed, found.waived


def test_the_gate_is_closed_before_a_test(maker: Caller) -> None:
    assert verdict_on(maker, "d") == (False, False)
    with pytest.raises(Conflict, match="has not been tested yet") as caught:
        require_gate(organization=maker.organization, digest="d")
    assert caught.value.code == "sandbox_test_required"


@pytest.mark.parametrize(
    ("runs", "passed"),
    [
        ([{"a": "PASSED"}], True),
        ([{"a": "FAILED"}], False),
        ([{"a": "ERROR"}], False),
        ([{"a": "SKIPPED"}], False),
        ([{"a": "PENDING"}], False),
        ([{"a": "RUNNING"}], False),
        ([{"a": "PASSED", "b": "FAILED"}], False),
        ([{"a": "PASSED", "b": "FAILED"}, {"b": "PASSED"}], True),
        ([{"a": "PASSED", "b": "PASSED"}, {"b": "FAILED"}], False),
        ([{"a": "FAILED"}, {"a": "PASSED"}, {"a": "SKIPPED"}], True),
        ([{"a": "PASSED"}, {"a": "ERROR"}], False),
        ([{"a": "PASSED", "b": "PENDING"}], False),
        ([{"a": "PASSED", "b": "SKIPPED"}], False),
        ([{"a": "PASSED"}, {"a": "PENDING"}], False),
    ],
)
def test_the_newest_result_of_each_scenario_decides(
    maker: Caller, runs: list[dict[str, str]], *, passed: bool
) -> None:
    for verdicts in runs:
        judged(maker, "d", **verdicts)
    assert verdict_on(maker, "d") == (passed, False)
    if passed:
        require_gate(organization=maker.organization, digest="d")


@pytest.mark.parametrize(("second", "passed"), [("PASSED", True), ("ERROR", False)])
def test_of_a_test_that_broke_off_the_results_decide(
    maker: Caller, second: str, *, passed: bool
) -> None:
    judged(maker, "d", SandboxTestStatus.ERRORED, a="PASSED", b=second)
    assert verdict_on(maker, "d") == (passed, False)
    found = gate(organization=maker.organization, digest="d", names=["a", "b"])
    assert found.passed is passed


def test_the_gate_waits_for_a_test_that_is_running(maker: Caller) -> None:
    digest = started(maker).digest
    with pytest.raises(Conflict, match="still running"):
        require_gate(organization=maker.organization, digest=digest)


def test_the_gate_is_of_one_digest_and_one_organisation(maker: Caller) -> None:
    judged(maker, "d", a="PASSED")
    assert verdict_on(maker, "other") == (False, False)
    assert verdict_on(make_caller(Role.OPERATOR), "d") == (False, False)


def test_a_written_reason_opens_the_gate_and_stays_on_record(maker: Caller) -> None:
    judged(maker, "d", a="FAILED")
    waive(caller=maker, digest="d", reason="  Flaky \n upstream, see notes ")
    found = gate(organization=maker.organization, digest="d")
    assert (found.passed, found.waived, found.reason) == (True, True, "Flaky upstream, see notes")
    require_gate(organization=maker.organization, digest="d")
    assert verdict_on(maker, "other") == (False, False)
    assert verdict_on(make_caller(Role.OPERATOR), "d") == (False, False)
    entry = AuditEntry.objects.get(event="sandbox.test_skipped")
    assert (entry.actor, entry.organization_id) == (maker.user, maker.organization.pk)
    judged(maker, "d", a="PASSED")
    assert verdict_on(maker, "d") == (True, False)


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 501, "a\x00b"])
def test_a_waiver_needs_a_reason(maker: Caller, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        waive(caller=maker, digest="d", reason=reason)
    assert caught.value.problems[0].attr == "skip_test_reason"
    assert not Waiver.objects.exists()


def test_who_may_not_deploy_may_not_waive(maker: Caller) -> None:
    for role in (Role.VIEWER, Role.APPROVER):
        with pytest.raises(NotAllowed):
            waive(caller=make_caller(role, maker.organization), digest="d", reason="x")


# --- Where the scenarios are known -------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "names", "failed", "sentence"),
    [
        ([{"a": "PASSED"}], ["a"], (), "1 scenario passed."),
        ([{"a": "PASSED", "gone": "FAILED"}], ["a"], (), "1 scenario passed."),
        (
            [{"a": "PASSED", "b": "FAILED"}],
            ["a", "b"],
            ("b",),
            "The last run of “b” did not pass. Mend it and run it again.",
        ),
        ([{"a": "PASSED"}], ["a", "new"], (), "“new” has not been run yet. Run it."),
        (
            [{"a": "PASSED"}],
            ["a", "new", "newer"],
            (),
            "“new”, “newer” have not been run yet. Run them.",
        ),
        (
            [{"a": "ERROR", "b": "FAILED"}],
            ["a", "b", "new"],
            ("a", "b"),
            "Mend them and run them again. “new” has not been run yet. Run it.",
        ),
        (
            [{"a": "PASSED", "new": "SKIPPED"}],
            ["a", "new"],
            (),
            "“new” has not been run yet. Run it.",
        ),
        ([{"gone": "PASSED"}], ["a"], (), "has not been tested yet. Run its test scenarios."),
        ([{"gone": "PASSED"}], [], (), "There is no test scenario. Add one and run it."),
    ],
)
def test_only_the_scenarios_that_exist_now_count(
    maker: Caller,
    runs: list[dict[str, str]],
    names: list[str],
    failed: tuple[str, ...],
    sentence: str,
) -> None:
    for verdicts in runs:
        judged(maker, "d", **verdicts)
    found = gate(organization=maker.organization, digest="d", names=names)
    assert (found.passed, found.failed) == (sentence.endswith(" passed."), failed)
    assert found.detail.endswith(sentence)
    if not found.passed:
        with pytest.raises(Conflict, match="skip the test with a written reason"):
            require_gate(organization=maker.organization, digest="d", names=names)


def test_without_names_every_scenario_that_was_ever_run_counts(maker: Caller) -> None:
    judged(maker, "d", a="PASSED", gone="FAILED")
    assert gate(organization=maker.organization, digest="d").failed == ("gone",)
    require_gate(organization=maker.organization, digest="d", names=["a"])
    with pytest.raises(Conflict, match="The last run of “gone” did not pass"):
        require_gate(organization=maker.organization, digest="d")
