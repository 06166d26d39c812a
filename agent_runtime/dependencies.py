"""The health report: whether each thing that the agent leans on is there."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic, perf_counter
from typing import Any, Final

from agent_runtime.redis_client import RedisError, RedisUnavailable
from agent_runtime.runtime import Runtime
from agent_runtime.settings import VERSION

_CHECK_SECONDS: Final = 1.0
# How long an answer is given again. A bad one only briefly: someone waits for it to become good.
_FRESH_SECONDS: Final = 1.0
_FRESH_BAD_SECONDS: Final = 0.02


class State(StrEnum):
    """Of one dependency."""

    OK = "ok"
    DOWN = "down"
    NOT_CONNECTED = "not_connected"


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing the agent leans on. ``needed``: without it the agent is not ready."""

    name: str
    state: State
    detail: str = ""
    latency_ms: float | None = None
    needed: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the health report."""
        return {
            "name": self.name,
            "status": str(self.state),
            "detail": self.detail,
            "latency_ms": self.latency_ms,
        }


class HealthReport:
    """Asks each dependency, at most once a while however often the report is read."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = asyncio.Lock()
        self._fresh_until = float("-inf")
        self._found: list[Dependency] = []

    async def report(self) -> tuple[dict[str, Any], bool]:
        """Return the report's document, and whether the agent is ready."""
        async with self._lock:
            if monotonic() > self._fresh_until or self._is_known_lost():
                self._found = await self._ask()
                good = all(d.state is State.OK for d in self._found if d.needed)
                self._fresh_until = monotonic() + (_FRESH_SECONDS if good else _FRESH_BAD_SECONDS)
        found = self._found
        ready = self._runtime.ready_for_calls and all(
            d.state is State.OK for d in found if d.needed
        )
        healthy = ready and all(d.state is not State.DOWN for d in found)
        runtime = self._runtime
        document = {
            "status": "ok" if healthy else "degraded",
            "agent_id": runtime.spec.agent_id,
            "digest": runtime.spec.digest,
            "mode": str(runtime.settings.mode),
            "version": VERSION,
            "uptime_seconds": round(monotonic() - runtime.started_at, 1),
            "dependencies": [d.to_json() for d in found],
        }
        return document, ready

    def _is_known_lost(self) -> bool:
        """Tell whether a call found the tables gone since the dependencies were last asked."""
        database = self._runtime.database
        return database is not None and database.lost.is_set()

    async def _ask(self) -> list[Dependency]:
        runtime = self._runtime
        if runtime.credentials is None:
            return [Dependency("credentials", State.DOWN, "The agent waits for its credentials.")]
        found: list[Dependency] = []
        if runtime.redis is not None or runtime.spec.memory.uses_redis:
            found += await self._ask_redis()
        if runtime.spec.memory.uses_postgresql:
            found.append(await self._ask_postgresql())
        if runtime.spec.has_kind("prompt"):
            found.append(self._model("model", connected=runtime.credentials.chat_model is not None))
        if runtime.credentials.embedding_model is not None and runtime.database is not None:
            found.append(self._model("embeddings", connected=True))
        return found

    async def _ask_redis(self) -> list[Dependency]:
        redis = self._runtime.redis
        if redis is None:
            return [Dependency("redis", State.DOWN, "The credentials name no redis_url.")]
        started = perf_counter()
        try:
            await redis.execute("PING", timeout_seconds=_CHECK_SECONDS)
        except (RedisError, RedisUnavailable) as error:
            first = Dependency("redis", State.DOWN, str(error))
        else:
            first = Dependency("redis", State.OK, latency_ms=_milliseconds(started))
        failure = self._runtime.queue_failure
        queue = Dependency("queue", State.DOWN if failure else State.OK, failure or "")
        return [first, queue]

    async def _ask_postgresql(self) -> Dependency:
        database = self._runtime.database
        if database is None:
            return Dependency("postgresql", State.DOWN, "The credentials name no database_url.")
        started = perf_counter()
        failure = await database.failure(_CHECK_SECONDS)
        if failure is not None:
            return Dependency("postgresql", State.DOWN, failure)
        return Dependency("postgresql", State.OK, latency_ms=_milliseconds(started))

    def _model(self, name: str, *, connected: bool) -> Dependency:
        if not connected or self._runtime.offline:
            detail = (
                "A sandbox answers from examples."
                if self._runtime.offline
                else "Connect a model to use the capabilities that need one."
            )
            return Dependency(name, State.NOT_CONNECTED, detail, needed=False)
        failure = self._runtime.model_failures.get(name)
        state = State.DOWN if failure else State.OK
        return Dependency(name, state, failure or "", needed=False)


def _milliseconds(started: float) -> float:
    return round((perf_counter() - started) * 1000, 2)
