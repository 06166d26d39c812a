"""What an agent's report is read as, whoever wrote it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from provisioning.health import check
from registry.enums import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Return a function that serves one answer and returns the address."""
    servers: list[HTTPServer] = []

    def serve(status: int, body: bytes) -> str:
        class Agent(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Agent)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def report(*dependencies: object) -> bytes:
    return json.dumps({"version": "0.1.0", "dependencies": list(dependencies)}).encode()


UP = {"name": "redis", "status": "ok", "detail": "", "latency_ms": 1}
DOWN = {"name": "postgresql", "status": "down", "detail": "refused", "latency_ms": None}


def test_a_ready_agent(answering: Callable[[int, bytes], str]) -> None:
    checkup = check(answering(200, report(UP)))
    assert (checkup.health, checkup.ready, checkup.down) == (Health.HEALTHY, True, [])
    assert checkup.detail["dependencies"] == [{"name": "redis", "status": "ok", "detail": ""}]


def test_an_agent_that_misses_something_it_needs(answering: Callable[[int, bytes], str]) -> None:
    checkup = check(answering(503, report(UP, DOWN)))
    assert (checkup.health, checkup.ready) == (Health.DEGRADED, False)
    assert checkup.down == ["postgresql: refused"]


def test_an_agent_that_can_do_without(answering: Callable[[int, bytes], str]) -> None:
    checkup = check(answering(200, report(UP, DOWN | {"detail": ""})))
    assert (checkup.health, checkup.ready) == (Health.DEGRADED, True)
    assert checkup.down == ["postgresql: down"]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b"<html>", "Something else than the agent answers (status 200)"),
        (200, b"[]", "Something else"),
        (200, b"\xff\xfe", "Something else"),
        (404, b"{}", "Something else than the agent answers (status 404)"),
        (302, b"{}", "Something else"),
        (200, b"[" * 70_000, "too long"),
    ],
)
def test_what_is_no_report_is_not_believed(
    answering: Callable[[int, bytes], str], status: int, body: bytes, says: str
) -> None:
    checkup = check(answering(status, body))
    assert (checkup.health, checkup.ready) == (Health.UNREACHABLE, False)
    assert says in checkup.detail["message"]


def test_a_hostile_report_is_bounded(answering: Callable[[int, bytes], str]) -> None:
    long = {"name": "x" * 500, "status": "y" * 500, "detail": "z" * 500}
    dependencies = check(answering(200, report("text", *[long] * 40))).detail["dependencies"]
    assert len(dependencies) == 19
    assert {len(value) for item in dependencies for value in item.values()} == {64, 32, 300}
    assert check(answering(200, b'{"dependencies": 1}')).detail["dependencies"] == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[broken", "", "nonsense"])
def test_nobody_there(address: str) -> None:
    checkup = check(address)
    assert (checkup.health, checkup.ready) == (Health.UNREACHABLE, False)
    assert "does not answer" in checkup.detail["message"]
