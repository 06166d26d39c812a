"""Work in the background: run a test, and clear up after one whose worker died."""

from uuid import UUID

from celery import shared_task


@shared_task(name="sandbox.tasks.run_test")
def run_test(test_id: str) -> None:
    """Carry out one test. A second delivery finds it taken and does nothing."""
    from sandbox.runner import run

    run(UUID(test_id))


@shared_task(name="sandbox.tasks.reconcile")
def reconcile() -> None:
    """End tests that nobody works on any more and remove what no live test owns."""
    from sandbox import reconciler

    reconciler.reconcile()


@shared_task(name="sandbox.tasks.delete_old_rows")
def delete_old_rows() -> None:
    """Delete tests that nobody needs any more."""
    from sandbox import retention

    retention.delete_old_tests()
