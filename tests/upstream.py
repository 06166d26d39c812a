"""A small real HTTP server whose answers a test decides."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from provisioning.agent_identity import proof_of


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int]
    """Where the connection came from: the same for requests that shared one."""

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass
class Answer:
    """What the server says next."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay_seconds: float = 0
    drip_seconds: float = 0
    """Pause between single bytes of the body."""
    breaks_off: bool = False
    """Close the connection without an answer."""

    @classmethod
    def of(cls, value: Any, status: int = 200, **more: Any) -> Self:
        """Make an answer of a JSON value."""
        return cls(status=status, body=json.dumps(value).encode(), **more)


class Upstream:
    """Answers every request with `answer` and keeps what it received.

    With a `token` it proves itself as the agent that holds it; `proof` is answered instead if set.
    """

    def __init__(self) -> None:
        self.answer = Answer()
        self.token: str | None = None
        self.proof: Answer | None = None
        self.received: list[Received] = []
        self.challenges: list[Received] = []
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                received = Received(
                    self.command,
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                    self.client_address,
                )
                if self.path == "/identity" and (upstream.token or upstream.proof):
                    upstream.challenges.append(received)
                    answer = upstream.proof or upstream._proof(received)
                else:
                    upstream.received.append(received)
                    answer = upstream.answer
                time.sleep(answer.delay_seconds)
                if answer.breaks_off:
                    self.close_connection = True
                    return
                try:
                    self._answer(answer)
                except OSError:
                    # The client had enough.
                    self.close_connection = True

            def _answer(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if answer.drip_seconds:
                    for byte in answer.body:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(answer.drip_seconds)
                else:
                    self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def _proof(self, received: Received) -> Answer:
        said = proof_of(self.token or "", received.headers["x-agent-challenge"])
        return Answer.of({"proof": said})

    @property
    def url(self) -> str:
        """Where it answers, without a trailing slash."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Answer no more; connections to it are refused from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
