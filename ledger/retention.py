"""Letting go of rows that have served their time.

Each room says which of its rows those are; here they are deleted, a batch at a time, so that nobody
waits for a long delete. The audit trail and the changes of status stay.
"""

from datetime import timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from ledger.models import ProgressEvent

log = structlog.get_logger(__name__)

_BATCH: Final = 500


def delete_in_batches(
    rows: QuerySet[Any], *, batch: int = _BATCH, events_of: str | None = None
) -> int:
    """Delete the rows with what hangs on them, each batch in a transaction; return how many.

    ``rows`` must not be sliced. A row that no longer fits when its turn comes is kept. With
    ``events_of``, the subject type of the rows, their progress events go in the same transaction.
    """
    total = 0
    while True:
        ids = list(rows.order_by("pk").values_list("pk", flat=True)[:batch])
        if not ids:
            break
        with transaction.atomic():
            fitting = rows.filter(pk__in=ids)
            if events_of is not None:
                # Held, so that those whose events go are those that go.
                ids = list(fitting.select_for_update(of=("self",)).values_list("pk", flat=True))
                ProgressEvent.objects.filter(subject_type=events_of, subject_id__in=ids).delete()
                fitting = rows.model._default_manager.filter(pk__in=ids)  # noqa: SLF001 - Django's documented model API
            _, counts = fitting.delete()
        deleted = counts.get(rows.model._meta.label, 0)  # noqa: SLF001 - as above
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
