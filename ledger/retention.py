"""Letting go of rows that have served their time.

Each room says which of its rows those are; here they are deleted, a batch at a time, so that nobody
waits for a long delete. The audit trail and the changes of status stay.
"""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from ledger.models import ProgressEvent

log = structlog.get_logger(__name__)

_BATCH: Final = 500


def delete_in_batches(rows: QuerySet[Any], *, batch: int = _BATCH) -> int:
    """Delete the rows with what hangs on them, each batch in a transaction; return how many.

    ``rows`` must not be sliced. A row that no longer fits when its turn comes is kept.
    """
    total = 0
    while True:
        ids = list(rows.order_by("pk").values_list("pk", flat=True)[:batch])
        if not ids:
            break
        _, counts = rows.filter(pk__in=ids).delete()
        deleted = counts.get(rows.model._meta.label, 0)  # noqa: SLF001 - Django's documented model API
        total += deleted
        if not deleted:
            break
    if total:
        log.info("old rows deleted", kind=rows.model._meta.label, rows=total)  # noqa: SLF001 - as above
    return total


def delete_old_events() -> int:
    """Delete progress events that are older than ``KEEP_PROGRESS_DAYS``.

    Each subject's newest one stays: its number is where the subject's sequence goes on.
    """
    later = ProgressEvent.objects.filter(
        subject_type=OuterRef("subject_type"),
        subject_id=OuterRef("subject_id"),
        seq__gt=OuterRef("seq"),
    )
    limit = timezone.now() - timedelta(days=settings.KEEP_PROGRESS_DAYS)
    return delete_in_batches(ProgressEvent.objects.filter(Exists(later), created_at__lt=limit))


def delete_events_of(subject_type: str, subject_ids: list[UUID]) -> int:
    """Delete all progress events of subjects that are no more."""
    return delete_in_batches(
        ProgressEvent.objects.filter(subject_type=subject_type, subject_id__in=subject_ids)
    )
