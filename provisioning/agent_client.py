"""Call a capability of a running agent: timed, bounded, and read with care.

An agent's answer is data from a program that an operator configured: its size, its time and its
numbers are checked before anything is made of it.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpcore

from provisioning.agent_identity import NotTheAgent, Peer, ProvingBackend, current_peer
from registry.json_bounds import check_json_bounds

MAX_ANSWER_BYTES: Final = 2_097_152
NOBODY_THERE: Final = "The agent does not answer: it is starting, or it has stopped."
CONNECT_SECONDS: Final = 3.0
# Below the time after which an agent closes an idle connection, so that none is used too late.
_KEEP_ALIVE_SECONDS: Final = 30.0


class AgentCallError(Exception):
    """The call gave no usable answer. The text is for people and holds no credentials."""


class AgentUnreachable(AgentCallError):
    """Nothing answers at the agent's address, or not the agent, or the connection broke."""


class AgentTooSlow(AgentCallError):
    """The answer was not complete in time."""


class AgentAnswerUnusable(AgentCallError):
    """The answer is too large or not what an agent may say."""


@dataclass(frozen=True, kw_only=True)
class AgentAnswer:
    """What the agent said: an output, or a problem (RFC 9457)."""

    status: int
    body: dict[str, Any]
    duration_ms: float
    """Around the whole call."""
    retry_after: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an output."""
        return self.status == HTTPStatus.OK

    @property
    def output(self) -> dict[str, Any]:
        """The capability's output. Only for an answer that is ``ok``."""
        output: dict[str, Any] = self.body["output"]
        return output


class AgentClient:
    """Keeps connections to agents: plain HTTP on the platform's own networks, no proxies.

    A connection is used once the agent proved who it is (``agent_identity``), and only for it. May
    be shared by threads, not by processes.
    """

    def __init__(self, *, connections: int = 100) -> None:
        self.pool: Final = httpcore.ConnectionPool(
            network_backend=ProvingBackend(),
            retries=1,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEP_ALIVE_SECONDS,
        )

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def call_capability(
    client: AgentClient,
    *,
    address: str,
    token: str,
    capability: str,
    payload: Mapping[str, Any],
    request_id: str,
    timeout_seconds: float,
) -> AgentAnswer:
    """Call ``POST {address}/invoke/{capability}`` and return what the agent answered.

    Raises:
        AgentUnreachable: nobody is there, or somebody else, who is sent nothing.
        AgentTooSlow: not answered within ``timeout_seconds``.
        AgentAnswerUnusable: over ``MAX_ANSWER_BYTES``, or not an agent's JSON.

    """
    started = time.perf_counter()
    peer = Peer(address, token, time.monotonic() + timeout_seconds)
    limits = {
        "connect": min(CONNECT_SECONDS, timeout_seconds),
        "read": timeout_seconds,
        "write": timeout_seconds,
        "pool": timeout_seconds,
    }
    content = json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
    called = current_peer.set(peer)
    try:
        with client.pool.stream(
            "POST",
            f"http://{peer.label}/invoke/{quote(capability, safe='')}",
            content=content,
            headers={
                "Host": urlsplit(address).netloc,
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
                "X-Request-ID": request_id,
            },
            extensions={"timeout": limits},
        ) as response:
            raw = _read(response)
    except (httpcore.ConnectTimeout, httpcore.PoolTimeout):
        raise AgentUnreachable("The agent does not take connections.") from None
    except httpcore.TimeoutException:
        raise _too_slow(timeout_seconds) from None
    except NotTheAgent as error:
        raise AgentUnreachable(str(error)) from None
    except httpcore.ConnectError:
        raise AgentUnreachable(NOBODY_THERE) from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise AgentUnreachable("The connection to the agent broke off.") from None
    finally:
        current_peer.reset(called)
    duration_ms = (time.perf_counter() - started) * 1000
    headers = {name.lower(): value for name, value in response.headers}
    return AgentAnswer(
        status=response.status,
        body=_parse(raw, response.status),
        duration_ms=round(duration_ms, 2),
        retry_after=headers.get(b"retry-after", b"").decode("latin-1") or None,
    )


def _read(response: httpcore.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_stream():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise AgentAnswerUnusable(f"The agent's answer is over {MAX_ANSWER_BYTES} bytes.")
        parts.append(part)
    return b"".join(parts)


def _too_slow(timeout_seconds: float) -> AgentTooSlow:
    return AgentTooSlow(f"The agent did not answer within {timeout_seconds:g} s.")


def _parse(raw: bytes, status: int) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise AgentAnswerUnusable("The agent's answer is not JSON.") from None
    try:
        # Finite numbers and storable texts only, too.
        check_json_bounds(body)
    except ValueError as error:
        raise AgentAnswerUnusable(f"The agent's answer can't be used: {error}") from None
    if not isinstance(body, dict):
        raise AgentAnswerUnusable("The agent's answer is not a JSON object.")
    if status == HTTPStatus.OK and not isinstance(body.get("output"), dict):
        raise AgentAnswerUnusable("The agent's answer has no output.")
    return body
