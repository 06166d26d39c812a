"""Deployments and their steps in the admin: to look at, never to edit."""

from django.contrib import admin
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from ledger.read_only import ReadOnly
from provisioning.enums import DeploymentStatus, StepStatus
from provisioning.models import Deployment, DeploymentStep

_STATUS_COLOURS = {
    DeploymentStatus.RUNNING.label: "success",
    DeploymentStatus.PENDING.label: "info",
    DeploymentStatus.PROVISIONING.label: "info",
    DeploymentStatus.ROLLING_BACK.label: "warning",
    DeploymentStatus.STOPPING.label: "warning",
    DeploymentStatus.FAILED.label: "danger",
    DeploymentStatus.ROLLBACK_FAILED.label: "danger",
}
_STEP_COLOURS = {
    StepStatus.COMPLETED.label: "success",
    StepStatus.IN_PROGRESS.label: "info",
    StepStatus.UNDONE.label: "warning",
    StepStatus.FAILED.label: "danger",
}


class DeploymentStepInline(ReadOnly, TabularInline):  # type: ignore[misc]  # unfold ships no types
    """The steps below their deployment."""

    model = DeploymentStep
    fields = (
        "position",
        "name",
        "status",
        "attempt",
        "started_at",
        "finished_at",
        "detail",
        "error",
    )
    readonly_fields = fields
    ordering = ("position",)
    extra = 0
    hide_title = True


@admin.register(Deployment)
class DeploymentAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Deployments, newest first."""

    list_display = ("agent", "number", "shown_status", "driver", "created_at", "completed_at")
    list_filter = ("status", "driver")
    list_select_related = ("agent", "release")
    search_fields = ("agent__agent_id", "id")
    date_hierarchy = "created_at"
    inlines = (DeploymentStepInline,)
    fields = (
        "id",
        "organization",
        "agent",
        "release",
        "status",
        "driver",
        "requested_by",
        "monthly_cost_inr",
        "estimated_seconds",
        "created_at",
        "started_at",
        "completed_at",
        "stopped_at",
        "cancel_requested_at",
        "undo_reason",
        "error_code",
        "error_detail",
        "leftovers",
        "undo_attempts",
        "next_undo_at",
        "restarts",
        "restarted_at",
    )
    readonly_fields = fields

    @admin.display(description="Release", ordering="release__number")
    def number(self, deployment: Deployment) -> int:
        """Return the number of the release."""
        return deployment.release.number

    @display(description="Status", ordering="status", label=_STATUS_COLOURS)  # type: ignore[untyped-decorator]  # unfold ships no types
    def shown_status(self, deployment: Deployment) -> str:
        """Return the status as a coloured label."""
        return deployment.get_status_display()


@admin.register(DeploymentStep)
class DeploymentStepAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Steps of all deployments, to compare how long they take."""

    list_display = ("deployment", "name", "shown_status", "attempt", "started_at", "finished_at")
    list_filter = ("status", "name")
    list_select_related = ("deployment__agent",)
    search_fields = ("deployment__agent__agent_id", "deployment__id")
    fields = (
        "deployment",
        "name",
        "position",
        "status",
        "attempt",
        "lease_expires_at",
        "intent",
        "result",
        "detail",
        "error",
        "started_at",
        "finished_at",
    )
    readonly_fields = fields

    @display(description="Status", ordering="status", label=_STEP_COLOURS)  # type: ignore[untyped-decorator]  # unfold ships no types
    def shown_status(self, step: DeploymentStep) -> str:
        """Return the status as a coloured label."""
        return step.get_status_display()
