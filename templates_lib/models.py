"""Templates and their immutable versions."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Cast

from templates_lib.enums import VERSION_TRANSITIONS, Category, Complexity, VersionStatus


class AgentTemplate(models.Model):
    """A starting point for agents. What it consists of stands in its versions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=63, unique=True, help_text="As in memory-agent.")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=300)
    category = models.CharField(max_length=16, choices=Category.choices)
    complexity = models.CharField(max_length=8, choices=Complexity.choices)
    icon = models.CharField(max_length=40, help_text="Name of a Material Symbol.")
    position = models.PositiveSmallIntegerField(default=100, help_text="Order in the library.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["position", "name"]
        verbose_name = "template"

    def __str__(self) -> str:
        return self.name


class TemplateVersionQuerySet(models.QuerySet["TemplateVersion"]):
    """Reusable reads."""

    def published(self) -> "TemplateVersionQuerySet":
        """Versions that agents can be made from."""
        return self.filter(status=VersionStatus.PUBLISHED)

    def newest_first(self) -> "TemplateVersionQuerySet":
        """Versions by their numbers, 1.10.0 before 1.9.0."""
        numbers = Cast(
            models.Func(models.F("version"), models.Value("."), function="string_to_array"),
            ArrayField(models.IntegerField()),
        )
        return self.order_by(numbers.desc())

    def newest_published(self) -> "TemplateVersionQuerySet":
        """Keep the newest published version of each template, in the order of the library."""
        newest = (
            TemplateVersion.objects.filter(template=models.OuterRef("template"))
            .published()
            .newest_first()
            .values("pk")[:1]
        )
        return (
            self.filter(pk=models.Subquery(newest))
            .select_related("template")
            .order_by("template__position", "template__name", "template__slug")
        )


class TemplateVersion(models.Model):
    """One version of a template: a definition and a code skeleton.

    Once published it never changes, so an agent's release can always be explained.
    """

    TRANSITIONS = VERSION_TRANSITIONS
    # Templates are the platform's, not an organisation's.
    organization_id = None

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    template = models.ForeignKey(AgentTemplate, on_delete=models.PROTECT, related_name="versions")
    version = models.CharField(max_length=32, help_text="As in 1.0.0.")
    status = models.CharField(
        max_length=16, choices=VersionStatus.choices, default=VersionStatus.DRAFT, editable=False
    )
    definition = models.JSONField(
        help_text="Metadata, defaults, configuration schema and scenarios."
    )
    files = models.JSONField(default=dict, help_text="Path → text of the code skeleton.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of definition and skeleton.")
    changelog = models.TextField(blank=True, max_length=5000)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)

    objects = TemplateVersionQuerySet.as_manager()

    class Meta:
        ordering = ["template", "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["template", "version"], name="templates_lib_version_unique"
            ),
            # The newest version is found by its numbers.
            models.CheckConstraint(
                condition=models.Q(version__regex=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$"),
                name="templates_lib_version_numbers",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.template} {self.version}"
