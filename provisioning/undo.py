"""Taking away what a deployment made: after a failure, a cancellation, or to undeploy.

The steps are gone through backwards. One that can't be undone does not stop the others: what is
left is named, and tried again later with growing pauses.
"""

import time
import traceback
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from ledger import events
from ledger.errors import InvalidTransition
from ledger.transitions import transition
from provisioning import leases
from provisioning.enums import UNDOABLE, UNDOING, DeploymentStatus, StepStatus, UndoReason
from provisioning.leases import LEASE, Lease
from provisioning.models import Deployment, DeploymentStep
from provisioning.steps.base import TRANSIENT, StepContext
from provisioning.steps.registry import STEPS_BY_NAME

log = structlog.get_logger(__name__)

_END: Final = {
    UndoReason.FAILED: DeploymentStatus.FAILED,
    UndoReason.CANCELLED: DeploymentStatus.CANCELLED,
    UndoReason.UNDEPLOYED: DeploymentStatus.STOPPED,
}
_PAUSES: Final = (0.2, 1.0)
"""Seconds between tries within one undo, before what is left is left for later."""
_FIRST_RETRY: Final = timedelta(seconds=10)
_LAST_RETRY: Final = timedelta(minutes=10)
_MAX_ATTEMPTS_COUNTED: Final = 1000


def undo(deployment_id: UUID) -> bool:
    """Undo the steps of a deployment that is rolling back or stopping; return whether all went.

    A second call while the first is at it, or afterwards, changes nothing.
    """
    token = uuid.uuid4()
    taken = Deployment.objects.filter(leases.free(), pk=deployment_id, status__in=UNDOING).update(
        lease_token=token, lease_expires_at=Now() + LEASE
    )
    if taken != 1:
        return False
    deployment = Deployment.objects.select_related("agent", "release", "organization").get(
        pk=deployment_id
    )
    left: list[str] = []
    with Lease.on(deployment, token):
        rows = deployment.steps.filter(status__in=UNDOABLE).order_by("-position")
        for row in rows:
            # One that was frozen past its lease must not touch what came after it.
            if not Deployment.objects.filter(leases.held_by(token), pk=deployment_id).exists():
                log.warning("undo lost to another worker", deployment=str(deployment_id))
                return False
            left += _undo_step(deployment, row)
    return _end(deployment, token, left)


def _undo_step(deployment: Deployment, row: DeploymentStep) -> list[str]:
    """Undo one step; return what is left of it, in words."""
    stream = row.progress_stream
    step = STEPS_BY_NAME.get(row.name)
    # Without an intent it never came to making anything.
    if step is not None and row.intent:
        ctx = StepContext(deployment, intent=row.intent, result=row.result)
        events.publish(*stream, "undoing", {"step": row.name, "title": step.title})
        try:
            _compensate(step.compensate, ctx)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other steps are undone
            foreseen = isinstance(error, TRANSIENT)
            cause = str(error) if foreseen else "".join(traceback.format_exception(error)).rstrip()
            log.warning(
                "step not undone",
                deployment=str(deployment.pk),
                step=row.name,
                error=ctx.without_secrets(cause),
            )
            left = step.leftovers(ctx)
            events.publish(*stream, "undo_failed", {"step": row.name, "leftovers": left})
            return left
    try:
        transition(row, to=StepStatus.UNDONE, lease_token=None, lease_expires_at=None)
    except InvalidTransition:
        log.warning("step undone already", deployment=str(deployment.pk), step=row.name)
    return []


def _compensate(compensate: Callable[[StepContext], None], ctx: StepContext) -> None:
    for pause in _PAUSES:
        try:
            compensate(ctx)
        except TRANSIENT:
            time.sleep(pause)
        else:
            return
    compensate(ctx)


def _end(deployment: Deployment, token: UUID, left: list[str]) -> bool:
    """Write down how the undo ended, if it is still this one's to say."""
    reason = UndoReason(deployment.undo_reason)
    now = timezone.now()
    try:
        if left:
            transition(
                deployment,
                to=DeploymentStatus.ROLLBACK_FAILED,
                reason=f"Could not take away: {'; '.join(left)}",
                only_if=leases.held_by(token),
                leftovers=left,
                undo_attempts=min(deployment.undo_attempts + 1, _MAX_ATTEMPTS_COUNTED),
                next_undo_at=now + _pause_after(deployment.undo_attempts),
                lease_token=None,
                lease_expires_at=None,
            )
        else:
            undeployed = reason == UndoReason.UNDEPLOYED
            transition(
                deployment,
                to=_END[reason],
                only_if=leases.held_by(token),
                leftovers=[],
                next_undo_at=None,
                lease_token=None,
                lease_expires_at=None,
                completed_at=deployment.completed_at if undeployed else now,
                stopped_at=now if undeployed else None,
            )
    except InvalidTransition:
        log.warning("undo lost to another worker", deployment=str(deployment.pk))
        return False
    return not left


def _pause_after(attempts: int) -> timedelta:
    doubled: timedelta = _FIRST_RETRY * 2 ** min(attempts, 10)
    return min(doubled, _LAST_RETRY)


def try_again(deployment_id: UUID) -> bool:
    """Let a failed rollback begin again; return whether it was one whose time had come."""
    with transaction.atomic():
        row = (
            Deployment.objects.select_for_update()
            .filter(
                pk=deployment_id,
                status=DeploymentStatus.ROLLBACK_FAILED,
                next_undo_at__lte=timezone.now(),
            )
            .first()
        )
        if row is None:
            return False
        undeployed = row.undo_reason == UndoReason.UNDEPLOYED
        transition(
            row,
            to=DeploymentStatus.STOPPING if undeployed else DeploymentStatus.ROLLING_BACK,
            reason="What was left is taken away again.",
        )
    return True
