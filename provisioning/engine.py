"""Doing one step of a deployment, exactly once, whoever delivers it and however often.

The order is what makes it safe to kill a worker anywhere: take the step in hand (committed), write
down what will be made (committed), make it (outside any transaction), write down what was made,
but only while the step is still in hand. A step that was lost on the way is taken in hand again
once its lease has run out, and finds what its first attempt made.
"""

import time
import traceback
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from ledger import audit, events
from ledger.errors import InvalidTransition
from ledger.transitions import transition
from provisioning import leases
from provisioning.enums import DeploymentStatus, StepStatus, UndoReason
from provisioning.leases import LEASE, Lease
from provisioning.models import Deployment, DeploymentStep
from provisioning.steps.base import EXPECTED, TRANSIENT, Step, StepContext, StepOutcome
from provisioning.steps.registry import STEPS_BY_NAME
from provisioning.turns import wait_until_cleared

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 4
"""The first try and three more, whether it failed for the moment or its worker died."""

CANCELLED: Final = "cancelled"
_ERROR_CHARACTERS: Final = 2000
_DETAIL_CHARACTERS: Final = 500


class StepEnded(Exception):
    """The steps end here and everything made is undone: one failed, or the person cancelled."""


class StepPostponed(Exception):
    """The step is tried again in ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"tried again in {seconds:g} s")
        self.seconds = seconds


class _LeaseLost(Exception):
    """Another worker has the step in hand."""


@dataclass(frozen=True)
class _Claim:
    """A step in hand."""

    deployment: Deployment
    row: DeploymentStep
    token: UUID
    definition: Step

    @property
    def names(self) -> dict[str, Any]:
        """What a log entry says about it."""
        return {
            "deployment": str(self.deployment.pk),
            "step": self.row.name,
            "attempt": self.row.attempt,
        }


def run_step(deployment_id: UUID, name: str) -> bool:
    """Do one step; return whether it is done now (by this call or an earlier one).

    A call that comes too early, too late, or while another one is at it changes nothing.

    Raises:
        StepEnded: the deployment is to be undone.
        StepPostponed: what went wrong may pass; call again later.

    """
    claim = _claim(deployment_id, name)
    if claim is None:
        rows = DeploymentStep.objects.filter(deployment=deployment_id, name=name)
        return rows.filter(status=StepStatus.COMPLETED).exists()
    ctx = StepContext(
        claim.deployment,
        intent=claim.row.intent,
        deadline=time.monotonic() + claim.definition.timeout_seconds,
    )
    with Lease.on(claim.row, claim.token):
        try:
            outcome = _work(claim, ctx)
        except _LeaseLost:
            log.warning("step lost to another worker", **claim.names)
            return False
        except TRANSIENT as error:
            log.warning(
                "step failed for the moment", error=ctx.without_secrets(str(error)), **claim.names
            )
            return _postpone_or_fail(claim, ctx, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the deployment is to be undone
            code, text = _judge(claim, ctx, error)
            return _fail(claim, code, text)
    return _complete(claim, outcome)


def _work(claim: _Claim, ctx: StepContext) -> StepOutcome:
    if not ctx.intent:
        wait_until_cleared(claim.deployment.agent_id)
        # Only the first attempt can tell what was there before.
        ctx.intent = claim.definition.plan(ctx)
        _write_intent(claim, ctx.intent)
    return claim.definition.apply(ctx)


def _judge(claim: _Claim, ctx: StepContext, error: Exception) -> tuple[str, str]:
    """Return code and sentence for what went wrong; the cause goes to the log."""
    step = claim.definition
    if isinstance(error, EXPECTED):
        log.warning("step failed", error=ctx.without_secrets(str(error)), **claim.names)
        return getattr(error, "code", "step_failed"), _explain(claim, ctx, error)
    if isinstance(error, SoftTimeLimitExceeded):
        log.warning("step took too long", **claim.names)
        return (
            "step_timed_out",
            f"{step.advice} It took longer than {step.timeout_seconds:g} s and was stopped.",
        )
    cause = "".join(traceback.format_exception(error)).rstrip()
    log.error("step failed unexpectedly", exception=ctx.without_secrets(cause), **claim.names)
    text = (
        f"{step.advice} Something unexpected happened; the log has the cause under deployment "
        f"{claim.deployment.pk}. Retry, and tell an admin if it happens again."
    )
    return "unexpected_error", text


def finish(deployment_id: UUID) -> bool:
    """Let a deployment run whose steps are all done; return whether it runs.

    Raises:
        StepEnded: it was cancelled meanwhile.

    """
    with transaction.atomic():
        deployment = _locked(deployment_id)
        if deployment is None or deployment.status != DeploymentStatus.PROVISIONING:
            return deployment is not None and deployment.status == DeploymentStatus.RUNNING
        if deployment.steps.exclude(status=StepStatus.COMPLETED).exists():
            return False
        cancelled = deployment.cancel_requested_at is not None
        if cancelled:
            _cancel(deployment)
        else:
            transition(deployment, to=DeploymentStatus.RUNNING, completed_at=timezone.now())
            audit.record(
                "agent.deployed",
                deployment.agent,
                actor=deployment.requested_by,
                detail={"release": deployment.release.number},
            )
    if cancelled:
        raise StepEnded
    return True


def begin_undo(deployment: Deployment, *, reason: UndoReason, code: str, detail: str) -> None:
    """Turn a deployment round: from here on only undoing goes on. The caller holds its row."""
    transition(
        deployment,
        to=DeploymentStatus.ROLLING_BACK,
        reason=detail,
        undo_reason=reason,
        undo_attempts=0,
        error_code=code[:64],
        error_detail=detail[:_ERROR_CHARACTERS],
    )


def give_up(deployment_id: UUID, name: str) -> bool:
    """Fail a step that lost its worker too often; return whether that was so.

    Another worker that came back to life meanwhile keeps it.
    """
    with transaction.atomic():
        deployment = _locked(deployment_id)
        if deployment is None or deployment.status != DeploymentStatus.PROVISIONING:
            return False
        row = deployment.steps.get(name=name)
        text = (
            f"{STEPS_BY_NAME[name].advice} It was begun {row.attempt} times and never came to an "
            "end: the worker died each time. Retry, and tell an admin if it happens again."
        )
        try:
            _mark_failed(row, leases.free() & Q(attempt__gte=MAX_ATTEMPTS), text)
        except InvalidTransition:
            return False
        begin_undo(deployment, reason=UndoReason.FAILED, code="worker_lost", detail=text)
    return True


def _locked(deployment_id: UUID) -> Deployment | None:
    return (
        Deployment.objects.select_for_update(of=("self",))
        .select_related("agent", "release", "organization", "requested_by")
        .filter(pk=deployment_id)
        .first()
    )


def _claim(deployment_id: UUID, name: str) -> _Claim | None:
    """Take the step in hand, or return ``None`` if it is not (or no longer) to be done."""
    token = uuid.uuid4()
    with transaction.atomic():
        deployment = _locked(deployment_id)
        if deployment is None or deployment.status not in (
            DeploymentStatus.PENDING,
            DeploymentStatus.PROVISIONING,
        ):
            return None
        cancelled = deployment.cancel_requested_at is not None
        row = None if cancelled else _take(deployment, name, token)
        if cancelled and not _is_busy(deployment):
            _cancel(deployment)
    if cancelled:
        raise StepEnded
    if row is None:
        return None
    return _Claim(deployment, row, token, STEPS_BY_NAME[name])


def _take(deployment: Deployment, name: str, token: UUID) -> DeploymentStep | None:
    steps = list(deployment.steps.order_by("position"))
    row = next((step for step in steps if step.name == name), None)
    if row is None or name not in STEPS_BY_NAME:
        return None
    before = (step for step in steps if step.position < row.position)
    if any(step.status != StepStatus.COMPLETED for step in before):
        return None
    try:
        with transaction.atomic():
            transition(
                row,
                to=StepStatus.IN_PROGRESS,
                only_if=leases.free() & Q(attempt__lt=MAX_ATTEMPTS),
                lease_token=token,
                lease_expires_at=Now() + LEASE,
                attempt=row.attempt + 1,
                started_at=row.started_at or timezone.now(),
            )
    except InvalidTransition:
        return None
    if deployment.status == DeploymentStatus.PENDING:
        transition(deployment, to=DeploymentStatus.PROVISIONING, started_at=timezone.now())
    return row


def _is_busy(deployment: Deployment) -> bool:
    """Whether a step is in somebody's hand right now."""
    rows = deployment.steps.filter(status=StepStatus.IN_PROGRESS)
    return rows.exclude(leases.free()).exists()


