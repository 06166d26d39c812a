"""Carry out one test, from the claim to the clearing away."""

import json
import time
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.utils import timezone

from ledger import events
from ledger.errors import InvalidTransition
from ledger.transitions import transition
from provisioning.agent_client import AgentClient
from provisioning.drivers import get_driver
from provisioning.drivers.base import DriverError, InstanceState, RuntimeDriver
from sandbox.enums import SandboxTestStatus, Verdict
from sandbox.gauge import MemoryGauge
from sandbox.lease import Keeper, new_lease
from sandbox.loglines import LogTail
from sandbox.models import SandboxTest, ScenarioResult
from sandbox.scene import Scene, play
from sandbox.stage import Stage, StageBuilder, StageFailed, tear_down

log = structlog.get_logger(__name__)

MAX_SECONDS: Final = 480.0
"""For the whole test; below the worker's own limit, so that there is time to clear away."""

# The agent writes its last line before it answers; the runtime needs a moment to pass it on.
_LATE_LINES_SECONDS: Final = 0.5
_FIRST_SAMPLE_SECONDS: Final = 3.0

_MAX_ANNOUNCED: Final = 16_384
"""Characters of an output that travel live; a longer one is read from the results."""


@dataclass(frozen=True)
class Outcome:
    """How a test ended."""

    status: SandboxTestStatus
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What is read from the copy besides its answers, in threads of their own."""

    tail: LogTail
    gauge: MemoryGauge

    def start(self) -> None:
        """Begin to read."""
        self.tail.start()
        self.gauge.start()

    def stop(self) -> None:
        """Read no more; the copy is gone by now."""
        self.gauge.stop()
        self.tail.stop()


def run(test_id: UUID) -> None:
    """Carry out the test, unless it was taken, cancelled or ended before.

    Whatever happens, the verdict is written and the throw-away copy removed; should the worker
    itself be killed, the reconciler does both.
    """
    token, expires_at = new_lease()
    test = SandboxTest.objects.filter(pk=test_id).first()
    if test is None:
        return
    try:
        transition(
            test,
            to=SandboxTestStatus.RUNNING,
            lease_token=token,
            lease_expires_at=expires_at,
            started_at=timezone.now(),
        )
    except InvalidTransition:
        return
    keeper = Keeper(test.pk, token, deadline=time.monotonic() + MAX_SECONDS + 60)
    keeper.start()
    try:
        Run(test, token, keeper).carry_out()
    finally:
        keeper.stop()


class Run:
    """One claimed test."""

    def __init__(self, test: SandboxTest, token: UUID, keeper: Keeper) -> None:
        self._test = test
        self._token = token
        self._keeper = keeper
        self._deadline = time.monotonic() + MAX_SECONDS
        self._probes: Probes | None = None

    def carry_out(self) -> None:
        """Make the copy, play the scenarios, write the verdict, clear away."""
        driver = get_driver(self._test.driver)
        outcome = Outcome(
            SandboxTestStatus.ERRORED,
            "internal_error",
            "The test broke off by a fault of the platform. Test again; if it happens again, tell "
            "whoever runs the platform.",
        )
        try:
            with AgentClient(connections=4) as client:
                outcome = self._judged(driver, client)
        except StageFailed as failure:
            outcome = Outcome(SandboxTestStatus.ERRORED, failure.code, failure.message)
        except DriverError as error:
            log.warning("sandbox lost its runtime", test=str(self._test.pk), error=str(error)[:300])
            outcome = Outcome(
                SandboxTestStatus.ERRORED,
                "runtime_unavailable",
                "The runtime stopped answering. Check that it runs, then test again.",
            )
        except SoftTimeLimitExceeded:
            outcome = _out_of_time()
        finally:
            try:
                self._finish(outcome)
            finally:
                clear_away(self._test, driver, token=self._token)
                if self._probes is not None:
                    self._probes.stop()

    def _judged(self, driver: RuntimeDriver, client: AgentClient) -> Outcome:
        try:
            stage = StageBuilder(self._test, driver=driver, keep_on=self._keep_on).set_up()
        except StageFailed as failure:
            if failure.code == "interrupted":
                return self._interrupted()
            raise
        SandboxTest.objects.filter(pk=self._test.pk).update(ready_ms=stage.ready_ms)
        self._test.ready_ms = stage.ready_ms
        probes = self._probes = Probes(
            tail=LogTail(
                driver.follow_logs(stage.name), stage.mask, prefix=f"test-{self._test.pk.hex[:12]}"
            ),
            gauge=MemoryGauge(driver, stage.name),
        )
        probes.start()
        self._keeper.follow(probes.tail)
        events.publish("sandboxtest", self._test.pk, "ready", {"ready_ms": stage.ready_ms})
        return self._play_all(driver, client, stage, probes)

    def _play_all(
        self, driver: RuntimeDriver, client: AgentClient, stage: Stage, probes: Probes
    ) -> Outcome:
        spec = self._test.agent_spec()
        played: list[ScenarioResult] = []
        for result in self._test.results.order_by("position"):
            if not self._keep_on():
                self._add_late_news(played, probes)
                return self._interrupted()
            capability = spec.capability(result.capability)
            if capability is None:  # pragma: no cover - checked when the test was started
                continue
            self._begin(result, probes.tail)
            scene = Scene(
                client=client,
                stage=stage,
                tail=probes.tail,
                gauge=probes.gauge,
                capability=capability,
                operation_seconds=spec.policies.timeouts.operation_seconds,
                seconds_left=self._deadline - time.monotonic(),
            )
            play(scene, result)
            self._end(result)
            played.append(result)
            if result.status == Verdict.ERROR and (gone := _agent_gone(driver, stage)):
                self._add_late_news(played, probes)
                return gone
        self._add_late_news(played, probes)
        if all(result.status == Verdict.PASSED for result in played):
            return Outcome(SandboxTestStatus.PASSED)
        return Outcome(SandboxTestStatus.FAILED)

    def _add_late_news(self, played: list[ScenarioResult], probes: Probes) -> None:
        """Put down the lines and the memory that came only after their scenario's verdict."""
        tail, gauge = probes.tail, probes.gauge
        tail.play(None)
        if played:
            tail.wait_for_end(played[-1].position, _LATE_LINES_SECONDS)
            gauge.wait_for_first(_FIRST_SAMPLE_SECONDS)
        for result in played:
            lines, memory_mb = tail.of(result.position), result.memory_mb
            if memory_mb is None:
                memory_mb = gauge.peak_mb(0)
            if (lines, memory_mb) != (result.logs, result.memory_mb):
                result.logs, result.memory_mb = lines, memory_mb
                result.save(update_fields=["logs", "memory_mb"])
        self._keeper.announce()

    def _keep_on(self) -> bool:
        if self._keeper.lost or time.monotonic() > self._deadline:
            return False
        return not self._cancel_requested()

    def _cancel_requested(self) -> bool:
        return SandboxTest.objects.filter(
            pk=self._test.pk, cancel_requested_at__isnull=False
        ).exists()

    def _interrupted(self) -> Outcome:
        if self._cancel_requested():
            return Outcome(SandboxTestStatus.CANCELLED)
        return _out_of_time()

    def _begin(self, result: ScenarioResult, tail: LogTail) -> None:
        tail.play(result.position)
        with transaction.atomic():
            result.status = Verdict.RUNNING
            result.save(update_fields=["status"])
            events.publish(
                "sandboxtest",
                self._test.pk,
                "scenario",
                {
                    "position": result.position,
                    "scenario": result.name,
                    "capability": result.capability,
                    "status": result.status,
                },
            )

    def _end(self, result: ScenarioResult) -> None:
        with transaction.atomic():
            result.save()
            events.publish("sandboxtest", self._test.pk, "scenario", announcement(result))

    def _finish(self, outcome: Outcome) -> None:
        end_test(self._test, outcome)


