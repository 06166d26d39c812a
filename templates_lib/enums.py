"""Kinds of templates and the states of their versions."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from django.db import models


class Category(models.TextChoices):
    """What a template is for."""

    MEMORY = "memory", "Memory"
    ORCHESTRATION = "orchestration", "Orchestration"
    API = "api", "API"
    DATA = "data", "Data"
    MONITORING = "monitoring", "Monitoring"
    CUSTOM = "custom", "Custom"


class Complexity(models.TextChoices):
    """How much there is to understand and configure."""

    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"


class VersionStatus(models.TextChoices):
    """Where a template version is in its life. Only published ones can be used."""

    DRAFT = "draft", "Draft"
    PUBLISHED = "published", "Published"
    DEPRECATED = "deprecated", "Deprecated"


VERSION_TRANSITIONS: Final[Mapping[str, AbstractSet[str]]] = {
    VersionStatus.DRAFT: {VersionStatus.PUBLISHED},
    VersionStatus.PUBLISHED: {VersionStatus.DEPRECATED},
    VersionStatus.DEPRECATED: {VersionStatus.PUBLISHED},
}
