"""The agent's HTTP side: a bare ASGI application of a few addresses."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter
from typing import Any, Final
from urllib.parse import unquote

from agent_runtime.bodies import parse_object
from agent_runtime.dependencies import HealthReport
from agent_runtime.errors import Code, Problem
from agent_runtime.invoker import Invoker
from agent_runtime.logs import describe_failure, get_logger
from agent_runtime.metrics import CONTENT_TYPE as METRICS_TYPE
from agent_runtime.runtime import Runtime

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_REQUEST_ID: Final = re.compile(r"[^A-Za-z0-9._:-]")
_MAX_REQUEST_ID: Final = 128
_INVOKE: Final = "/invoke/"
_CHALLENGE: Final = re.compile(r"[0-9a-f]{64}")
_IDENTITY: Final = b"agent-identity:"
"""Before the challenge, so that a proof is never the HMAC of anything else."""


class App:
    """Answers the addresses that its "not found" lists, and ``/identity`` to the platform."""

    def __init__(self, runtime: Runtime, invoker: Invoker, health: HealthReport) -> None:
        self._runtime = runtime
        self._invoker = invoker
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of ASGI scope are not for this program."""
        if scope["type"] != "http":
            return
        headers = _headers(scope)
        request_id = request_id_from(headers.get("x-request-id"))
        try:
            status, body, kind = await self._answer(scope, headers, receive, request_id)
            extra: list[tuple[str, str]] = []
        except Problem as problem:
            status, kind = problem.status, _PROBLEM
            body = _encode(problem.to_json(request_id))
            extra = _extra_headers(problem)
        except _ClientLeft:
            return
        except Exception as error:  # noqa: BLE001 - the last line before the caller
            get_logger(request_id=request_id).error("request failed", **describe_failure(error))
            bug = Problem(Code.INTERNAL_ERROR, f"Look for {request_id} in the agent's log.")
            status, kind, extra = bug.status, _PROBLEM, []
            body = _encode(bug.to_json(request_id))
        await _send(send, status, body, kind, [("x-request-id", request_id), *extra])

    async def _answer(
        self, scope: Scope, headers: dict[str, str], receive: Receive, request_id: str
    ) -> tuple[int, bytes, str]:
        path, method = scope["path"], scope["method"]
        if path.startswith(_INVOKE):
            _allow(method, "POST")
            self._authorise(headers)
            return await self._invoke(unquote(path[len(_INVOKE) :]), headers, receive, request_id)
        if path in ("/health", "/ready"):
            _allow(method, "GET", "HEAD")
            report, ready = await self._health.report()
            status = 200 if ready or path == "/health" else 503
            return status, _encode(report), _JSON
        if path == "/identity":
            _allow(method, "GET")
            return 200, _encode({"proof": self._proof(headers)}), _JSON
        if path == "/capabilities":
            _allow(method, "GET", "HEAD")
            self._authorise(headers)
            found = [c.to_json() for c in self._runtime.spec.capabilities.values()]
            agent = {"agent_id": self._runtime.spec.agent_id, "digest": self._runtime.spec.digest}
            return 200, _encode({**agent, "capabilities": found}), _JSON
        if path == "/metrics":
            _allow(method, "GET", "HEAD")
            self._authorise(headers)
            return 200, self._runtime.metrics.render().encode(), METRICS_TYPE
        raise Problem(
            Code.NOT_FOUND,
            "Use /health, /ready, /capabilities, /metrics or POST /invoke/{capability}.",
        )

    async def _invoke(
        self, name: str, headers: dict[str, str], receive: Receive, request_id: str
    ) -> tuple[int, bytes, str]:
        started = perf_counter()
        body = await _read_body(headers, receive, self._runtime.settings.max_body_bytes)
        payload = parse_object(body)
        output = await self._invoker.call(name, payload, request_id)
        duration = round((perf_counter() - started) * 1000, 1)
        answer = {"output": output, "request_id": request_id, "duration_ms": duration}
        return 200, _encode(answer), _JSON

    def _token(self) -> str | None:
        if not self._runtime.ready_for_calls:
            raise Problem(
                Code.DEPENDENCY_DOWN,
                "The agent waits for its credentials: call again in a few seconds.",
                retry_after=2,
            )
        credentials = self._runtime.credentials
        return credentials.invoke_token if credentials else None

    def _proof(self, headers: dict[str, str]) -> str:
        """Show the caller that this is the agent it means, before it sends the token."""
        token = self._token()
        if token is None:
            raise Problem(Code.NOT_FOUND, "This agent has no token to prove itself with.")
        challenge = headers.get("x-agent-challenge", "")
        if not _CHALLENGE.fullmatch(challenge):
            raise Problem(Code.INVALID_INPUT, "Send 64 hexadecimal digits as X-Agent-Challenge.")
        message = _IDENTITY + challenge.encode()
        return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()

    def _authorise(self, headers: dict[str, str]) -> None:
        token = self._token()
        if token is None:
            return
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            sent.strip().encode(), token.encode()
        ):
            raise Problem(Code.UNAUTHORIZED, "Send the header Authorization: Bearer <token>.")


class _ClientLeft(Exception):
    """The caller went away before the body was complete."""


def request_id_from(sent: str | None) -> str:
    """Return the caller's request id, freed of odd characters, or a new one."""
    cleaned = _REQUEST_ID.sub("", (sent or "")[:_MAX_REQUEST_ID])
    return cleaned or f"req-{secrets.token_hex(8)}"


async def _read_body(headers: dict[str, str], receive: Receive, limit: int) -> bytes:
    too_large = Problem(Code.TOO_LARGE, f"Send at most {limit} bytes.")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _allow(method: str, *methods: str) -> None:
    if method not in methods:
        raise Problem(Code.METHOD_NOT_ALLOWED, f"Use {' or '.join(methods)} here.")


def _extra_headers(problem: Problem) -> list[tuple[str, str]]:
    extra = []
    if problem.retry_after is not None:
        extra.append(("retry-after", str(problem.retry_after)))
    if problem.code is Code.UNAUTHORIZED:
        extra.append(("www-authenticate", "Bearer"))
    if problem.code is Code.TOO_LARGE:
        # What is left of the body is not read: the connection cannot be used again.
        extra.append(("connection", "close"))
    return extra


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def _send(
    send: Send, status: int, body: bytes, kind: str, headers: Iterable[tuple[str, str]]
) -> None:
    raw = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    raw += [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
