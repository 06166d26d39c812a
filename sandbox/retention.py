"""Letting go of old tests, but not of what the deploy gate still goes by."""

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from ledger.retention import delete_in_batches
from registry.models import Release
from sandbox.enums import ACTIVE, Verdict
from sandbox.models import SandboxTest, ScenarioResult

_BATCH: Final = 50


def delete_old_tests() -> int:
    """Delete tests that ended ``KEEP_SANDBOX_TESTS_DAYS`` ago, with results, logs and progress.

    What the deploy gate goes by stays while there is a release of a present agent that it could let
    through again, or a younger test of the same: each scenario's newest verdict, or that it never
    got one. So the gate neither closes nor opens because something grew old. Returns how many tests
    were deleted.
    """
    limit = timezone.now() - timedelta(days=settings.KEEP_SANDBOX_TESTS_DAYS)
    same = ScenarioResult.objects.filter(
        test__organization=OuterRef("test__organization"),
        test__digest=OuterRef("test__digest"),
        name=OuterRef("name"),
    )
    verdicts = same.exclude(status=Verdict.SKIPPED)
    later = Q(test__created_at__gt=OuterRef("test__created_at"))
    gone_by = ScenarioResult.objects.filter(
        ~Q(status=Verdict.SKIPPED) | ~Exists(verdicts) & ~Exists(same.filter(later)),
        ~Exists(verdicts.filter(later)),
        test=OuterRef("pk"),
    )
    released = Release.objects.filter(
        agent__organization=OuterRef("organization"),
        agent__deleted_at=None,
        digest=OuterRef("digest"),
    )
    younger = SandboxTest.objects.filter(
        Q(completed_at__gte=limit) | Q(status__in=ACTIVE),
        organization=OuterRef("organization"),
        digest=OuterRef("digest"),
    )
    old = (
        SandboxTest.objects.filter(completed_at__lt=limit, torn_down_at__isnull=False)
        .exclude(status__in=ACTIVE)
        .exclude((Exists(released) | Exists(younger)) & Exists(gone_by))
    )
    return delete_in_batches(old, batch=_BATCH, events_of="sandboxtest")
