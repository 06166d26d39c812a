"""A deployment in the words of its page: what goes on, what failed, what was undone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from factory.enums import BlueprintStatus
from factory.models import Blueprint
from factory.services.blueprints import TAKEN_BACK
from ledger import events
from ledger.models import AuditEntry
from provisioning.engine import CANCELLED, MAX_ATTEMPTS
from provisioning.enums import ACTIVE, TERMINAL, UNDOING, DeploymentStatus, StepStatus, UndoReason
from provisioning.models import Deployment, DeploymentStep
from provisioning.services import describe_deployment
from provisioning.steps.base import split_output

_HEADINGS: Final[Mapping[str, str]] = {
    DeploymentStatus.PENDING: "Deploying Agent: {}",
    DeploymentStatus.PROVISIONING: "Deploying Agent: {}",
    DeploymentStatus.RUNNING: "Deployed Agent: {}",
    DeploymentStatus.ROLLING_BACK: "Undoing the deployment of {}",
    DeploymentStatus.FAILED: "Deployment of {} failed",
    DeploymentStatus.ROLLBACK_FAILED: "Something of {} could not be removed yet",
    DeploymentStatus.CANCELLED: "Deployment of {} cancelled",
    DeploymentStatus.STOPPING: "Undeploying Agent: {}",
    DeploymentStatus.STOPPED: "Undeployed Agent: {}",
}
_WAITS_LONG: Final = timedelta(seconds=15)
_EVENTS_READ: Final = 60
_TOLD: Final = ("undoing", "undo_failed", "retrying")


@dataclass(frozen=True)
class StepLine:
    """One step as its line shows it."""

    name: str
    title: str
    status: str
    """The step's own status, for programs."""
    state: str
    """One of ``waiting working done failed undoing undone left never``."""
    label: str
    """What stands at the line's end."""
    seconds: float | None = None
    """How long it took or has taken so far."""
    note: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether this is the step that failed, undone or not."""
        return self.state == "failed"


@dataclass(frozen=True)
class Failure:
    """What failed and why."""

    title: str
    reason: str
    output: str = ""
    """The agent's last lines, where it wrote any."""


def deployment_context(deployment: Deployment, *, may_deploy: bool) -> dict[str, Any]:
    """Return what the page and its live part show."""
    last_seq = events.last_seq("deployment", deployment.pk)
    told = describe_deployment(deployment)
    rows = list(deployment.steps.order_by("position"))
    said = _newest_events(deployment) if deployment.status != DeploymentStatus.RUNNING else {}
    details = {step["step"]: step for step in told["steps"]}
    lines = [_line(deployment, row, details[row.name], said.get(row.name)) for row in rows]
    undoing = deployment.status in UNDOING
    made = [line for line in lines if line.state not in ("waiting", "never")]
    gone = [row for row in rows if row.status == StepStatus.UNDONE]
    return {
        "deployment": deployment,
        "agent": deployment.agent,
        "heading": _HEADINGS[deployment.status].format(deployment.agent.agent_id),
        "told": told,
        "lines": lines,
        "failure": _failure(deployment, rows, lines),
        "is_active": deployment.status in ACTIVE,
        "is_undoing": undoing,
        "undone": len(gone),
        "to_undo": len(made),
        "percent": _percent(told, undoing=undoing, made=len(made), gone=len(gone)),
        "is_overdue": deployment.status == DeploymentStatus.PROVISIONING
        and told["estimated_seconds_remaining"] is None,
        "is_working": any(line.state == "working" for line in lines),
        "waits_long": deployment.status == DeploymentStatus.PENDING
        and timezone.now() - deployment.created_at > _WAITS_LONG,
        "is_created": deployment.status == DeploymentStatus.RUNNING,
        "is_over": deployment.status in TERMINAL,
        "is_stuck": deployment.status == DeploymentStatus.ROLLBACK_FAILED,
        "is_newest": not deployment.agent.deployments.filter(
            created_at__gt=deployment.created_at
        ).exists(),
        "is_deleted": deployment.agent.deleted_at is not None,
        "is_cancelled": deployment.error_code == CANCELLED,
        "may_deploy": may_deploy,
        "last_seq": last_seq,
    }


def draft_of(deployment: Deployment, user: Any) -> Blueprint | None:
    """Return the wizard's draft that the agent was made from, if ``user`` made it."""
    return (
        Blueprint.objects.of(deployment.organization)
        .filter(agent=deployment.agent, created_by=user)
        .exclude(wizard_state={})
        .first()
    )


