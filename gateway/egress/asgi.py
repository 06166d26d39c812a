"""The ASGI application that agents reach, on a port of its own."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import structlog
from channels.db import database_sync_to_async

from gateway.egress.outbound import prepare, sign_in
from gateway.egress.upstream import send as send_outbound
from ledger.errors import DomainError, InvalidInput, TooManyRequests
from ledger.problems import PROBLEM_TYPE, problem_of
from registry.json_bounds import check_json_bounds

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 1_048_576
MAX_CALLS: Final = 50
"""Of one agent at the same time; as many as it may have work in hand."""
BODY_SECONDS: Final = 20.0
"""In which an agent has to have sent its question."""

_JSON: Final = b"application/json"
_PROBLEM: Final = PROBLEM_TYPE.encode()
_under_way: Counter[UUID] = Counter()


class _BodyTooLarge(DomainError):
    status = 413


class _BodyTooSlow(DomainError):
    status = 408


class _WrongMethod(DomainError):
    status = 405


class _AgentLeft(Exception):
    """The agent went away before its body was complete."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve one call of an agent to the outside."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    if scope["type"] != "http":
        return
    body_read = False

    async def watched() -> Any:
        nonlocal body_read
        message = await receive()
        body_read = not message.get("more_body", False)
        return message

    try:
        status, answer, kind = 200, await _answer(scope, watched), _JSON
    except _AgentLeft:
        return
    except DomainError as error:
        status, answer, kind = error.status, problem_of(error), _PROBLEM
    except Exception:
        log.exception("egress failed")
        failure = DomainError("internal_error", "The platform's way out failed. Try again later.")
        status, answer, kind = 500, {**problem_of(failure), "status": 500}, _PROBLEM
    body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if not body_read:
        # What is left of it can't be told from another request.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer(scope: Any, receive: Any) -> Any:
    headers = {name.lower(): value for name, value in scope["headers"]}
    if scope["method"] != "POST":
        raise _WrongMethod("method_not_allowed", "Use POST.")
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    sent = token.strip() if scheme.lower() == "bearer" else ""
    # Before the body is read: only an agent may fill our memory, and only so much of it.
    agent = await database_sync_to_async(sign_in, thread_sensitive=False)(sent)
    with _place_for(agent.pk):
        body = _parse(await _read_in_time(headers, receive))
        # In a thread of its own: looking a name up may take seconds and holds up nobody else.
        outbound = await database_sync_to_async(prepare, thread_sensitive=False)(
            scope["path"], agent, body
        )
        return await send_outbound(outbound)


@contextmanager
def _place_for(agent: UUID) -> Iterator[None]:
    """Count a call of the agent while it is under way; the event loop's one thread counts.

    Raises:
        TooManyRequests: it has ``MAX_CALLS`` under way in this process.

    """
    if _under_way[agent] >= MAX_CALLS:
        raise TooManyRequests(
            "too_many_calls", f"{MAX_CALLS} calls are under way. Wait for one to end, then call."
        )
    _under_way[agent] += 1
    try:
        yield
    finally:
        _under_way[agent] -= 1
        if not _under_way[agent]:
            del _under_way[agent]


async def _read_in_time(headers: dict[bytes, bytes], receive: Any) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_body(headers, receive)
    except TimeoutError:
        raise _BodyTooSlow("body_too_slow", f"Send the body within {BODY_SECONDS:g} s.") from None


async def _read_body(headers: dict[bytes, bytes], receive: Any) -> bytes:
    too_large = _BodyTooLarge("too_large", f"Send at most {MAX_BODY_BYTES} bytes.")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _AgentLeft
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
        check_json_bounds(value)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("invalid_json", "Send one JSON object of a moderate size and depth.")
    return value
