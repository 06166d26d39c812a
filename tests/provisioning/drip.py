"""A server that proves itself as an agent does, and answers byte by byte."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from provisioning.agent_identity import proof_of

PIECES = 80
PAUSE_SECONDS = 0.05
"""After this every byte: never long enough for a limit on single reads, four seconds in all."""
LIMIT_SECONDS = 0.8
"""What the tests give the whole answer."""
KNOWN = "known-to-both"


class DrippingAgent:
    """Gives every answer whole in the end; its `slow` part (headers or body) comes in drops.

    With `slow_path`, only that of this path.
    """

    def __init__(
        self, slow: str, body: bytes, *, slow_path: str | None = None, token: str = KNOWN
    ) -> None:
        stopped = self._stopped = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def drip(self, drop: bytes) -> None:
                for _ in range(PIECES):
                    self.wfile.write(drop)
                    if stopped.wait(PAUSE_SECONDS):
                        return

            def answer(self) -> None:
                dripping = slow_path in (None, self.path)
                said = body
                if self.path == "/identity":
                    challenge = self.headers["X-Agent-Challenge"]
                    said = f'{{"proof": "{proof_of(token, challenge)}"}}'.encode()
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with contextlib.suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Pad: ")
                    if dripping and slow == "headers":
                        self.drip(b"x")
                    padding = PIECES if dripping and slow == "body" else 0
                    size = len(said) + padding
                    self.wfile.write(b"\r\nContent-Length: %d\r\n\r\n" % size)
                    if padding:
                        self.drip(b"\n")
                    self.wfile.write(said)

            do_GET = do_POST = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
