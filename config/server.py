"""The web server: people on HOST:PORT, agents on EGRESS_PORT, one application for both.

`python -m config.server` reads HOST (127.0.0.1), PORT (8000), EGRESS_PORT (8001) and EGRESS_HOSTS:
the addresses, separated by commas, where agents reach the platform (127.0.0.1, and with Docker the
gateways of the agents' networks).
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import uvicorn

from config.embedded_process import StartupError

# Open streams get this long, in seconds, when the server stops.
_GRACE_SECONDS = 5
_BACKLOG = 2048


def listen(host: str, port: int) -> list[socket.socket]:
    """Open `port` at every address that `host` stands for.

    Raises StartupError when one of them cannot be had.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sockets.append(server := socket.socket(family, kind, protocol))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind(address)
            server.listen(_BACKLOG)
            server.setblocking(False)
    except (OSError, OverflowError) as error:
        for server in sockets:
            server.close()
        raise StartupError(f"Port {port} at {host} cannot be opened: {error}.") from error
    return sockets


def listen_everywhere(environment: Mapping[str, str]) -> list[socket.socket]:
    """Open the ports that `environment` names, for people and for agents."""
    sockets = listen(environment.get("HOST") or "127.0.0.1", int(environment.get("PORT") or 8000))
    egress_port = int(environment.get("EGRESS_PORT") or 8001)
    hosts = environment.get("EGRESS_HOSTS") or "127.0.0.1"
    for host in dict.fromkeys(part.strip() for part in hosts.split(",") if part.strip()):
        sockets += listen(host, egress_port)
    return sockets


def serve(sockets: Sequence[socket.socket]) -> None:
    """Serve until SIGTERM or SIGINT; open streams get some seconds to finish."""
    config = uvicorn.Config(
        "config.asgi:application",
        log_config=None,
        ws="websockets-sansio",
        access_log=False,
        server_header=False,
        # Who is believed about forwarded addresses is said in one place: TRUSTED_PROXIES.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    # The server passes a signal on once it has stopped; being stopped is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    uvicorn.Server(config).run(sockets=list(sockets))


def main() -> int:
    """Serve what the environment says; return the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.production")
    try:
        sockets = listen_everywhere(os.environ)
    except (StartupError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with suppress(KeyboardInterrupt):
        serve(sockets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
