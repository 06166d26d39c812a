"""Routes under ``/api/agents``."""

from django.urls import path

from factory.api.agent_actions import AgentActions
from factory.api.agent_views import AgentDetailView, AgentListView

_ACTIONS = ("deploy", "undeploy", "retry", "cancel", "activate", "pause", "resume", "deprecate")

urlpatterns = [
    path("agents", AgentListView.as_view(), name="api-agents"),
    path("agents/<str:agent_id>", AgentDetailView.as_view(), name="api-agent"),
    *(
        path(
            f"agents/<str:agent_id>/{action}",
            AgentActions.as_view({"post": action}),
            name=f"api-agent-{action}",
        )
        for action in _ACTIONS
    ),
]
