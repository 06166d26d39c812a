"""Putting a deployment's work into the queue. Only ids travel; the rows say what is to be done."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from celery import Signature, chain, current_app
from django.db import transaction
from django.db.models.functions import Now
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from provisioning.models import Deployment
from provisioning.steps.registry import STEPS

log = structlog.get_logger(__name__)

RUN_STEP: Final = "provisioning.tasks.run_step"
FINISH: Final = "provisioning.tasks.finish_deployment"
COMPENSATE: Final = "provisioning.tasks.compensate_deployment"

# Room to put the failure down between the soft limit and the hard one.
_HARD_LIMIT_MARGIN: Final = timedelta(seconds=30)


def enqueue_steps(deployment_id: UUID) -> None:
    """Queue all steps when the transaction commits; those that are done pass at once."""
    transaction.on_commit(lambda: _send(deployment_id, _steps(deployment_id)))


def enqueue_undo(deployment_id: UUID) -> None:
    """Queue the undo when the transaction commits."""
    transaction.on_commit(lambda: _send(deployment_id, _task(COMPENSATE, str(deployment_id))))


def _steps(deployment_id: UUID) -> Signature:
    key = str(deployment_id)
    signatures = [
        _task(RUN_STEP, key, step.name).set(
            soft_time_limit=step.timeout_seconds,
            time_limit=step.timeout_seconds + _HARD_LIMIT_MARGIN.total_seconds(),
        )
        for step in STEPS
    ]
    work: Signature = chain(*signatures, _task(FINISH, key))
    return work.on_error(_task(COMPENSATE, key))


def _task(name: str, *args: str) -> Any:
    return current_app.signature(name, args=args, immutable=True)


def _send(deployment_id: UUID, work: Signature) -> None:
    """Give the work to the queue; when that is away, the reconciler asks again."""
    try:
        work.apply_async(retry=False)
    except (OperationalError, RedisError, OSError) as error:
        log.warning("work not queued yet", deployment=str(deployment_id), error=str(error))
        return
    Deployment.objects.filter(pk=deployment_id).update(enqueued_at=Now())
