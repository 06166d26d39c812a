"""Connect to a tool for real and say, in a sentence, what came of it.

What the platform brings (Redis, PostgreSQL, pgvector) is asked where agents will find it. Other
services get one small request, under the address rule of ``registry.addresses``, without
following redirects, with short timeouts and a bounded answer.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
import psycopg
import redis
from django.conf import settings

from ledger.errors import UpstreamFailed
from registry.addresses import target_of
from registry.enums import ToolKind

_TIMEOUT: Final = httpx.Timeout(8.0, connect=4.0)
_PLATFORM_TIMEOUT_SECONDS: Final = 4
_MAX_ANSWER_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class ToolCheck:
    """Whether a tool answered as it should, and what to do when it did not."""

    ok: bool
    detail: str


def check_connection(
    kind: ToolKind, parameters: Mapping[str, Any], secret: str | None
) -> ToolCheck:
    """Connect to a tool of this kind; ``parameters`` fit its schema.

    Raises:
        InvalidInput: the address is refused.
        UpstreamFailed: the host is not known.

    """
    if kind == ToolKind.REDIS:
        return _check_redis()
    if kind in (ToolKind.POSTGRESQL, ToolKind.VECTOR_STORE):
        return _check_postgresql(needs_vector=kind == ToolKind.VECTOR_STORE)
    base = str(parameters["base_url"]).rstrip("/")
    if kind == ToolKind.EMBEDDINGS:
        return _check_embeddings(base, parameters, secret)
    if kind == ToolKind.CHAT_MODEL:
        return _check_chat(base, parameters, secret)
    return _check_http(base, secret)


def _check_redis() -> ToolCheck:
    try:
        with redis.Redis.from_url(
            settings.AGENT_REDIS_URL,
            socket_connect_timeout=_PLATFORM_TIMEOUT_SECONDS,
            socket_timeout=_PLATFORM_TIMEOUT_SECONDS,
        ) as client:
            client.ping()
    except redis.RedisError:
        return ToolCheck(ok=False, detail="Redis does not answer. Try again in a minute.")
    return ToolCheck(ok=True, detail="Connected")


def _check_postgresql(*, needs_vector: bool) -> ToolCheck:
    try:
        with psycopg.connect(
            settings.AGENT_DATABASE_URL, connect_timeout=_PLATFORM_TIMEOUT_SECONDS
        ) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"
            ).fetchone()
    except psycopg.Error:
        return ToolCheck(ok=False, detail="PostgreSQL does not answer. Try again in a minute.")
    if needs_vector and (row is None or row[0] == 0):
        return ToolCheck(
            ok=False, detail="PostgreSQL lacks pgvector. Ask whoever runs the platform to add it."
        )
    return ToolCheck(ok=True, detail="Connected")


def _check_embeddings(base: str, parameters: Mapping[str, Any], secret: str | None) -> ToolCheck:
    body: dict[str, Any] = {"model": parameters["model"], "input": "ping"}
    if "dimensions" in parameters:
        body["dimensions"] = parameters["dimensions"]
    status, answer = _send("POST", f"{base}/embeddings", body, secret)
    if failed := _failure(status, answer, str(parameters["model"])):
        return failed
    try:
        length = len(answer["data"][0]["embedding"])
    except (KeyError, IndexError, TypeError):
        return _not_compatible()
    wanted = parameters.get("dimensions", length)
    if length == 0 or length != wanted:
        return ToolCheck(
            ok=False,
            detail=f"The model answers with vectors of {length} numbers, not {wanted}. "
            "Change the dimensions to that or leave them empty.",
        )
    return ToolCheck(ok=True, detail=f"Connected ({length} dimensions)")


def _check_chat(base: str, parameters: Mapping[str, Any], secret: str | None) -> ToolCheck:
    body = {
        "model": parameters["model"],
        "messages": [{"role": "user", "content": "ping"}],
        "max_tokens": 1,
    }
    status, answer = _send("POST", f"{base}/chat/completions", body, secret)
    if failed := _failure(status, answer, str(parameters["model"])):
        return failed
    try:
        answer["choices"][0]["message"]
    except (KeyError, IndexError, TypeError):
        return _not_compatible()
    return ToolCheck(ok=True, detail="Connected")


def _check_http(base: str, secret: str | None) -> ToolCheck:
    status, _ = _send("GET", base, None, secret)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _wrong_key()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ToolCheck(ok=False, detail=f"The service answers with an error ({status}).")
    # A service may well have nothing at its base address; that it answers is what counts.
    return ToolCheck(ok=True, detail="Connected")


def _send(
    method: str, url: str, body: Mapping[str, Any] | None, secret: str | None
) -> tuple[int, Any]:
    """Send one request; return the status and the JSON of the answer (``None`` if it is none)."""
    target = target_of(url)
    headers = {"Host": target.host_header, "Accept": "application/json"}
    if secret:
        if not secret.isascii() or not secret.isprintable():
            raise UpstreamFailed(
                "secret_unusable",
                "The secret holds characters that can't be sent as a key. Store it again without "
                "line breaks or special characters.",
            )
        headers["Authorization"] = f"Bearer {secret}"
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client,
            client.stream(
                method,
                target.url,
                headers=headers,
                json=body,
                extensions={"sni_hostname": target.host},
            ) as response,
        ):
            read = b""
            for chunk in response.iter_bytes():
                read += chunk
                if len(read) > _MAX_ANSWER_BYTES:
                    return response.status_code, None
    except httpx.TimeoutException:
        raise UpstreamFailed(
            "tool_timeout", f"{target.host} does not answer in time. Check the address and port."
        ) from None
    except (httpx.HTTPError, ValueError):
        raise UpstreamFailed(
            "tool_unreachable",
            f"{target.host} can't be reached. Check the address, the port and whether it is "
            "http or https.",
        ) from None
    try:
        return response.status_code, json.loads(read)
    except (ValueError, RecursionError):
        return response.status_code, None


def _failure(status: int, answer: Any, model: str) -> ToolCheck | None:
    if status == HTTPStatus.OK:
        return None
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _wrong_key()
    detail = f"The service answers with an error ({status})."
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY):
        detail = (
            f"The service refuses the request ({status}). Check that the base URL ends where its "
            "API begins, often in /v1."
        )
        if isinstance(answer, dict) and "model" in json.dumps(answer.get("error", "")).lower():
            detail = f"The service does not know the model {model}. Check the model's name."
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        detail = "The key works, but its quota is used up. Try again later."
    elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        detail = "The service sends us elsewhere. Give the address that it redirects to."
    return ToolCheck(ok=False, detail=detail)


def _wrong_key() -> ToolCheck:
    return ToolCheck(
        ok=False, detail="The service refuses the key. Choose another secret or store a new key."
    )


def _not_compatible() -> ToolCheck:
    return ToolCheck(
        ok=False,
        detail="The service answers, but not as an OpenAI-compatible one. Check the base URL.",
    )