def announcement(result: ScenarioResult) -> dict[str, Any]:
    """Return a scenario's result as it is announced; its log lines come as events of their own."""
    output = result.output
    long = len(json.dumps(output, ensure_ascii=False)) > _MAX_ANNOUNCED
    return {
        "position": result.position,
        "scenario": result.name,
        "capability": result.capability,
        "status": result.status,
        "duration_ms": result.duration_ms,
        "memory_mb": result.memory_mb,
        "output": None if long else output,
        "output_left_out": long,
        "differences": result.differences,
        "error": result.error or None,
    }


def end_test(test: SandboxTest, outcome: Outcome) -> bool:
    """Write how the test ended, once; return whether this call did it.

    Scenarios that were not run are skipped; one that was being run ends as an error.
    """
    try:
        with transaction.atomic():
            test.results.filter(status=Verdict.PENDING).update(status=Verdict.SKIPPED)
            test.results.filter(status=Verdict.RUNNING).update(
                status=Verdict.ERROR, error="The test ended while this scenario ran. Run it again."
            )
            transition(
                test,
                to=outcome.status,
                reason=outcome.detail,
                error_code=outcome.code,
                error_detail=outcome.detail[:2000],
                completed_at=timezone.now(),
            )
    except InvalidTransition:
        # The reconciler, or a cancellation, was first.
        return False
    return True


def clear_away(test: SandboxTest, driver: RuntimeDriver, *, token: UUID) -> bool:
    """Remove the test's copy and say so in its row; return whether all is gone.

    What could not be removed is left to the reconciler, which may try at once.
    """
    left = tear_down(name=test.container_id, key=test.key, driver=driver)
    row = SandboxTest.objects.filter(pk=test.pk, lease_token=token)
    if left:
        row.update(lease_expires_at=timezone.now())
        return False
    row.update(torn_down_at=timezone.now())
    events.publish("sandboxtest", test.pk, "torn_down", {})
    return True


def _agent_gone(driver: RuntimeDriver, stage: Stage) -> Outcome | None:
    """Return how the test ends if the agent stopped; waiting for each further call is no use."""
    instance = driver.inspect(stage.name)
    if instance.state is InstanceState.RUNNING:
        return None
    code = "" if instance.exit_code is None else f" (exit code {instance.exit_code})"
    return Outcome(
        SandboxTestStatus.ERRORED,
        "agent_stopped",
        f"The agent stopped while it was tested{code}. Give it more memory if it ran out of it, "
        "look at the last scenario's log lines, then test again.",
    )


def _out_of_time() -> Outcome:
    return Outcome(
        SandboxTestStatus.ERRORED,
        "out_of_time",
        f"The test took longer than {MAX_SECONDS:g} s. Run fewer scenarios at a time.",
    )
