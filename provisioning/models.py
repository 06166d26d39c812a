"""Deployments and their steps. These rows are the truth; Celery only carries the work."""

import uuid

from django.conf import settings
from django.db import models

from accounts.models import Organization
from provisioning.drivers.base import LABEL_PREFIX
from provisioning.enums import (
    ACTIVE,
    DEPLOYMENT_TRANSITIONS,
    HOLDING,
    STEP_TRANSITIONS,
    DeploymentStatus,
    StepStatus,
    UndoReason,
)
from registry.models import Agent, Release


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    """Reusable reads."""

    def of(self, organization: Organization) -> "DeploymentQuerySet":
        """Deployments of one organisation."""
        return self.filter(organization=organization)

    def active(self) -> "DeploymentQuerySet":
        """Deployments with work under way."""
        return self.filter(status__in=ACTIVE)

    def holding(self) -> "DeploymentQuerySet":
        """Deployments that may own something outside the database."""
        return self.filter(status__in=HOLDING)


class Deployment(models.Model):
    """One run of making a release of an agent work, and of undoing it again."""

    TRANSITIONS = DEPLOYMENT_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        related_name="deployments",
        verbose_name="organisation",
    )
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="deployments")
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="deployments")
    status = models.CharField(
        max_length=16,
        choices=DeploymentStatus.choices,
        default=DeploymentStatus.PENDING,
        editable=False,
    )
    driver = models.CharField(max_length=16, help_text="The runtime driver that carries it.")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    enqueued_at = models.DateTimeField(
        null=True, blank=True, help_text="When the queue last took the work; empty if it was away."
    )
    undo_reason = models.CharField(
        max_length=16, choices=UndoReason.choices, default=UndoReason.NONE, blank=True
    )
    undo_attempts = models.PositiveSmallIntegerField(default=0)
    next_undo_at = models.DateTimeField(
        null=True, blank=True, help_text="When a failed rollback is tried again."
    )
    lease_token = models.UUIDField(null=True, blank=True, help_text="Who is undoing it.")
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    restarts = models.PositiveSmallIntegerField(
        default=0, help_text="How often the agent was started again since it last stayed up."
    )
    restarted_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.CharField(max_length=2000, blank=True)
    leftovers = models.JSONField(
        default=list, blank=True, help_text="What could not be removed, after a failed rollback."
    )
    estimated_seconds = models.FloatField(default=0)
    monthly_cost_inr = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(
        null=True, blank=True, help_text="When it ran, or ended without having run."
    )
    stopped_at = models.DateTimeField(null=True, blank=True, help_text="When it was undeployed.")

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["status", "-created_at"])]
        constraints = [
            # One thing at a time is done to an agent, and whatever exists of it outside the
            # database has one owner: undoing a deployment can never take another one's things.
            models.UniqueConstraint(
                fields=["agent"],
                condition=models.Q(status__in=sorted(HOLDING)),
                name="provisioning_one_per_agent",
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent} ({self.pk.hex[:8]})"

    @property
    def instance_name(self) -> str:
        """Name of the agent's instance; no other deployment uses it."""
        return f"af-{self.agent.key}-{self.id.hex[:8]}"

    @property
    def image_tag(self) -> str:
        """Name of the release's image."""
        return f"af-{settings.INSTALLATION_ID}/{self.agent.key}:r{self.release.number}"

    @property
    def labels(self) -> dict[str, str]:
        """What everything made for this deployment is labelled with."""
        return {
            f"{LABEL_PREFIX}{name}": value
            for name, value in (
                ("installation", settings.INSTALLATION_ID),
                ("organization", str(self.organization_id)),
                ("agent", str(self.agent_id)),
                ("deployment", str(self.pk)),
                ("run", f"deployment:{self.pk}"),
            )
        }


class DeploymentStep(models.Model):
    """One step of a deployment, with what it made, so that it can undo just that."""

    TRANSITIONS = STEP_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="steps")
    name = models.CharField(max_length=40)
    position = models.PositiveSmallIntegerField()
    status = models.CharField(
        max_length=16, choices=StepStatus.choices, default=StepStatus.PENDING, editable=False
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    intent = models.JSONField(
        default=dict, blank=True, help_text="What the step was about to make, written before."
    )
    result = models.JSONField(default=dict, blank=True, help_text="What it made.")
    detail = models.CharField(max_length=500, blank=True, help_text="For people.")
    error = models.CharField(max_length=2000, blank=True, help_text="For people: what to do.")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        # By column: through the relation, a lock on a step would lock its deployment as well.
        ordering = ["deployment_id", "position"]
        indexes = [models.Index(fields=["-finished_at"])]
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "name"], name="provisioning_step_name_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.deployment}: {self.name}"

    @property
    def organization_id(self) -> uuid.UUID:
        """The organisation of the deployment."""
        return self.deployment.organization_id

    @property
    def progress_stream(self) -> tuple[str, uuid.UUID]:
        """Steps are announced in their deployment's sequence."""
        return ("deployment", self.deployment_id)

    @property
    def progress_label(self) -> dict[str, str]:
        """Which step an announcement is about."""
        return {"step": self.name}
