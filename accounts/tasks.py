"""Work in the background: letting go of sign-ins that have run out."""

from celery import shared_task

from accounts import retention


@shared_task(name="accounts.tasks.delete_old_rows")
def delete_old_rows() -> None:
    """Delete sessions and tokens that have run out."""
    retention.delete_expired_sign_ins()
