"""WebSocket routes of the room."""

from django.urls import path

from provisioning.consumers import DeploymentConsumer

websocket_urlpatterns = [
    path("ws/factory/deployment/<uuid:subject_id>", DeploymentConsumer.as_asgi()),
]
