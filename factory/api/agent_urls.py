"""Routes under ``/api/agents``."""

from django.urls import path

from factory.api import agent_views as views

urlpatterns = [
    path("agents", views.AgentListView.as_view(), name="api-agents"),
    path("agents/<str:agent_id>", views.AgentDetailView.as_view(), name="api-agent"),
    path("agents/<str:agent_id>/deploy", views.DeployView.as_view(), name="api-agent-deploy"),
    path("agents/<str:agent_id>/undeploy", views.UndeployView.as_view(), name="api-agent-undeploy"),
    path("agents/<str:agent_id>/retry", views.RetryView.as_view(), name="api-agent-retry"),
    path("agents/<str:agent_id>/cancel", views.CancelView.as_view(), name="api-agent-cancel"),
    path("agents/<str:agent_id>/activate", views.ActivateView.as_view(), name="api-agent-activate"),
    path("agents/<str:agent_id>/pause", views.PauseView.as_view(), name="api-agent-pause"),
    path("agents/<str:agent_id>/resume", views.ResumeView.as_view(), name="api-agent-resume"),
    path(
        "agents/<str:agent_id>/deprecate", views.DeprecateView.as_view(), name="api-agent-deprecate"
    ),
]
