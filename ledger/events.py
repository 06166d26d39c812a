"""Progress events: the row first, then the live channel.

A browser that missed a message sees the gap in ``seq`` and asks for what came after the last one
it has; losing the channel layer therefore costs promptness, never truth.
"""

import hashlib
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Max, QuerySet

from ledger.announcer import announce
from ledger.models import ProgressEvent


def group_name(subject_type: str, subject_id: UUID | str) -> str:
    """Return the channel group in which the events of one subject are announced."""
    return f"{subject_type}.{subject_id}"


def publish(subject_type: str, subject_id: UUID, kind: str, payload: dict[str, Any]) -> None:
    """Append one event to the subject's sequence and announce it when the transaction commits."""
    with transaction.atomic():
        _lock_sequence(subject_type, subject_id)
        last = _events(subject_type, subject_id).aggregate(last=Max("seq"))["last"] or 0
        event = ProgressEvent.objects.create(
            subject_type=subject_type,
            subject_id=subject_id,
            seq=last + 1,
            kind=kind,
            payload=payload,
        )
        transaction.on_commit(lambda: _announce(event))


def events_after(subject_type: str, subject_id: UUID, seq: int) -> QuerySet[ProgressEvent]:
    """Return the subject's events with a number above ``seq``, in order."""
    return _events(subject_type, subject_id).filter(seq__gt=seq).order_by("seq")


def last_seq(subject_type: str, subject_id: UUID) -> int:
    """Return the number of the subject's newest event, 0 if there is none."""
    return _events(subject_type, subject_id).aggregate(last=Max("seq"))["last"] or 0


def _events(subject_type: str, subject_id: UUID) -> QuerySet[ProgressEvent]:
    return ProgressEvent.objects.filter(subject_type=subject_type, subject_id=subject_id)


def _lock_sequence(subject_type: str, subject_id: UUID) -> None:
    # Two workers appending to one subject take turns; other subjects are not held up.
    name = hashlib.sha256(group_name(subject_type, subject_id).encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(name[:8], "big", signed=True)]
        )


def _announce(event: ProgressEvent) -> None:
    announce(
        group_name(event.subject_type, event.subject_id),
        {"type": "progress.event", "event": event.as_message()},
    )
