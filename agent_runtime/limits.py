"""Rate and concurrency: how many calls an agent takes, as its specification says."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from agent_runtime.errors import Code, Problem

_MAX_WAIT_SECONDS: Final = 2.0
_WAITING_PER_SLOT: Final = 10


class TokenBucket:
    """At most ``per_minute`` calls in any minute on average, and as many at once at first."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._tokens = self._capacity
        self._filled_at = clock()

    def take(self) -> None:
        """Take one token.

        Raises:
            Problem: ``rate_limited``, with the seconds until the next token.

        """
        wait = self._try_take()
        if wait > 0:
            raise Problem(
                Code.RATE_LIMITED,
                f"This agent takes {self._capacity:.0f} calls a minute: "
                f"call again in {math.ceil(wait)} s, or raise its rate limit.",
                retry_after=math.ceil(wait),
            )

    async def wait(self) -> None:
        """Take one token, waiting for it."""
        while (seconds := self._try_take()) > 0:  # noqa: ASYNC110 - time is what it waits for
            await asyncio.sleep(seconds)

    def _try_take(self) -> float:
        now = self._clock()
        self._tokens = min(
            self._capacity, self._tokens + (now - self._filled_at) * self._per_second
        )
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        return (1 - self._tokens) / self._per_second


class Slots:
    """At most ``size`` capabilities at work; a short queue of callers waits a short while."""

    def __init__(self, size: int, max_wait: float = _MAX_WAIT_SECONDS) -> None:
        self.size = size
        self._semaphore = asyncio.Semaphore(size)
        self._max_wait = max_wait
        self._waiting = 0
        self.in_use = 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold one slot.

        Raises:
            Problem: ``busy``, when too many wait already or none came free in time.

        """
        if self._semaphore.locked() and self._waiting >= self.size * _WAITING_PER_SLOT:
            raise self._busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._max_wait):
                await self._semaphore.acquire()
        except TimeoutError:
            raise self._busy() from None
        finally:
            self._waiting -= 1
        async with self._held():
            yield

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Hold one slot, however long it takes to get it."""
        await self._semaphore.acquire()
        async with self._held():
            yield

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1
            self._semaphore.release()

    def _busy(self) -> Problem:
        return Problem(
            Code.BUSY,
            f"All {self.size} places of this agent are taken: call again in a second, "
            "or raise its concurrency.",
            retry_after=1,
        )
