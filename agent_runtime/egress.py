"""The one way out: the platform's egress, which adds credentials and makes the outside call.

Only transient failures are tried again (no answer, 408, 429 and 5xx), as often and with such
pauses as the specification says.
"""

import json
from typing import TYPE_CHECKING, Any, Final

import httpx
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
    wait_fixed,
)

from agent_runtime.errors import Code, Problem
from agent_runtime.spec import Capability, JsonObject, Retry

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from agent_runtime.runtime import Runtime

_MAX_ANSWER: Final = 8 * 1_048_576
_MAX_DETAIL: Final = 500
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SERVER_ERROR: Final = 500
_OK: Final = range(200, 300)


class TransientFailure(Exception):
    """The other side may answer when asked again."""


class Egress:
    """Calls through the platform, with its token."""

    def __init__(self, url: str, token: str | None, retry: Retry) -> None:
        self._retry = retry
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            # The capability's own timeout ends the call; this one only a peer that is gone.
            timeout=httpx.Timeout(600, connect=5),
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """Send ``body`` as JSON and return the JSON object that came back.

        Raises:
            Problem: ``upstream_failed`` or ``no_model_connected``, after the last try.

        """
        try:
            async for attempt in self._attempts():
                with attempt:
                    return await self._post(path, body)
        except TransientFailure as failure:
            raise Problem(
                Code.UPSTREAM_FAILED,
                f"{failure} It was tried {self._retry.max_attempts} times: call again later.",
            ) from failure
        raise AssertionError("unreachable")

    async def call(self, capability: str, payload: JsonObject) -> Any:
        """Have the service of ``capability`` called and return the body that it answered.

        Raises:
            Problem: ``upstream_failed``, when it or the way to it failed.

        """
        try:
            async for attempt in self._attempts():
                with attempt:
                    answer = await self._post(f"/http/{capability}", {"input": payload})
                    return _service_body(answer)
        except TransientFailure as failure:
            raise Problem(
                Code.UPSTREAM_FAILED,
                f"{failure} It was tried {self._retry.max_attempts} times: call again later.",
            ) from failure
        raise AssertionError("unreachable")

    async def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        """Return the embeddings of ``texts``, in their order.

        Raises:
            Problem: ``upstream_failed``.

        """
        answer = await self.post("/v1/embeddings", {"model": model, "input": texts})
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = [[float(number) for number in row["embedding"]] for row in rows]
        except (KeyError, TypeError, ValueError):
            vectors = []
        if len(vectors) != len(texts):
            raise Problem(
                Code.UPSTREAM_FAILED, "The embeddings endpoint did not answer in OpenAI's shape."
            )
        return vectors

    def _attempts(self) -> AsyncRetrying:
        retry = self._retry
        return AsyncRetrying(
            retry=retry_if_exception_type(TransientFailure),
            stop=stop_after_attempt(retry.max_attempts),
            wait=(
                wait_fixed(retry.initial_seconds)
                if retry.backoff == "fixed"
                else wait_exponential_jitter(
                    retry.initial_seconds, max=60, jitter=retry.initial_seconds / 2
                )
            ),
            reraise=True,
        )

    async def _post(self, path: str, body: JsonObject) -> JsonObject:
        try:
            async with self._client.stream("POST", path, json=body) as response:
                data = bytearray()
                async for part in response.aiter_bytes():
                    data += part
                    if len(data) > _MAX_ANSWER:
                        raise Problem(
                            Code.UPSTREAM_FAILED, "The answer is larger than 8 MiB: ask for less."
                        )
        except httpx.HTTPError as error:
            raise TransientFailure(
                f"The platform's egress does not answer ({type(error).__name__})."
            ) from error
        return _read(response, bytes(data))


def _service_body(answer: JsonObject) -> Any:
    status = answer.get("status")
    if not isinstance(status, int) or status in _TRANSIENT:
        raise TransientFailure(f"The service answered {status}.")
    if status not in _OK:
        raise Problem(
            Code.UPSTREAM_FAILED,
            f"The service answered {status}: check the capability's address, secret and input.",
        )
    return answer.get("body")


def _read(response: httpx.Response, data: bytes) -> JsonObject:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if response.status_code in _OK and isinstance(answer, dict):
        return answer
    told = answer if isinstance(answer, dict) else {}
    detail = str(told.get("detail") or f"The egress answered {response.status_code}.")
    detail = detail[:_MAX_DETAIL]
    if told.get("code") == Code.NO_MODEL_CONNECTED:
        raise Problem(Code.NO_MODEL_CONNECTED, detail)
    if response.status_code in _TRANSIENT or response.status_code >= _SERVER_ERROR:
        raise TransientFailure(detail)
    raise Problem(Code.UPSTREAM_FAILED, detail)


async def call_service(
    runtime: "Runtime", capability: Capability, payload: JsonObject, log: "BoundLogger"
) -> JsonObject:
    """Call the capability's service; a body that is no object is an invalid output.

    Raises:
        Problem: the service failed, or did not answer with an object.

    """
    log.info("calling the service")
    body = await runtime.egress().call(capability.name, payload)
    if not isinstance(body, dict):
        raise Problem(
            Code.INVALID_OUTPUT,
            f"The service answered with {type(body).__name__}, not with a JSON object.",
        )
    log.info("the service answered")
    return body
