"""How a deployment stands, in words and numbers, as the API and the pages show it."""

from collections.abc import Iterable
from datetime import timedelta
from statistics import median
from typing import Any, Final

from django.utils import timezone

from provisioning.enums import DeploymentStatus, StepStatus
from provisioning.models import Deployment, DeploymentStep
from provisioning.steps.registry import STEPS, STEPS_BY_NAME
from registry.enums import AgentStatus

_PAST_STEPS_READ: Final = 300
"""About fifty deployments: recent enough to follow a machine that got faster or slower."""

_PATIENCE: Final = 2.0
_PATIENCE_SECONDS: Final = 3.0
"""A step over ``_PATIENCE`` times its usual seconds and these is not guessed about any more."""

_PICKED_UP: Final = timedelta(seconds=8)
"""Between two steps usually lies a fraction of a second."""

_API_STATUS: Final = {DeploymentStatus.RUNNING: "completed"}


def estimate_seconds() -> float:
    """Return how long a deployment takes, from the medians of past steps."""
    return round(sum(_usual_seconds().values()), 1)


def describe_accepted(deployment: Deployment) -> dict[str, Any]:
    """Return the answer to creating or deploying an agent."""
    return {
        "agent_id": deployment.agent.agent_id,
        "deployment_id": str(deployment.pk),
        "status": "provisioning",
        "provisioning_steps": [
            {"step": step.name, "status": step.status} for step in deployment.steps.all()
        ],
        "estimated_duration_seconds": round(deployment.estimated_seconds),
    }


def describe_deployment(deployment: Deployment) -> dict[str, Any]:
    """Return how the deployment stands.

    ``progress_percent`` counts time, not steps: a long step moves the bar further.
    """
    steps = list(deployment.steps.order_by("position"))
    usual = _usual_seconds()
    return {
        "agent_id": deployment.agent.agent_id,
        "deployment_id": str(deployment.pk),
        "status": _API_STATUS.get(DeploymentStatus(deployment.status), str(deployment.status)),
        "steps": [_describe_step(step) for step in steps],
        "progress_percent": _percent(deployment, steps, usual),
        "estimated_seconds_remaining": _remaining(deployment, steps, usual),
        "registry_status": str(deployment.agent.status).upper(),
        "error": _error(deployment),
        "next_actions": _next_actions(deployment),
    }


def _describe_step(step: DeploymentStep) -> dict[str, Any]:
    definition = STEPS_BY_NAME.get(step.name)
    return {
        "step": step.name,
        "title": definition.title if definition else step.name,
        "status": str(step.status),
        "duration_seconds": _duration(step),
        "details": step.detail,
        "error": step.error or None,
    }


def _duration(step: DeploymentStep) -> float | None:
    if step.started_at is None:
        return None
    end = step.finished_at or timezone.now()
    return round(max((end - step.started_at).total_seconds(), 0), 1)


def _usual_seconds() -> dict[str, float]:
    """Return how long each step usually takes: the median of the newest runs."""
    past = (
        DeploymentStep.objects.filter(finished_at__isnull=False, status=StepStatus.COMPLETED)
        .order_by("-finished_at")
        .values_list("name", "started_at", "finished_at")[:_PAST_STEPS_READ]
    )
    durations: dict[str, list[float]] = {}
    for name, started, finished in past:
        if started is not None and finished is not None:
            durations.setdefault(name, []).append((finished - started).total_seconds())
    return {
        step.name: median(durations[step.name]) if step.name in durations else step.usual_seconds
        for step in STEPS
    }


def _percent(
    deployment: Deployment, steps: Iterable[DeploymentStep], usual: dict[str, float]
) -> int:
    if deployment.status == DeploymentStatus.RUNNING:
        return 100
    total = sum(usual.values()) or 1.0
    done = sum(_share(step, usual) for step in steps)
    # 100 is kept for the moment in which the deployment says that it runs.
    return min(int(100 * done / total), 99)


def _share(step: DeploymentStep, usual: dict[str, float]) -> float:
    expected = usual.get(step.name, 0.0)
    if step.status == StepStatus.COMPLETED:
        return expected
    if step.status == StepStatus.IN_PROGRESS:
        return min(_duration(step) or 0.0, 0.9 * expected)
    return 0.0


def _is_overdue(step: DeploymentStep, usual: dict[str, float]) -> bool:
    """Whether the step hangs, as far as past ones tell."""
    expected = usual.get(step.name, 0.0)
    taken = _duration(step) or 0.0
    return (
        step.status == StepStatus.IN_PROGRESS and taken > _PATIENCE * expected + _PATIENCE_SECONDS
    )


def _is_stalled(deployment: Deployment, steps: Iterable[DeploymentStep]) -> bool:
    """Whether no step is under way for longer than the next one takes to be picked up."""
    steps = list(steps)
    if deployment.status != DeploymentStatus.PROVISIONING or any(
        step.status == StepStatus.IN_PROGRESS for step in steps
    ):
        return False
    moments = [deployment.started_at, *(step.finished_at for step in steps)]
    newest = max((moment for moment in moments if moment is not None), default=None)
    return newest is not None and timezone.now() - newest > _PICKED_UP


def _remaining(
    deployment: Deployment, steps: Iterable[DeploymentStep], usual: dict[str, float]
) -> int | None:
    """Return the seconds left; nothing when a step takes longer than usual, or work is undone."""
    if deployment.status not in (DeploymentStatus.PENDING, DeploymentStatus.PROVISIONING):
        return 0 if deployment.status == DeploymentStatus.RUNNING else None
    steps = list(steps)
    if any(_is_overdue(step, usual) for step in steps) or _is_stalled(deployment, steps):
        return None
    left = sum(
        usual.get(step.name, 0.0) - _share(step, usual)
        for step in steps
        if step.status != StepStatus.COMPLETED
    )
    return max(round(left), 1)


def _error(deployment: Deployment) -> dict[str, Any] | None:
    if not deployment.error_code and not deployment.leftovers:
        return None
    return {
        "code": deployment.error_code or "cleanup_failed",
        "detail": deployment.error_detail,
        "leftovers": [str(item) for item in deployment.leftovers],
    }


def _next_actions(deployment: Deployment) -> list[str]:
    agent = deployment.agent
    path = f"/api/agents/{agent.agent_id}"
    match deployment.status:
        case DeploymentStatus.PENDING | DeploymentStatus.PROVISIONING:
            return ["Wait for the steps to finish, or cancel the deployment"]
        case DeploymentStatus.RUNNING if agent.status == AgentStatus.DRAFT:
            return [
                f"Activate agent (POST {path}/activate)",
                "Run integration tests",
                "Update documentation",
            ]
        case DeploymentStatus.RUNNING:
            return [f"Invoke a capability (POST {path}/invoke/{{capability}})"]
        case DeploymentStatus.ROLLING_BACK | DeploymentStatus.STOPPING:
            return ["Wait until everything made has been taken away"]
        case DeploymentStatus.ROLLBACK_FAILED:
            return [
                "Wait: what is left is taken away as soon as that works",
                f"Delete agent (DELETE {path}); its name is free at once",
            ]
    return [
        f"Deploy again (POST {path}/deploy)",
        f"Edit agent (PATCH {path})",
        f"Delete agent (DELETE {path}); its name is free again",
    ]
