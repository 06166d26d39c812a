"""The one ASGI application: pages and API, live progress, and the agents' way out.

Agents reach the platform on a port of their own (``EGRESS_PORT``), which serves nothing but
``/egress``; people reach everything else on the other.
"""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
django_application = get_asgi_application()

# Imported once Django is set up: they use models.
from accounts.live import SignedIn  # noqa: E402 - as said above
from config.ports import SplitByPort  # noqa: E402 - as said above
from config.routing import websocket_urlpatterns  # noqa: E402 - as said above
from gateway.egress.asgi import application as egress_application  # noqa: E402 - as said above

application = SplitByPort(
    people=ProtocolTypeRouter(
        {
            "http": django_application,
            "websocket": SignedIn(URLRouter(websocket_urlpatterns)),
        }
    ),
    agents=egress_application,
)
