"""Both memories: PostgreSQL is the truth, Redis answers for what is asked again and again.

A customer's newest contexts are kept in Redis together with a version that every store raises,
before and after it writes; kept contexts of an older version are not believed.
"""

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from agent_runtime.logs import get_logger
from agent_runtime.memory.contexts import Found, StoredContext, context_from_json
from agent_runtime.redis_client import RedisClient, RedisError, RedisUnavailable, Reply
from agent_runtime.spec import Memory

if TYPE_CHECKING:
    from agent_runtime.memory.long_term import LongTermMemory

_MAX_KEPT: Final = 1_000_000
_MAX_DOUBTED: Final = 10_000


class HybridMemory:
    """A long-term memory with its newest contexts at hand."""

    def __init__(
        self, long_term: "LongTermMemory", redis: RedisClient, prefix: str, memory: Memory
    ) -> None:
        self._long_term = long_term
        self._redis = redis
        self._prefix = f"{prefix}memory."
        self._ttl = memory.ttl_seconds
        # Customers whose version could not be raised while Redis was away.
        self._doubted: set[str] = set()

    async def store(self, context: StoredContext) -> None:
        """Keep the context in PostgreSQL, and let go of what Redis has of this customer."""
        await self._raise_version(context.customer_id)
        await self._long_term.store(context)
        await self._raise_version(context.customer_id)

    async def recent(self, customer_id: str | None, limit: int) -> list[StoredContext]:
        """Return the newest contexts first, from Redis where it has them."""
        if customer_id is None:
            return await self._long_term.recent(None, limit)
        if customer_id in self._doubted and not await self._raise_version(customer_id):
            return await self._long_term.recent(customer_id, limit)
        replies = await self._try(("MGET", self._key("version", customer_id),
                                   self._key("recent", customer_id)))  # fmt: skip
        answer = replies[0] if replies else None
        if not isinstance(answer, list):
            return await self._long_term.recent(customer_id, limit)
        version = answer[0].decode() if isinstance(answer[0], bytes) else "0"
        kept = _kept(answer[1], version, limit)
        if kept is not None:
            return kept
        contexts = await self._long_term.recent(customer_id, limit)
        text = json.dumps(
            {"version": version, "limit": limit, "contexts": [c.to_json() for c in contexts]}
        )
        if len(text) <= _MAX_KEPT:
            await self._try(("SET", self._key("recent", customer_id), text, "EX", self._ttl))
        return contexts

    async def search(self, query: str, customer_id: str | None, limit: int) -> Found:
        """Search PostgreSQL."""
        return await self._long_term.search(query, customer_id, limit)

    async def _raise_version(self, customer_id: str) -> bool:
        key = self._key("version", customer_id)
        # The version outlives what was kept with it, so that no old number comes back.
        done = await self._try(("INCR", key), ("EXPIRE", key, self._ttl * 2))
        if done is not None:
            self._doubted.discard(customer_id)
            return True
        if len(self._doubted) < _MAX_DOUBTED:
            self._doubted.add(customer_id)
        return False

    async def _try(self, *commands: tuple[str | int, ...]) -> list[Reply] | None:
        try:
            return await self._redis.pipeline(*commands)
        except (RedisUnavailable, RedisError) as error:
            get_logger().warning("short-term memory not reachable", detail=str(error))
            return None

    def _key(self, kind: str, customer_id: str) -> str:
        return f"{self._prefix}{kind}.{sha256(customer_id.encode()).hexdigest()[:32]}"


def _kept(value: Reply, version: str, limit: int) -> list[StoredContext] | None:
    """Return the kept contexts when they are of this version and were enough for ``limit``."""
    if not isinstance(value, bytes):
        return None
    raw = json.loads(value)
    if raw["version"] != version or raw["limit"] < limit:
        return None
    return [context_from_json(item) for item in raw["contexts"][:limit]]
