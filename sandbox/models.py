"""Sandbox tests, their scenarios' results, and waivers of the deploy gate."""

import re
import uuid
from typing import Final

from django.conf import settings
from django.db import models

from accounts.models import Organization
from registry.spec import AgentSpec
from sandbox.enums import SANDBOX_TEST_TRANSITIONS, SandboxTestStatus, Verdict

_KEY: Final = re.compile(r"sbx-[0-9a-f]{12}")


def sandbox_key(test_id: uuid.UUID) -> str:
    """Return the name of the test's things outside the database, as in ``sbx-0a1b2c3d4e5f``.

    No agent has such a key: an agent's ends with a hyphen and eight digits.
    """
    return f"sbx-{test_id.hex[:12]}"


def is_sandbox_key(key: str) -> bool:
    """Whether what is called ``key`` was made for a test."""
    return _KEY.fullmatch(key) is not None


def instance_name(test_id: uuid.UUID) -> str:
    """Return the name of the test's throw-away copy in the runtime."""
    return f"af-{sandbox_key(test_id)}"


class SandboxTestQuerySet(models.QuerySet["SandboxTest"]):
    """Reusable reads."""

    def of(self, organization: Organization) -> "SandboxTestQuerySet":
        """Return the tests of one organisation."""
        return self.filter(organization=organization)


class SandboxTest(models.Model):
    """One run of scenarios against a throw-away copy of an agent."""

    TRANSITIONS = SANDBOX_TEST_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        related_name="sandbox_tests",
        verbose_name="organisation",
    )
    spec = models.JSONField()
    digest = models.CharField(max_length=64, help_text="Digest of the specification under test.")
    status = models.CharField(
        max_length=16,
        choices=SandboxTestStatus.choices,
        default=SandboxTestStatus.QUEUED,
        editable=False,
    )
    driver = models.CharField(max_length=16)
    container_id = models.CharField(max_length=128, blank=True)
    image_digest = models.CharField(
        max_length=24, blank=True, help_text="The tag of the image that it ran."
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    dispatched_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was last handed to the workers."
    )
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.CharField(max_length=2000, blank=True)
    ready_ms = models.FloatField(null=True, blank=True, help_text="Start until first answer.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    torn_down_at = models.DateTimeField(
        null=True, blank=True, help_text="When the throw-away copy was removed."
    )

    objects = SandboxTestQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["organization", "digest", "-created_at"])]

    def __str__(self) -> str:
        return f"test {self.id}"

    @property
    def key(self) -> str:
        """Name of the test's things outside the database."""
        return sandbox_key(self.id)

    def agent_spec(self) -> AgentSpec:
        """Return the specification under test, typed."""
        return AgentSpec.model_validate(self.spec)


class ScenarioResult(models.Model):
    """One scenario of a test: what was asked and expected, and what came."""

    test = models.ForeignKey(SandboxTest, on_delete=models.CASCADE, related_name="results")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=100)
    capability = models.CharField(max_length=64)
    setup = models.JSONField(default=list, help_text="Calls made first, not judged.")
    input = models.JSONField()
    expected_output = models.JSONField(null=True, help_text="None expects any valid output.")
    status = models.CharField(max_length=8, choices=Verdict.choices, default=Verdict.PENDING)
    output = models.JSONField(null=True)
    error = models.CharField(max_length=2000, blank=True)
    differences = models.JSONField(
        default=list, help_text="Readable: path, expected, actual, sentence."
    )
    duration_ms = models.FloatField(null=True, blank=True)
    memory_mb = models.FloatField(null=True, blank=True)
    logs = models.JSONField(default=list)

    class Meta:
        ordering = ["test", "position"]
        constraints = [
            models.UniqueConstraint(fields=["test", "position"], name="sandbox_result_unique")
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.status}"


class Waiver(models.Model):
    """Somebody's written reason to deploy a specification that has not passed its test."""

    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="+", verbose_name="organisation"
    )
    digest = models.CharField(max_length=64)
    reason = models.CharField(max_length=500)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["organization", "digest"])]

    def __str__(self) -> str:
        return f"test skipped: {self.reason}"
