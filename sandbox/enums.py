"""The states of a sandbox test and the verdicts on a scenario."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from django.db import models


class SandboxTestStatus(models.TextChoices):
    """Where a test is."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    ERRORED = "errored", "Errored"
    CANCELLED = "cancelled", "Cancelled"


SANDBOX_TEST_TRANSITIONS: Final[Mapping[str, AbstractSet[str]]] = {
    SandboxTestStatus.QUEUED: {
        SandboxTestStatus.RUNNING,
        SandboxTestStatus.ERRORED,
        SandboxTestStatus.CANCELLED,
    },
    SandboxTestStatus.RUNNING: {
        SandboxTestStatus.PASSED,
        SandboxTestStatus.FAILED,
        SandboxTestStatus.ERRORED,
        SandboxTestStatus.CANCELLED,
    },
    SandboxTestStatus.PASSED: set(),
    SandboxTestStatus.FAILED: set(),
    SandboxTestStatus.ERRORED: set(),
    SandboxTestStatus.CANCELLED: set(),
}

ACTIVE: Final = frozenset({SandboxTestStatus.QUEUED, SandboxTestStatus.RUNNING})
"""Something is still to come."""


class Verdict(models.TextChoices):
    """What came of one scenario."""

    PENDING = "PENDING", "Waiting"
    RUNNING = "RUNNING", "Running"
    PASSED = "PASSED", "Passed"
    FAILED = "FAILED", "Failed"
    ERROR = "ERROR", "Error"
    SKIPPED = "SKIPPED", "Skipped"
