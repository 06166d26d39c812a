"""Live progress of a deployment."""

from typing import Any
from uuid import UUID

from accounts.live import may_view
from ledger.consumers import ProgressConsumer
from provisioning.models import Deployment
from provisioning.progress import describe_deployment


class DeploymentConsumer(ProgressConsumer):
    """``ws/factory/deployment/<id>``: how the deployment stands, then each change.

    Events: ``status`` (of the deployment, or with ``step`` of one step), ``undoing``,
    ``undo_failed`` and ``retrying``.
    """

    subject_type = "deployment"

    def authorise(self, subject_id: UUID) -> bool:
        """Whether the person is in the deployment's organisation, in a role that may look."""
        return may_view(self.scope, deployments=subject_id)

    def snapshot(self, subject_id: UUID) -> dict[str, Any]:
        """Return what ``GET …/provisioning`` answers."""
        deployment = Deployment.objects.select_related("agent", "release").get(pk=subject_id)
        return describe_deployment(deployment)
