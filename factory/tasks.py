"""Work in the background: letting go of old rows."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from factory.models import IdempotencyKey
from ledger.retention import delete_in_batches


@shared_task(name="factory.tasks.delete_old_rows")
def delete_old_rows() -> None:
    """Delete idempotency keys after ``KEEP_IDEMPOTENCY_KEYS_DAYS``: nobody repeats so late."""
    limit = timezone.now() - timedelta(days=settings.KEEP_IDEMPOTENCY_KEYS_DAYS)
    delete_in_batches(IdempotencyKey.objects.filter(created_at__lt=limit))
