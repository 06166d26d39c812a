"""Agents, releases, tools and secrets."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from accounts.models import Organization
from registry.enums import AGENT_TRANSITIONS, AgentStatus, Health, ToolKind
from registry.spec import AgentSpec


class AgentQuerySet(models.QuerySet["Agent"]):
    """Reusable reads."""

    def present(self) -> "AgentQuerySet":
        """Agents that were not deleted; their ids are taken."""
        return self.filter(deleted_at=None)

    def of(self, organization: Organization) -> "AgentQuerySet":
        """Agents of one organisation that were not deleted."""
        return self.present().filter(organization=organization)

    def counted_in_quota(self) -> "AgentQuerySet":
        """Agents that use up their tier's quota: a deprecated one does while it still runs."""
        return self.present().exclude(status=AgentStatus.DEPRECATED, registered_at=None)


class Agent(models.Model):
    """One agent of one organisation, from the moment that its name is taken."""

    TRANSITIONS = AGENT_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="agents", verbose_name="organisation"
    )
    agent_id = models.CharField(max_length=64, help_text="Unique in the organisation.")
    name = models.CharField(max_length=100)
    display_name = models.CharField(max_length=100)
    description = models.CharField(max_length=200, blank=True)
    tier = models.PositiveSmallIntegerField()
    tags = models.JSONField(default=list, blank=True)
    template_slug = models.CharField(max_length=63)
    template_version = models.CharField(max_length=32)
    status = models.CharField(
        max_length=16, choices=AgentStatus.choices, default=AgentStatus.DRAFT, editable=False
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="agents"
    )
    current_release = models.ForeignKey(
        "registry.Release",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The release that is running; none while nothing runs.",
    )
    endpoint = models.CharField(
        max_length=200, blank=True, help_text="Where the platform reaches the running agent."
    )
    registered_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when the agent can be found; empty before."
    )
    health = models.CharField(max_length=16, choices=Health.choices, default=Health.UNKNOWN)
    health_detail = models.JSONField(default=dict, blank=True)
    health_checked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = AgentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("agent_id"),
                condition=models.Q(deleted_at=None),
                name="registry_agent_id_unique",
            )
        ]
        indexes = [
            models.Index(fields=["organization", "status", "-created_at"]),
            models.Index(
                fields=["organization", "-created_at", "-id"],
                condition=models.Q(deleted_at=None),
                name="registry_agent_newest",
            ),
        ]

    def __str__(self) -> str:
        return self.agent_id

    @property
    def key(self) -> str:
        """Name of the agent's things outside the database; unique on the installation."""
        slug = "".join(c if c.isalnum() else "-" for c in self.agent_id.lower())
        return f"{slug[:40].strip('-')}-{self.id.hex[:8]}"


class AgentCredentials(models.Model):
    """What the agent itself signs in with: queue, memory, invocation and egress. Encrypted."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, related_name="credentials")
    ciphertext = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "agent credentials"

    def __str__(self) -> str:
        return f"credentials of {self.agent_id}"


class Release(models.Model):
    """One immutable version of an agent: a specification and the code made from it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    digest = models.CharField(max_length=64, help_text="SHA-256 of the specification.")
    files = models.JSONField(help_text="Path → text of the rendered project.")
    files_digest = models.CharField(max_length=64, help_text="SHA-256 of the rendered project.")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["agent", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["agent", "number"], name="registry_release_unique")
        ]

    def __str__(self) -> str:
        return f"{self.agent} release {self.number}"

    def agent_spec(self) -> AgentSpec:
        """Return the specification, typed."""
        return AgentSpec.model_validate(self.spec)


class Tool(models.Model):
    """A service that agents may use, as the operator chooses it from a list."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=300, blank=True)
    kind = models.CharField(max_length=16, choices=ToolKind.choices)
    parameters_schema = models.JSONField(
        default=dict, blank=True, help_text="JSON Schema of what the operator fills in."
    )
    accepts_secret = models.BooleanField(
        default=False, help_text="Asks for the name of a secret, sent as a bearer token."
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Secret(models.Model):
    """A credential of an organisation. It can be written and used, never read back."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="secrets",
        verbose_name="organisation",
    )
    name = models.CharField(max_length=100)
    ciphertext = models.BinaryField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    rotated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"], name="registry_secret_name_unique"
            )
        ]

    def __str__(self) -> str:
        return self.name
