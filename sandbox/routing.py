"""WebSocket routes of the sandbox."""

from typing import Any

from django.urls import path

from sandbox.consumers import SandboxTestConsumer

websocket_urlpatterns: list[Any] = [
    path("ws/factory/sandbox/<uuid:subject_id>", SandboxTestConsumer.as_asgi()),
]
