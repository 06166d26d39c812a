"""Start, stop, find and describe sandbox tests, and ask the deploy gate."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.callers import Caller
from accounts.models import Organization
from accounts.roles import Action
from ledger.errors import NotFound, TooManyRequests
from ledger.transitions import transition
from registry.spec import AgentSpec
from sandbox.checks import check_scenarios
from sandbox.dispatch import dispatch
from sandbox.enums import ACTIVE, SandboxTestStatus, Verdict
from sandbox.gate import GateVerdict, gate, require_gate, waive
from sandbox.models import SandboxTest, ScenarioResult, instance_name
from sandbox.scenarios import ScenarioInput, SetupCall

__all__ = [
    "GateVerdict",
    "ScenarioInput",
    "SetupCall",
    "cancel_test",
    "describe_result",
    "describe_test",
    "gate",
    "require_gate",
    "start_test",
    "test_for",
    "waive",
]

MAX_ACTIVE_TESTS: Final = 8
"""Tests of one organisation that may wait or run at the same time."""

_API_STATUS: Final = {
    SandboxTestStatus.QUEUED: "queued",
    SandboxTestStatus.RUNNING: "running",
    SandboxTestStatus.PASSED: "completed",
    SandboxTestStatus.FAILED: "completed",
    SandboxTestStatus.ERRORED: "errored",
    SandboxTestStatus.CANCELLED: "cancelled",
}


def start_test(
    *, caller: Caller, spec: AgentSpec, scenarios: Sequence[ScenarioInput]
) -> SandboxTest:
    """Queue a test of ``spec`` and return it; a worker starts it once the transaction commits.

    Raises:
        NotAllowed: the caller may not make agents.
        InvalidInput: a scenario can't be run; ``problems`` name it (``test_scenarios.0.input``).
        TooManyRequests: the organisation has ``MAX_ACTIVE_TESTS`` tests under way.

    """
    caller.require(Action.CREATE_AGENTS)
    checked = check_scenarios(spec, scenarios)
    test_id = uuid.uuid4()
    with transaction.atomic():
        # Two at once take turns, so that both are counted. Only against each other: rows that refer
        # to the organisation can be made meanwhile.
        Organization.objects.select_for_update(no_key=True).get(pk=caller.organization.pk)
        active = SandboxTest.objects.of(caller.organization).filter(status__in=ACTIVE)
        if active.count() >= MAX_ACTIVE_TESTS:
            raise TooManyRequests(
                "too_many_tests",
                f"{MAX_ACTIVE_TESTS} tests are under way. Wait for one to end, or cancel one.",
            )
        test = SandboxTest.objects.create(
            id=test_id,
            organization=caller.organization,
            spec=spec.to_json_dict(),
            digest=spec.digest,
            driver=settings.RUNTIME_DRIVER,
            container_id=instance_name(test_id),
            requested_by=caller.user,
        )
        ScenarioResult.objects.bulk_create(
            ScenarioResult(
                test=test,
                position=position,
                name=scenario.name,
                capability=scenario.capability,
                setup=[
                    {"capability": call.capability, "input": dict(call.input)}
                    for call in scenario.setup
                ],
                input=dict(scenario.input),
                expected_output=scenario.expected_output,
            )
            for position, scenario in enumerate(checked)
        )
        dispatch(test)
    return test


def cancel_test(*, caller: Caller, test: SandboxTest) -> SandboxTest:
    """Ask for the test to end; a waiting one ends at once, a running one after its scenario.

    Cancelling a test that has ended changes nothing.

    Raises:
        NotAllowed: the caller may not make agents.
        NotFound: ``test_not_found``.

    """
    caller.require(Action.CREATE_AGENTS)
    with transaction.atomic():
        rows = SandboxTest.objects.of(caller.organization).select_for_update()
        row = rows.filter(pk=test.pk).first()
        if row is None:
            raise NotFound("test_not_found", "There is no such test. Start one to get its id.")
        if row.status not in ACTIVE:
            return row
        row.cancel_requested_at = timezone.now()
        row.save(update_fields=["cancel_requested_at"])
        if row.status == SandboxTestStatus.QUEUED:
            row.results.filter(status=Verdict.PENDING).update(status=Verdict.SKIPPED)
            now = timezone.now()
            transition(
                row,
                to=SandboxTestStatus.CANCELLED,
                actor=caller.user,
                reason="Cancelled before it started.",
                completed_at=now,
                # Nothing had been made yet.
                torn_down_at=now,
            )
    return row


def test_for(caller: Caller, test_id: uuid.UUID) -> SandboxTest:
    """Return the test of the caller's organisation.

    Raises:
        NotFound: ``test_not_found``.

    """
    caller.require(Action.VIEW)
    test = SandboxTest.objects.of(caller.organization).filter(pk=test_id).first()
    if test is None:
        raise NotFound("test_not_found", "There is no such test. Start one to get its id.")
    return test


# pytest collects what is called test_*; this is a service.
test_for.__test__ = False  # type: ignore[attr-defined]  # a function takes attributes


def describe_test(test: SandboxTest) -> dict[str, Any]:
    """Return the test as the API and the pages show it. Holds no credentials."""
    return {
        "test_id": str(test.id),
        "status": _API_STATUS[SandboxTestStatus(test.status)],
        "passed": test.status == SandboxTestStatus.PASSED,
        "container_id": test.container_id,
        "digest": test.digest,
        "driver": test.driver,
        "cancel_requested": test.cancel_requested_at is not None,
        "error": {"code": test.error_code, "detail": test.error_detail}
        if test.error_code
        else None,
        "ready_ms": test.ready_ms,
        "created_at": test.created_at.isoformat(),
        "started_at": test.started_at.isoformat() if test.started_at else None,
        "completed_at": test.completed_at.isoformat() if test.completed_at else None,
        "results": [describe_result(result) for result in test.results.all()],
    }


def describe_result(result: ScenarioResult) -> dict[str, Any]:
    """Return one scenario's result as the API and the pages show it. Durations in ms."""
    return {
        "scenario": result.name,
        "position": result.position,
        "capability": result.capability,
        "status": result.status,
        "duration_ms": result.duration_ms,
        "memory_mb": result.memory_mb,
        "input": result.input,
        "expected_output": result.expected_output,
        "output": result.output,
        "differences": result.differences,
        "error": result.error or None,
        "logs": result.logs,
    }
