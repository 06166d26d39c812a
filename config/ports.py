"""Which application answers on which port."""

from typing import Any

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from django.conf import settings


class SplitByPort:
    """Sends what comes in on the egress port to the agents' application, all else to people's."""

    def __init__(self, people: Any, agents: Any) -> None:
        self.people = people
        self.agents = agents

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
            return
        server = scope.get("server")
        application = self.agents if server and server[1] == settings.EGRESS_PORT else self.people
        await application(scope, receive, send)


async def _serve_lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
