"""Looking after deployments from outside: whatever died in the middle is brought to an end.

One reconciler works at a time. Each part stands alone: when one can't be done (Docker is away,
say), the others still are, and the next turn tries again.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from provisioning import engine, leases, pipeline, upkeep
from provisioning.enums import UNDOING, DeploymentStatus, StepStatus
from provisioning.models import Deployment, DeploymentStep
from provisioning.turns import one_at_a_time
from provisioning.undo import try_again

log = structlog.get_logger(__name__)

LEASE_GRACE: Final = timedelta(seconds=2)
"""After a lease ran out: the worker is dead or stopped, its work is taken over."""
MESSAGE_GRACE: Final = timedelta(seconds=45)
"""Without anything happening: the message is lost, or waits behind busy workers. Once more does
no harm, but should not fill the queue."""


def reconcile() -> None:
    """Do one turn; nothing if another worker is at it."""
    with one_at_a_time("provisioning.reconcile") as mine:
        if not mine:
            return
        for part in (
            resume_deployments,
            resume_undoing,
            retry_failed_rollbacks,
            upkeep.look_after_instances,
            upkeep.restore_queues,
            upkeep.remove_orphans,
        ):
            _attempt(part)


def _attempt(part: Callable[[], None]) -> None:
    try:
        part()
    except Exception:
        log.exception("part of reconciling failed", part=part.__name__)


def resume_deployments() -> None:
    """Queue the steps of deployments that nobody works on; fail those that kill their workers."""
    abandoned = DeploymentStep.objects.filter(
        status=StepStatus.IN_PROGRESS,
        lease_expires_at__lt=Now() - LEASE_GRACE,
        deployment__status=DeploymentStatus.PROVISIONING,
    )
    for step in abandoned:
        if step.attempt < engine.MAX_ATTEMPTS:
            _resume(step.deployment_id, "the step's worker is gone", step=step.name)
        elif engine.give_up(step.deployment_id, step.name):
            log.warning("step given up", deployment=str(step.deployment_id), step=step.name)
            pipeline.enqueue_undo(step.deployment_id)
    for deployment_id in _waiting(DeploymentStatus.PENDING, DeploymentStatus.PROVISIONING):
        _resume(deployment_id, "nothing has happened for a while")


def resume_undoing() -> None:
    """Queue the undo of deployments that are to be undone and nobody is at it."""
    gone = Deployment.objects.filter(
        status__in=UNDOING, lease_expires_at__lt=Now() - LEASE_GRACE
    ).values_list("pk", flat=True)
    for deployment_id in {*gone, *_waiting(*UNDOING)}:
        log.warning("undo resumed", deployment=str(deployment_id))
        Deployment.objects.filter(pk=deployment_id).update(enqueued_at=Now())
        pipeline.enqueue_undo(deployment_id)


def retry_failed_rollbacks() -> None:
    """Begin failed rollbacks again whose pause is over."""
    due = Deployment.objects.filter(
        status=DeploymentStatus.ROLLBACK_FAILED, next_undo_at__lte=Now()
    ).values_list("pk", flat=True)
    for deployment_id in list(due):
        with transaction.atomic():
            if try_again(deployment_id):
                pipeline.enqueue_undo(deployment_id)


def _waiting(*statuses: DeploymentStatus) -> list[UUID]:
    """Return deployments of these statuses in which nothing has happened for a while."""
    long_ago = Now() - MESSAGE_GRACE
    busy = DeploymentStep.objects.filter(
        Q(finished_at__gte=long_ago)
        # In hand, being postponed, or abandoned a moment ago: others see to that.
        | Q(status=StepStatus.IN_PROGRESS, lease_expires_at__gte=Now() - LEASE_GRACE)
    )
    rows = (
        Deployment.objects.filter(leases.free(), status__in=statuses)
        .annotate(asked_at=Coalesce("enqueued_at", "created_at"))
        .exclude(pk__in=busy.values("deployment"))
    )
    # Never queued: the queue was away, and there is nothing to wait for.
    unqueued = Q(enqueued_at=None, created_at__lt=Now() - LEASE_GRACE)
    return list(rows.filter(unqueued | Q(asked_at__lt=long_ago)).values_list("pk", flat=True))


def _resume(deployment_id: UUID, why: str, **more: str) -> None:
    log.warning("deployment resumed", deployment=str(deployment_id), why=why, **more)
    pipeline.enqueue_steps(deployment_id)
