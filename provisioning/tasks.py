"""Work in the background: steps, undoing, and looking after what runs. Only ids come in."""

from typing import Any
from uuid import UUID

from celery import shared_task

from provisioning import engine, reconciler, upkeep
from provisioning.engine import StepEnded, StepPostponed
from provisioning.undo import undo


@shared_task(name="provisioning.tasks.run_step", bind=True, throws=(StepEnded,))
def run_step(self: Any, deployment_id: str, name: str) -> None:
    """Do one step of a deployment; what comes after it in the chain goes on when it is done."""
    try:
        engine.run_step(UUID(deployment_id), name)
    except StepPostponed as postponed:
        # The step's row counts the attempts.
        raise self.retry(countdown=postponed.seconds, max_retries=None) from None


@shared_task(name="provisioning.tasks.finish_deployment", throws=(StepEnded,))
def finish_deployment(deployment_id: str) -> None:
    """Let the deployment run."""
    engine.finish(UUID(deployment_id))


@shared_task(name="provisioning.tasks.compensate_deployment")
def compensate_deployment(deployment_id: str) -> None:
    """Undo what was made."""
    undo(UUID(deployment_id))


@shared_task(name="provisioning.tasks.reconcile")
def reconcile() -> None:
    """Go on where workers died, and take away what nobody owns."""
    reconciler.reconcile()


@shared_task(name="provisioning.tasks.check_agents")
def check_agents() -> None:
    """Ask every running agent how it is."""
    upkeep.check_agents()