def _cancel(deployment: Deployment) -> None:
    begin_undo(
        deployment,
        reason=UndoReason.CANCELLED,
        code=CANCELLED,
        detail="Cancelled. Everything made so far is taken away again.",
    )


def _write_intent(claim: _Claim, intent: dict[str, Any]) -> None:
    rows = DeploymentStep.objects.filter(leases.held_by(claim.token), pk=claim.row.pk)
    if rows.update(intent=intent) != 1:
        raise _LeaseLost


def _complete(claim: _Claim, outcome: StepOutcome) -> bool:
    try:
        transition(
            claim.row,
            to=StepStatus.COMPLETED,
            reason=outcome.detail,
            only_if=leases.held_by(claim.token),
            result=dict(outcome.result),
            detail=outcome.detail[:_DETAIL_CHARACTERS],
            error="",
            finished_at=timezone.now(),
            lease_token=None,
            lease_expires_at=None,
        )
    except InvalidTransition:
        log.warning("step done, but another worker had it in hand by then", **claim.names)
        return False
    return True


def _postpone_or_fail(claim: _Claim, ctx: StepContext, error: Exception) -> bool:
    if claim.row.attempt >= MAX_ATTEMPTS:
        return _fail(claim, "step_failed", _explain(claim, ctx, error))
    seconds = float(2 ** (claim.row.attempt - 1))
    with transaction.atomic():
        # No one has it in hand until then; the reconciler waits for the same time.
        kept = DeploymentStep.objects.filter(leases.held_by(claim.token), pk=claim.row.pk).update(
            lease_token=None, lease_expires_at=Now() + timedelta(seconds=seconds)
        )
        if not kept:
            return False
        payload = {
            "step": claim.row.name,
            "attempt": claim.row.attempt,
            "seconds": seconds,
            "reason": _explain(claim, ctx, error),
        }
        events.publish(*claim.row.progress_stream, "retrying", payload)
    raise StepPostponed(seconds)


def _fail(claim: _Claim, code: str, text: str) -> bool:
    """Put the failure down and turn the deployment round, both or neither.

    Raises:
        StepEnded: that is done.

    """
    with transaction.atomic():
        deployment = _locked(claim.deployment.pk)
        if deployment is None or deployment.status != DeploymentStatus.PROVISIONING:
            return False
        try:
            _mark_failed(claim.row, leases.held_by(claim.token), text)
        except InvalidTransition:
            return False
        begin_undo(deployment, reason=UndoReason.FAILED, code=code, detail=text)
    raise StepEnded


def _mark_failed(row: DeploymentStep, only_if: Q, text: str) -> None:
    transition(
        row,
        to=StepStatus.FAILED,
        reason=text,
        only_if=only_if,
        error=text[:_ERROR_CHARACTERS],
        finished_at=timezone.now(),
        lease_token=None,
        lease_expires_at=None,
    )


def _explain(claim: _Claim, ctx: StepContext, error: Exception) -> str:
    """Return the sentence for people: what to do, then what happened."""
    text = ctx.without_secrets(str(error))
    advice = claim.definition.advice
    return (text if text.startswith(advice) else f"{advice} {text}")[:_ERROR_CHARACTERS]
