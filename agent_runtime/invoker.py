"""One call of one capability, from whichever side it came: checked, limited, timed, counted."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Any, Final

from agent_runtime.context import Context, Handler
from agent_runtime.errors import Code, Problem
from agent_runtime.logs import describe_failure, get_logger
from agent_runtime.runtime import Runtime
from agent_runtime.schemas import SchemaCheck
from agent_runtime.spec import Capability, JsonObject

_MAX_TEXTS: Final = 500


class Invoker:
    """Calls capabilities by name."""

    def __init__(self, runtime: Runtime, table: Mapping[str, Handler]) -> None:
        self._runtime = runtime
        self._table = table
        self._checks = {
            name: (SchemaCheck(capability.input_schema), SchemaCheck(capability.output_schema))
            for name, capability in runtime.spec.capabilities.items()
        }

    async def call(self, name: str, payload: JsonObject, request_id: str) -> JsonObject:
        """Answer a caller who waits: refused at once when over the limits.

        Raises:
            Problem: why there is no output.

        """
        return await self._counted(name, payload, request_id, waits=False)

    async def work_off(self, name: str, payload: JsonObject, request_id: str) -> JsonObject:
        """Answer a queued command: over the limits it waits. The caller holds the slot.

        Raises:
            Problem: why there is no output.

        """
        return await self._counted(name, payload, request_id, waits=True)

    async def _counted(
        self, name: str, payload: JsonObject, request_id: str, *, waits: bool
    ) -> JsonObject:
        started = perf_counter()
        log = get_logger(request_id=request_id, capability=name[:64])
        known = name in self._table and name in self._checks
        outcome: str = Code.INTERNAL_ERROR
        try:
            output = await self._limited(name, payload, request_id, waits=waits, known=known)
            outcome = "ok"
        except Problem as problem:
            outcome = problem.code
            log.warning(
                "capability failed",
                code=problem.code,
                detail=problem.detail,
                duration_ms=_milliseconds(started),
            )
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        else:
            log.info("capability completed", duration_ms=_milliseconds(started))
            return output
        finally:
            label = name if known else "unknown"
            self._runtime.metrics.observe(label, outcome, perf_counter() - started)

    async def _limited(
        self, name: str, payload: JsonObject, request_id: str, *, waits: bool, known: bool
    ) -> JsonObject:
        if not known:
            names = ", ".join(sorted(self._checks))
            raise Problem(Code.CAPABILITY_NOT_FOUND, f"This agent can be asked for: {names[:500]}.")
        if waits:
            await self._runtime.bucket.wait()
        else:
            self._runtime.bucket.take()
        if errors := self._checks[name][0].errors(payload):
            raise Problem(Code.INVALID_INPUT, "Correct the fields named in errors.", errors=errors)
        slot: AbstractAsyncContextManager[None] = (
            _AlreadyHeld() if waits else self._runtime.slots.hold()
        )
        async with slot:
            self._runtime.metrics.in_flight += 1
            try:
                return await self._run(self._runtime.spec.capabilities[name], payload, request_id)
            finally:
                self._runtime.metrics.in_flight -= 1

    async def _run(
        self, capability: Capability, payload: JsonObject, request_id: str
    ) -> JsonObject:
        log = get_logger(request_id=request_id, capability=capability.name)
        context = Context(self._runtime, request_id, log)
        # The code may change what it is given; the texts are for freeing a message of them.
        texts = list(_texts(payload))
        deadline = asyncio.timeout(capability.timeout)
        try:
            async with deadline:
                output = await self._table[capability.name](payload, context)
        except Problem:
            raise
        except Exception as error:  # noqa: BLE001 - generated code may fail in any way
            if deadline.expired():
                raise Problem(
                    Code.TIMEOUT,
                    f"It took longer than {capability.timeout:g} s: send less, or raise the "
                    "capability's timeout.",
                ) from None
            log.error("capability code failed", **describe_failure(error, texts))  # noqa: TRY400 - a traceback could hold what was sent
            raise Problem(
                Code.INTERNAL_ERROR,
                f"The capability's code failed: look for request {request_id} in the log.",
            ) from None
        return self._checked(capability, output)

    def _checked(self, capability: Capability, output: Any) -> JsonObject:
        if not isinstance(output, dict):
            raise Problem(
                Code.INVALID_OUTPUT,
                f"The capability returned {type(output).__name__}, not a JSON object.",
            )
        try:
            # One trip through JSON: what is checked is what the caller will read.
            plain: JsonObject = json.loads(json.dumps(output, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            raise Problem(
                Code.INVALID_OUTPUT, "The capability returned something that JSON cannot carry."
            ) from None
        if errors := self._checks[capability.name][1].errors(plain):
            raise Problem(
                Code.INVALID_OUTPUT,
                "The output does not keep to the capability's output schema: correct one of them.",
                errors=errors,
            )
        return plain


class _AlreadyHeld(AbstractAsyncContextManager[None]):
    """Stands where a slot would be taken, when the caller holds one."""

    async def __aexit__(self, *_: object) -> None:
        return None


def _milliseconds(started: float) -> float:
    return round((perf_counter() - started) * 1000, 1)


def _texts(value: object) -> Iterator[str]:
    stack, found = [value], 0
    while stack and found < _MAX_TEXTS:
        item = stack.pop()
        if isinstance(item, str):
            found += 1
            yield item
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
