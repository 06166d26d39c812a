"""Letting go of old tests, but not of what the deploy gate still goes by."""

from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from ledger.retention import delete_events_of, delete_in_batches
from registry.models import Release
from sandbox.enums import ACTIVE, Verdict
from sandbox.models import SandboxTest, ScenarioResult


def delete_old_tests() -> int:
    """Delete tests that ended ``KEEP_SANDBOX_TESTS_DAYS`` ago, with results, logs and progress.

    What was tested for a release of a present agent keeps each scenario's newest result, so that it
    can be deployed again without a new test. Returns how many tests were deleted.
    """
    limit = timezone.now() - timedelta(days=settings.KEEP_SANDBOX_TESTS_DAYS)
    verdicts = ScenarioResult.objects.exclude(status=Verdict.SKIPPED)
    newer = verdicts.filter(
        test__organization=OuterRef("test__organization"),
        test__digest=OuterRef("test__digest"),
        test__created_at__gt=OuterRef("test__created_at"),
        name=OuterRef("name"),
    )
    newest = verdicts.filter(~Exists(newer), test=OuterRef("pk"))
    released = Release.objects.filter(
        agent__organization=OuterRef("organization"),
        agent__deleted_at=None,
        digest=OuterRef("digest"),
    )
    old = (
        SandboxTest.objects.filter(completed_at__lt=limit, torn_down_at__isnull=False)
        .exclude(status__in=ACTIVE)
        .exclude(Exists(released) & Exists(newest))
    )
    ids = list(old.values_list("pk", flat=True))
    deleted = delete_in_batches(old.filter(pk__in=ids), batch=50)
    delete_events_of("sandboxtest", ids)
    return deleted
