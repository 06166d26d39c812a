"""Work in the background: letting go of old rows."""

from celery import shared_task

from ledger import retention


@shared_task(name="ledger.tasks.delete_old_rows")
def delete_old_rows() -> None:
    """Delete progress events that nobody needs any more."""
    retention.delete_old_events()
