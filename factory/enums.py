"""The states of a blueprint."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from django.db import models


class BlueprintStatus(models.TextChoices):
    """Where a blueprint is."""

    DRAFT = "draft", "Draft"
    VALIDATING = "validating", "Validating"
    VALIDATION_FAILED = "validation_failed", "Validation failed"
    READY = "ready", "Ready"
    DEPLOYED = "deployed", "Deployed"
    ARCHIVED = "archived", "Archived"


BLUEPRINT_TRANSITIONS: Final[Mapping[str, AbstractSet[str]]] = {
    BlueprintStatus.DRAFT: {BlueprintStatus.VALIDATING, BlueprintStatus.ARCHIVED},
    BlueprintStatus.VALIDATING: {
        BlueprintStatus.READY,
        BlueprintStatus.VALIDATION_FAILED,
        BlueprintStatus.DRAFT,
    },
    BlueprintStatus.VALIDATION_FAILED: {BlueprintStatus.DRAFT, BlueprintStatus.ARCHIVED},
    BlueprintStatus.READY: {
        BlueprintStatus.DEPLOYED,
        BlueprintStatus.DRAFT,
        BlueprintStatus.ARCHIVED,
    },
    BlueprintStatus.DEPLOYED: {BlueprintStatus.DRAFT, BlueprintStatus.ARCHIVED},
    BlueprintStatus.ARCHIVED: set(),
}
