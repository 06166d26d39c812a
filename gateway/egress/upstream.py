"""Send an agent's request to the service outside and read a bounded answer."""

import asyncio
import json
import time
from typing import Any, Final
from weakref import WeakKeyDictionary

import httpx
import structlog

from gateway.egress.outbound import Outbound
from ledger.errors import TooManyRequests, Unavailable, UpstreamFailed

log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES: Final = 4_194_304
_CONNECT_SECONDS: Final = 5.0
_HIDDEN: Final = b"[hidden]"
_MIN_SECRET: Final = 4

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()


async def send(outbound: Outbound) -> Any:
    """Send the request; return what the agent is told: the body, or status and body.

    Redirects are not followed: they could lead to an address that was not judged.

    Raises:
        UpstreamFailed: the service failed, is too slow or says too much.
        TooManyRequests: the model's service asks for patience.
        Unavailable: too many calls are under way.

    """
    started = time.perf_counter()
    status = 0
    try:
        async with asyncio.timeout(outbound.timeout_seconds):
            status, content = await _exchange(outbound)
    except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.ConnectTimeout):
        raise UpstreamFailed(
            "upstream_timeout",
            f"The service did not answer within {outbound.timeout_seconds:g} s. Try again later.",
        ) from None
    except httpx.PoolTimeout:
        raise Unavailable("busy", "Too many calls are under way. Try again soon.") from None
    except httpx.HTTPError:
        raise UpstreamFailed(
            "upstream_unreachable",
            f"The service {outbound.target.host} can't be reached. Check its address.",
        ) from None
    finally:
        log.info(
            "egress call",
            agent=outbound.agent,
            route=outbound.route,
            host=outbound.target.host,
            status=status,
            duration_ms=round((time.perf_counter() - started) * 1000, 1),
        )
    return _wrapped(status, content) if outbound.wraps else _model_answer(status, content)


async def _exchange(outbound: Outbound) -> tuple[int, bytes]:
    async with _client().stream(
        outbound.method,
        outbound.target.url,
        content=outbound.content,
        headers=[
            (b"Host", outbound.target.host_header.encode("ascii", "replace")),
            *((name.encode(), value.encode()) for name, value in outbound.headers.items()),
        ],
        # The judged address is connected to, under the service's own name.
        extensions={"sni_hostname": outbound.target.host},
    ) as response:
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise UpstreamFailed(
                    "upstream_too_large",
                    f"The service's answer is over {MAX_ANSWER_BYTES} bytes. Ask for less.",
                )
    secret = outbound.secret
    found = bytes(content)
    if secret is not None and len(secret) >= _MIN_SECRET:
        # A service that repeats what it was sent doesn't hand the secret to the agent.
        found = found.replace(secret.encode(), _HIDDEN)
    return response.status_code, found


def _wrapped(status: int, content: bytes) -> dict[str, Any]:
    # What a service says about a failure may speak of credentials; its status has to do.
    body = _read(content) if 200 <= status < 300 else None  # noqa: PLR2004 - success in HTTP
    return {"status": status, "body": body}


def _read(content: bytes) -> Any:
    if not content.strip():
        return {}
    try:
        return _json(content)
    except ValueError:
        return content.decode("utf-8", "replace")


def _model_answer(status: int, content: bytes) -> Any:
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise TooManyRequests("rate_limited", "The model's service asks for patience. Try later.")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise UpstreamFailed(
            "upstream_refused", "The model's service refuses the secret. Check its value."
        )
    if status != httpx.codes.OK:
        raise UpstreamFailed(
            "upstream_failed",
            f"The model's service answered {status}. Check its address and model.",
        )
    try:
        return _json(content)
    except ValueError:
        raise UpstreamFailed(
            "upstream_failed", "The model's service did not answer with JSON. Check its address."
        ) from None


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _client() -> httpx.AsyncClient:
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS, pool=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
            follow_redirects=False,
            trust_env=False,
        )
    return client


async def close() -> None:
    """Close this event loop's connections."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()
