"""Asking a running agent how it is."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from provisioning.agent_client import NOBODY_THERE
from registry.enums import Health

_TIMEOUT: Final = httpx.Timeout(3.0)
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


def new_client() -> httpx.Client:
    """Return a client for questions that carry no credentials; calls are ``AgentClient``'s."""
    return httpx.Client(
        # Agents speak plain HTTP; loading the authorities' certificates would cost 20 ms.
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        follow_redirects=False,
        trust_env=False,
    )


def check(address: str) -> Checkup:
    """Ask ``GET /ready`` at ``address`` (``http://host:port``); never raises."""
    try:
        with (
            new_client() as client,
            client.stream("GET", f"{address}/ready", timeout=_TIMEOUT) as answer,
        ):
            body = b""
            for part in answer.iter_bytes():
                body += part
                if len(body) > _MAX_BODY_BYTES:
                    return _unreachable("The agent's health report is too long.")
            return _read(answer.status_code, httpx.Response(200, content=body))
    except httpx.ConnectError:
        return _unreachable(NOBODY_THERE)
    except httpx.TimeoutException:
        return _unreachable("The agent does not answer in time: it may be busy or stuck.")
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return _unreachable("The agent does not answer: the connection broke off.")


def _read(status: int, answer: httpx.Response) -> Checkup:
    try:
        report = answer.json()
    except ValueError:
        report = None
    if status not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE) or not isinstance(
        report, dict
    ):
        return _unreachable(f"Something else than the agent answers (status {status}).")
    entries = report.get("dependencies")
    dependencies = [
        {
            "name": str(item.get("name", ""))[:64],
            "status": str(item.get("status", ""))[:32],
            "detail": str(item.get("detail") or "")[:300],
        }
        for item in (entries if isinstance(entries, list) else [])[:20]
        if isinstance(item, dict)
    ]
    detail: dict[str, Any] = {
        "message": "",
        "version": str(report.get("version", ""))[:32],
        "dependencies": dependencies,
    }
    if status != httpx.codes.OK:
        return Checkup(
            Health.DEGRADED,
            detail | {"not_ready": True, "message": "The agent runs but is not ready."},
        )
    if any(item["status"] == "down" for item in dependencies):
        return Checkup(
            Health.DEGRADED, detail | {"message": "Something that the agent can use is down."}
        )
    return Checkup(Health.HEALTHY, detail)


def _unreachable(message: str) -> Checkup:
    return Checkup(Health.UNREACHABLE, {"message": message, "dependencies": []})
