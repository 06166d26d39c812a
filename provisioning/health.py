"""Asking a running agent how it is."""

import json
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httpcore

from provisioning.agent_client import NOBODY_THERE
from provisioning.deadlines import DeadlineBackend
from registry.enums import Health

CHECK_SECONDS: Final = 3.0
"""At most this long takes one check, whatever is at the address."""
_MAX_BODY_BYTES: Final = 65_536


@dataclass(frozen=True)
class Checkup:
    """What an agent said about itself, or that it said nothing."""

    health: Health
    detail: dict[str, Any] = field(default_factory=dict)
    """As kept with the agent: ``message``, and ``dependencies`` (name, status, detail)."""

    @property
    def ready(self) -> bool:
        """Whether it can be called."""
        return self.health in (Health.HEALTHY, Health.DEGRADED) and not self.detail.get("not_ready")

    @property
    def down(self) -> list[str]:
        """What it misses, in words."""
        return [
            f"{item['name']}: {item['detail'] or 'down'}"
            for item in self.detail.get("dependencies", [])
            if item["status"] == "down"
        ]


def check(address: str) -> Checkup:
    """Ask ``GET /ready`` at ``address`` (``http://host:port``); never raises."""
    try:
        status, body = _ask(address, CHECK_SECONDS)
    except httpcore.ConnectError:
        return _unreachable(NOBODY_THERE)
    except httpcore.TimeoutException:
        return _unreachable("The agent does not answer in time: it may be busy or stuck.")
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol):
        return _unreachable("The agent does not answer: the connection broke off.")
    except (ValueError, OSError):
        return _unreachable("The agent does not answer: its address can't be used.")
    if len(body) > _MAX_BODY_BYTES:
        return _unreachable("The agent's health report is too long.")
    return _read(status, body)


def is_ready(address: str, *, seconds: float) -> bool:
    """Return whether the agent at ``address`` says so within ``seconds``; never raises."""
    try:
        status, _ = _ask(address, seconds)
    except (
        httpcore.NetworkError,
        httpcore.TimeoutException,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        ValueError,
        OSError,
    ):
        return False
    return status == HTTPStatus.OK


def _ask(address: str, seconds: float) -> tuple[int, bytes]:
    """Return status and body; of a body that is too long, what was read till that was known."""
    deadline = time.monotonic() + seconds
    # Without credentials: calls are made by ``AgentClient``.
    with (
        httpcore.ConnectionPool(network_backend=DeadlineBackend(lambda: deadline)) as pool,
        pool.stream("GET", f"{address}/ready") as answer,
    ):
        body = b""
        for part in answer.iter_stream():
            body += part
            if len(body) > _MAX_BODY_BYTES:
                break
    return answer.status, body


def _read(status: int, body: bytes) -> Checkup:
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        report = None
    told = status in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)
    if not told or not isinstance(report, dict):
        return _unreachable(f"Something else than the agent answers (status {status}).")
    entries = report.get("dependencies")
    dependencies = [
        {
            "name": _text(item.get("name", ""), 64),
            "status": _text(item.get("status", ""), 32),
            "detail": _text(item.get("detail") or "", 300),
        }
        for item in (entries if isinstance(entries, list) else [])[:20]
        if isinstance(item, dict)
    ]
    detail: dict[str, Any] = {
        "message": "",
        "version": _text(report.get("version", ""), 32),
        "dependencies": dependencies,
    }
    if status != HTTPStatus.OK:
        return Checkup(
            Health.DEGRADED,
            detail | {"not_ready": True, "message": "The agent runs but is not ready."},
        )
    if any(item["status"] == "down" for item in dependencies):
        return Checkup(
            Health.DEGRADED, detail | {"message": "Something that the agent can use is down."}
        )
    return Checkup(Health.HEALTHY, detail)


def _text(value: object, longest: int) -> str:
    """Return a text that the database takes: without NULs and halves of surrogate pairs."""
    text = str(value)[:longest].replace("\0", "")
    return text.encode(errors="replace").decode()


def _unreachable(message: str) -> Checkup:
    return Checkup(Health.UNREACHABLE, {"message": message, "dependencies": []})