def taken_back(deployment: Deployment, user: Any) -> tuple[bool, Blueprint | None]:
    """Return whether Edit gave the agent up, and the draft it became if ``user`` still has it."""
    if deployment.agent.deleted_at is None:
        return False, None
    entry = AuditEntry.objects.filter(object_pk=str(deployment.agent_id), event=TAKEN_BACK).first()
    if entry is None:
        return False, None
    drafts = (
        Blueprint.objects.of(deployment.organization)
        .filter(pk=str((entry.additional_data or {})["draft"]), created_by=user)
        .exclude(status__in=[BlueprintStatus.DEPLOYED, BlueprintStatus.ARCHIVED])
    )
    return True, drafts.first()


def _title(row: DeploymentStep, deployment: Deployment, told: dict[str, Any]) -> str:
    if row.name == "create_container" and deployment.driver == "process":
        return "Starting the local process"
    return str(told["title"])


def _newest_events(deployment: Deployment) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return what was last said of each step that its row does not say."""
    rows = events.events_after("deployment", deployment.pk, 0).filter(kind__in=_TOLD)
    newest = rows.reverse().values_list("kind", "payload")[:_EVENTS_READ]
    return {payload.get("step", ""): (kind, payload) for kind, payload in reversed(newest)}


def _line(
    deployment: Deployment,
    row: DeploymentStep,
    told: dict[str, Any],
    event: tuple[str, dict[str, Any]] | None,
) -> StepLine:
    kind, payload = event or ("", {})
    state, label, note = _state(deployment, row, kind)
    shown = state in ("working", "done") or (state in ("failed", "undone") and row.finished_at)
    seconds = told["duration_seconds"] if shown else None
    if state == "working" and row.attempt > 1:
        reason = str(payload.get("reason", "")) if kind == "retrying" else ""
        note = f"It did not work at once: try {row.attempt} of {MAX_ATTEMPTS}. {reason}".strip()
    return StepLine(
        name=row.name,
        title=_title(row, deployment, told),
        status=str(row.status),
        state=state,
        label=label,
        seconds=seconds,
        note=note or (row.detail if state in ("done", "undoing") else ""),
    )


def _state(deployment: Deployment, row: DeploymentStep, kind: str) -> tuple[str, str, str]:
    """Return state, label and note of a step."""
    undoing = deployment.status in UNDOING
    failed = bool(row.error) or row.status == StepStatus.FAILED
    found = "done", "Done", ""
    if row.status == StepStatus.PENDING:
        found = "waiting", "Waiting", ""
        if undoing or deployment.status not in ACTIVE:
            found = "never", "Not begun", ""
    elif row.status == StepStatus.UNDONE:
        undeployed = deployment.undo_reason == UndoReason.UNDEPLOYED
        found = "undone", "Removed" if undeployed else "Undone", ""
        if failed:
            found = "failed", "Failed", "What it had made is removed again."
    elif undoing and kind == "undoing":
        found = "undoing", "Undoing", "It failed; what it had made is being removed."
        if not failed:
            found = "undoing", "Undoing", ""
    elif kind == "undo_failed":
        found = "left", "Not removed yet", "It is tried again by itself."
    elif failed:
        found = "failed", "Failed", "What it had made is removed next." if undoing else ""
    elif row.status == StepStatus.IN_PROGRESS:
        found = "working", "Working", ""
    return found


def _failure(
    deployment: Deployment, rows: list[DeploymentStep], lines: list[StepLine]
) -> Failure | None:
    wrong = next((row for row in rows if row.error), None)
    if deployment.status in (DeploymentStatus.PENDING, DeploymentStatus.PROVISIONING):
        return None
    if wrong is None and not deployment.error_detail:
        return None
    if wrong is not None and deployment.status != DeploymentStatus.RUNNING:
        title = next(line.title for line in lines if line.name == wrong.name)
        return Failure(f"“{title}” failed", *split_output(deployment.error_detail or wrong.error))
    if deployment.status == DeploymentStatus.RUNNING:
        return None
    cancelled = deployment.error_code == CANCELLED
    title = "Cancelled" if cancelled else "The deployment did not finish"
    return Failure(title, deployment.error_detail)


def _percent(told: dict[str, Any], *, undoing: bool, made: int, gone: int) -> int:
    """Return how far the bar is: of the work, or of taking it away again."""
    if undoing:
        return round(100 * gone / made) if made else 100
    return int(told["progress_percent"])
