"""Routes under ``/api/platform/agent-factory/``."""

from django.urls import path

from provisioning.api.views import AgentDeploymentStatusView, ProvisioningView

urlpatterns = [
    path(
        "agents/<str:agent_id>/provisioning",
        ProvisioningView.as_view(),
        name="api-agent-provisioning",
    ),
    path(
        "agents/<str:agent_id>/status",
        AgentDeploymentStatusView.as_view(),
        name="api-agent-status",
    ),
]
