"""The queue side: commands in, results and events out, over Redis streams.

A command is acknowledged in the same transaction that writes its result, so an agent that dies in
the middle leaves it pending, and another (or the same, restarted) takes it over. A command may
therefore run twice, but is never lost: at least once, with the ``request_id`` to tell.
"""

import asyncio
import json
import os
import secrets
import socket
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any, Final

from agent_runtime.app import request_id_from
from agent_runtime.bodies import parse_object
from agent_runtime.errors import Code, Problem
from agent_runtime.invoker import Invoker
from agent_runtime.logs import describe_failure, get_logger
from agent_runtime.redis_client import RedisAddress, RedisClient, RedisError, RedisUnavailable
from agent_runtime.runtime import Runtime

GROUP: Final = "agent"
MAX_LENGTH: Final = 10_000
_BLOCK_MS: Final = 1_000
_MAX_BACKOFF: Final = 10.0
_DEAD_CONSUMER_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One command as the stream gave it. ``attempt`` counts its deliveries, this one included."""

    id: str
    fields: dict[str, str]
    attempt: int


class CommandQueue:
    """Reads commands while there are free slots, until it is stopped."""

    def __init__(self, runtime: Runtime, invoker: Invoker, redis_url: str, prefix: str) -> None:
        self._runtime = runtime
        self._invoker = invoker
        self._reading = RedisClient(RedisAddress.from_url(redis_url))
        self._writing = RedisClient(RedisAddress.from_url(redis_url))
        self._commands = f"{prefix}commands"
        self._results = f"{prefix}results"
        self._events = f"{prefix}events"
        self._consumer = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._idle_ms = runtime.settings.claim_idle_seconds * 1000
        self._stopping = asyncio.Event()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._log = get_logger()

    async def run(self) -> None:
        """Read until :meth:`stop`, opening the connection again whenever it is lost."""
        backoff = 0.2
        keeper = asyncio.create_task(self._keep())
        try:
            while not self._stopping.is_set():
                try:
                    await self._read_on()
                except (RedisUnavailable, RedisError) as error:
                    if self._stopping.is_set():
                        return
                    self._down(str(error))
                    if isinstance(error, RedisError) and error.kind == "NOGROUP":
                        await self._make_group()
                    await self._pause(backoff)
                    backoff = min(backoff * 2, _MAX_BACKOFF)
                else:
                    backoff = 0.2
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def stop(self) -> None:
        """Stop reading; what is at work goes on.

        A command that the server has just sent stays pending, for another to take over.
        """
        self._stopping.set()
        await self._reading.close()
        await self.event("stopping")

    async def drain(self) -> None:
        """Wait for the commands at work.

        The consumer stays in the group: a command that was on its way to it is then still
        pending, for another to take over. Swept away when it has been idle with nothing pending.
        """
        while self._at_work:
            await asyncio.wait(list(self._at_work.values()))

    async def close(self) -> None:
        """Give up what is still at work and close the connections."""
        for task in list(self._at_work.values()):
            task.cancel()
        await asyncio.gather(*self._at_work.values(), return_exceptions=True)
        await self._reading.close()
        await self._writing.close()

    async def event(self, name: str, **fields: str) -> None:
        """Write to the events stream; an event that cannot be written is only logged."""
        values = {"event": name, "agent_id": self._runtime.spec.agent_id, **fields}
        try:
            await self._writing.execute(*_xadd(self._events, values))
        except (RedisUnavailable, RedisError) as error:
            self._log.warning("event not written", name=name, detail=str(error))

    # reading

    async def _read_on(self) -> None:
        """Read one command, or wait for one at work when as many are at work as may be."""
        if self._full():
            await asyncio.wait(list(self._at_work.values()), return_when=asyncio.FIRST_COMPLETED)
            return
        # The first read after a failure does not block: it shows at once that the queue is there.
        block = () if self._runtime.queue_failure else ("BLOCK", _BLOCK_MS)
        reply = await self._reading.execute(
            "XREADGROUP", "GROUP", GROUP, self._consumer,
            "COUNT", 1, *block, "STREAMS", self._commands, ">",
            timeout_seconds=_BLOCK_MS / 1000 + 5,
        )  # fmt: skip
        self._up()
        for entry in _entries_of_read(reply):
            self._start(entry)

    def _full(self) -> bool:
        return len(self._at_work) >= self._runtime.slots.size

    def _start(self, entry: Entry) -> None:
        self._runtime.metrics.queue["read"] += 1
        task = asyncio.create_task(self._work(entry))
        self._at_work[entry.id] = task
        task.add_done_callback(lambda _: self._at_work.pop(entry.id, None))

    async def _work(self, entry: Entry) -> None:
        async with self._runtime.slots.wait():
            started = perf_counter()
            request_id = request_id_from(entry.fields.get("request_id") or f"cmd-{entry.id}")
            capability = entry.fields.get("capability", "")[:64]
            result: dict[str, str] = {"status": "ok"}
            code = ""
            try:
                payload = self._payload(entry)
                output = await self._invoker.work_off(capability, payload, request_id)
                result["output"] = json.dumps(output, ensure_ascii=False)
            except Problem as problem:
                code = problem.code
                result = {
                    "status": "error",
                    "error": json.dumps(problem.to_json(request_id), ensure_ascii=False),
                }
            except Exception as error:  # noqa: BLE001 - one bad command must not stop the queue
                self._log.error("command failed", request_id=request_id, **describe_failure(error))
                bug = Problem(Code.INTERNAL_ERROR, f"Look for {request_id} in the agent's log.")
                code = bug.code
                result = {"status": "error", "error": json.dumps(bug.to_json(request_id))}
            duration = f"{(perf_counter() - started) * 1000:.1f}"
            head = {"request_id": request_id, "capability": capability}
            tail = {"duration_ms": duration, "attempt": str(entry.attempt)}
            await self._finish(entry, {**head, **result, **tail}, code)

    def _payload(self, entry: Entry) -> dict[str, Any]:
        if entry.attempt > self._runtime.spec.retry.max_attempts:
            raise Problem(
                Code.DELIVERY_EXHAUSTED,
                f"It was given up after {entry.attempt - 1} attempts that did not end.",
            )
        for name in ("request_id", "capability", "payload"):
            if not entry.fields.get(name):
                raise Problem(
                    Code.INVALID_INPUT,
                    f"The command has no {name}: send request_id, capability and payload.",
                )
        text = entry.fields["payload"]
        limit = self._runtime.settings.max_body_bytes
        if len(text.encode("utf-8", "surrogatepass")) > limit:
            raise Problem(Code.TOO_LARGE, f"Send a payload of at most {limit} bytes.")
        return parse_object(text)

    async def _finish(self, entry: Entry, result: dict[str, str], code: str) -> None:
        """Write the result and acknowledge, together; try until the server is back."""
        event = {
            "event": "capability.failed" if code else "capability.completed",
            "agent_id": self._runtime.spec.agent_id,
            "request_id": result["request_id"],
            "capability": result["capability"],
            "duration_ms": result["duration_ms"],
        }
        if code:
            event["code"] = code
        backoff = 0.2
        while True:
            try:
                await self._writing.transaction(
                    _xadd(self._results, result),
                    ("XACK", self._commands, GROUP, entry.id),
                    _xadd(self._events, event),
                )
            except (RedisUnavailable, RedisError) as error:
                self._log.warning(
                    "result not written yet", request_id=result["request_id"], detail=str(error)
                )
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
            else:
                self._runtime.metrics.queue["failed" if code else "completed"] += 1
                return

    # keeping: what others left behind, and our own that takes long

    async def _keep(self) -> None:
        interval = max(self._idle_ms / 3000, 0.2)
        swept_at = float("-inf")
        while not self._stopping.is_set():
            try:
                await self._hold_own()
                await self._take_over()
                if monotonic() - swept_at > _DEAD_CONSUMER_MS / 1000:
                    await self._sweep()
                    swept_at = monotonic()
            except (RedisUnavailable, RedisError) as error:
                self._log.debug("queue not kept", detail=str(error))
            await self._pause(interval)

    async def _hold_own(self) -> None:
        """Tell the group that our commands are still being worked on."""
        if self._at_work:
            await self._writing.execute(
                "XCLAIM", self._commands, GROUP, self._consumer, 0, *self._at_work, "JUSTID"
            )

    async def _take_over(self) -> None:
        """Take one forgotten command at a time, for as long as there are any."""
        while not self._stopping.is_set() and not self._full():
            reply = await self._writing.execute(
                "XAUTOCLAIM", self._commands, GROUP, self._consumer,
                self._idle_ms, "0-0", "COUNT", 1,
            )  # fmt: skip
            claimed = _entries_of_claim(reply)
            if not claimed:
                return
            for entry_id, fields in claimed:
                if entry_id in self._at_work:
                    continue
                attempt = await self._deliveries(entry_id)
                self._runtime.metrics.queue["taken_over"] += 1
                self._log.info("command taken over", entry=entry_id, attempt=attempt)
                self._start(Entry(entry_id, fields, attempt))

    async def _deliveries(self, entry_id: str) -> int:
        reply = await self._writing.execute(
            "XPENDING", self._commands, GROUP, entry_id, entry_id, 1
        )
        row = reply[0] if isinstance(reply, list) and reply else None
        count = row[3] if isinstance(row, list) else 1
        return count if isinstance(count, int) else 1

    async def _sweep(self) -> None:
        """Forget consumers that died with nothing left to take over."""
        reply = await self._writing.execute("XINFO", "CONSUMERS", self._commands, GROUP)
        for row in reply if isinstance(reply, list) else []:
            info = _pairs(row)
            dead = int(info.get("idle", "0")) > _DEAD_CONSUMER_MS and info.get("pending") == "0"
            if dead and info.get("name") != self._consumer:
                await self._writing.execute(
                    "XGROUP", "DELCONSUMER", self._commands, GROUP, info["name"]
                )

    async def _make_group(self) -> None:
        """Make the stream and the group again, after a server that lost its data."""
        try:
            await self._writing.execute("XGROUP", "CREATE", self._commands, GROUP, "0", "MKSTREAM")
        except (RedisUnavailable, RedisError) as error:
            self._log.warning("queue not made", detail=str(error))
        else:
            self._log.info("queue made again")

    def _up(self) -> None:
        if self._runtime.queue_failure is not None:
            self._runtime.queue_failure = None
            self._log.info("connected to redis", consumer=self._consumer)

    def _down(self, detail: str) -> None:
        if self._runtime.queue_failure != detail:
            self._log.warning("redis not reachable", detail=detail)
        self._runtime.queue_failure = detail

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _xadd(stream: str, values: dict[str, str]) -> tuple[str, ...]:
    flat = [part for pair in values.items() for part in pair]
    return ("XADD", stream, "MAXLEN", "~", str(MAX_LENGTH), "*", *flat)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _pairs(flat: object) -> dict[str, str]:
    if not isinstance(flat, list):
        return {}
    texts = [_text(part) for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _entries_of_read(reply: object) -> list[Entry]:
    return [
        Entry(_text(row[0]), _pairs(row[1]), 1)
        for stream in (reply if isinstance(reply, list) else [])
        for row in stream[1]
    ]


def _entries_of_claim(reply: object) -> list[tuple[str, dict[str, str]]]:
    rows = reply[1] if isinstance(reply, list) and len(reply) > 1 else []
    return [(_text(row[0]), _pairs(row[1])) for row in rows if isinstance(row, list)]
