"""All WebSocket routes."""

from channels.routing import URLRouter

import provisioning.routing
import sandbox.routing

websocket_urlpatterns: list[URLRouter] = [
    *provisioning.routing.websocket_urlpatterns,
    *sandbox.routing.websocket_urlpatterns,
]
