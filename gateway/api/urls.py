"""Routes under ``/api/agents``."""

from django.urls import path

from gateway.api.views import InvokeView

urlpatterns = [
    path(
        "agents/<str:agent_id>/invoke/<str:capability>", InvokeView.as_view(), name="agent-invoke"
    ),
]
