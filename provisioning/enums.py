"""The states of a deployment and of its steps."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from django.db import models


class DeploymentStatus(models.TextChoices):
    """Where a deployment is. ``running`` means deployed: the agent is up."""

    PENDING = "pending", "Pending"
    PROVISIONING = "provisioning", "Provisioning"
    RUNNING = "running", "Running"
    ROLLING_BACK = "rolling_back", "Rolling back"
    FAILED = "failed", "Failed"
    ROLLBACK_FAILED = "rollback_failed", "Rollback failed"
    CANCELLED = "cancelled", "Cancelled"
    STOPPING = "stopping", "Stopping"
    STOPPED = "stopped", "Stopped"


DEPLOYMENT_TRANSITIONS: Final[Mapping[str, AbstractSet[str]]] = {
    DeploymentStatus.PENDING: {
        DeploymentStatus.PROVISIONING,
        DeploymentStatus.ROLLING_BACK,
        DeploymentStatus.CANCELLED,
    },
    DeploymentStatus.PROVISIONING: {DeploymentStatus.RUNNING, DeploymentStatus.ROLLING_BACK},
    DeploymentStatus.ROLLING_BACK: {
        DeploymentStatus.FAILED,
        DeploymentStatus.ROLLBACK_FAILED,
        DeploymentStatus.CANCELLED,
    },
    DeploymentStatus.RUNNING: {DeploymentStatus.STOPPING},
    DeploymentStatus.STOPPING: {DeploymentStatus.STOPPED, DeploymentStatus.ROLLBACK_FAILED},
    # What was left can be cleared away later, by the reconciler or on request.
    DeploymentStatus.ROLLBACK_FAILED: {DeploymentStatus.ROLLING_BACK, DeploymentStatus.STOPPING},
    DeploymentStatus.FAILED: set(),
    DeploymentStatus.CANCELLED: set(),
    DeploymentStatus.STOPPED: set(),
}

ACTIVE: Final = frozenset(
    {
        DeploymentStatus.PENDING,
        DeploymentStatus.PROVISIONING,
        DeploymentStatus.ROLLING_BACK,
        DeploymentStatus.STOPPING,
    }
)
"""Work is under way."""

HOLDING: Final = ACTIVE | {DeploymentStatus.RUNNING, DeploymentStatus.ROLLBACK_FAILED}
"""Something labelled may exist outside the database."""

UNDOING: Final = frozenset({DeploymentStatus.ROLLING_BACK, DeploymentStatus.STOPPING})
"""What was made is being taken away."""

TERMINAL: Final = frozenset(
    {DeploymentStatus.FAILED, DeploymentStatus.CANCELLED, DeploymentStatus.STOPPED}
)
"""Nothing will happen any more, and nothing is left."""


class UndoReason(models.TextChoices):
    """Why what a deployment made is taken away again; decides how it ends."""

    NONE = "", "Not undone"
    FAILED = "failed", "A step failed"
    CANCELLED = "cancelled", "Cancelled"
    UNDEPLOYED = "undeployed", "Undeployed"


class StepStatus(models.TextChoices):
    """Where a step is."""

    PENDING = "pending", "Pending"
    IN_PROGRESS = "in_progress", "In progress"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    UNDONE = "undone", "Undone"


STEP_TRANSITIONS: Final[Mapping[str, AbstractSet[str]]] = {
    StepStatus.PENDING: {StepStatus.IN_PROGRESS},
    StepStatus.IN_PROGRESS: {
        # Again to itself: a lease that ran out is taken over.
        StepStatus.IN_PROGRESS,
        StepStatus.COMPLETED,
        StepStatus.FAILED,
        StepStatus.UNDONE,
    },
    StepStatus.COMPLETED: {StepStatus.UNDONE},
    StepStatus.FAILED: {StepStatus.UNDONE},
    StepStatus.UNDONE: set(),
}

UNDOABLE: Final = frozenset({StepStatus.IN_PROGRESS, StepStatus.COMPLETED, StepStatus.FAILED})
"""The step may have made something."""
