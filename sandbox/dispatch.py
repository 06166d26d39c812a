"""Hand a test to a worker once its row can be read."""

import structlog
from celery import current_app
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from sandbox.models import SandboxTest

log = structlog.get_logger(__name__)

RUN_TEST = "sandbox.tasks.run_test"


def dispatch(test: SandboxTest) -> None:
    """Queue the work on commit. A queue that is away costs time only: the reconciler asks again."""
    SandboxTest.objects.filter(pk=test.pk).update(dispatched_at=timezone.now())
    transaction.on_commit(lambda: _send(test))


def _send(test: SandboxTest) -> None:
    try:
        current_app.send_task(RUN_TEST, args=[str(test.pk)])
    except (OperationalError, OSError) as error:
        log.warning("test not queued yet", test=str(test.pk), error=type(error).__name__)
