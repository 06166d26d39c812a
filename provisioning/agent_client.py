"""Call a capability of a running agent: timed, bounded, and read with care.

An agent's answer is data from a program that an operator configured: its size, its time and its
numbers are checked before anything is made of it.
"""

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from registry.json_bounds import check_json_bounds

MAX_ANSWER_BYTES: Final = 2_097_152
CONNECT_SECONDS: Final = 3.0
# Below the time after which an agent closes an idle connection, so that none is used too late.
_KEEP_ALIVE_SECONDS: Final = 30.0


class AgentCallError(Exception):
    """The call gave no usable answer. The text is for people and holds no credentials."""


class AgentUnreachable(AgentCallError):
    """Nothing answers at the agent's address, or the connection broke."""


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
        return self.status == httpx.codes.OK

    @property
    def output(self) -> dict[str, Any]:
        """The capability's output. Only for an answer that is ``ok``."""
        output: dict[str, Any] = self.body["output"]
        return output


def new_client(*, connections: int = 100) -> httpx.Client:
    """Return a client for agents: plain HTTP on the platform's own networks, no proxies."""
    return httpx.Client(
        transport=httpx.HTTPTransport(
            # Agents speak plain HTTP; loading the authorities' certificates would cost 20 ms.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            retries=1,
            limits=httpx.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=_KEEP_ALIVE_SECONDS,
            ),
        ),
        follow_redirects=False,
        trust_env=False,
    )


def call_capability(
    client: httpx.Client,
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
        AgentUnreachable: nobody is there.
        AgentTooSlow: not answered within ``timeout_seconds``.
        AgentAnswerUnusable: over ``MAX_ANSWER_BYTES``, or not an agent's JSON.

    """
    started = time.perf_counter()
    deadline = started + timeout_seconds
    timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
    try:
        with client.stream(
            "POST",
            f"{address}/invoke/{quote(capability, safe='')}",
            content=json.dumps(payload, allow_nan=False, separators=(",", ":")).encode(),
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "X-Request-ID": request_id,
            },
            timeout=timeout,
        ) as response:
            raw = _read(response, deadline, timeout_seconds)
    except (httpx.ConnectTimeout, httpx.PoolTimeout):
        raise AgentUnreachable("The agent does not take connections.") from None
    except httpx.TimeoutException:
        raise _too_slow(timeout_seconds) from None
    except httpx.HTTPError as error:
        raise AgentUnreachable(
            f"The connection to the agent failed ({type(error).__name__})."
        ) from None
    duration_ms = (time.perf_counter() - started) * 1000
    return AgentAnswer(
        status=response.status_code,
        body=_parse(raw, response.status_code),
        duration_ms=round(duration_ms, 2),
        retry_after=response.headers.get("Retry-After"),
    )


def _read(response: httpx.Response, deadline: float, timeout_seconds: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise AgentAnswerUnusable(f"The agent's answer is over {MAX_ANSWER_BYTES} bytes.")
        if time.perf_counter() > deadline:
            raise _too_slow(timeout_seconds)
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
    if status == httpx.codes.OK and not isinstance(body.get("output"), dict):
        raise AgentAnswerUnusable("The agent's answer has no output.")
    return body
