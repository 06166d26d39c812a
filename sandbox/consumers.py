"""A test's live progress."""

from typing import Any
from uuid import UUID

from accounts.live import may_view
from ledger.consumers import ProgressConsumer
from sandbox.models import SandboxTest
from sandbox.services import describe_test


class SandboxTestConsumer(ProgressConsumer):
    """Follows one test: status changes, scenarios' results and log lines."""

    subject_type = "sandboxtest"

    def authorise(self, subject_id: UUID) -> bool:
        """Whether the person may look at tests in the organisation of this one."""
        return may_view(self.scope, sandbox_tests=subject_id)

    def snapshot(self, subject_id: UUID) -> dict[str, Any]:
        """Return the test with its results so far."""
        return describe_test(SandboxTest.objects.get(pk=subject_id))
