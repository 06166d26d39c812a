"""Short-term memory: Redis, every key under the agent's own prefix and with an end to its life."""

import json
from collections import Counter
from hashlib import sha256
from typing import Final

from agent_runtime.errors import Code, Problem
from agent_runtime.memory.contexts import (
    MAX_ANSWER,
    MAX_RESULT_TEXT,
    Found,
    Hit,
    StoredContext,
    context_from_json,
)
from agent_runtime.memory.passages import split_passages
from agent_runtime.memory.ranking import Candidate, Collection, rank, rarity
from agent_runtime.memory.words import words_of
from agent_runtime.redis_client import RedisClient, RedisError, RedisUnavailable, Reply
from agent_runtime.spec import Memory

# A search reads at most this many of the newest contexts.
_SEARCHED: Final = 1_000
_BATCH: Final = 50


class ShortTermMemory:
    """Contexts as JSON under their ids, and lists of ids by customer and over all."""

    def __init__(self, redis: RedisClient, prefix: str, memory: Memory) -> None:
        self._redis = redis
        self._prefix = f"{prefix}memory."
        self._memory = memory

    async def store(self, context: StoredContext) -> None:
        """Keep one context for the memory's time to live; the oldest go when it is full."""
        moment = int(context.created_at.timestamp() * 1_000_000)
        ttl = self._memory.ttl_seconds
        end = moment - ttl * 1_000_000
        own, all_ids = self._list(context.customer_id), self._list(None)
        await self._ask(
            ("SET", self._item(context.context_id), json.dumps(context.to_json()), "EX", ttl),
            ("ZADD", own, moment, context.context_id),
            ("EXPIRE", own, ttl),
            ("ZREMRANGEBYSCORE", own, "-inf", end),
            ("ZADD", all_ids, moment, context.context_id),
            ("EXPIRE", all_ids, ttl),
            ("ZREMRANGEBYSCORE", all_ids, "-inf", end),
        )
        await self._make_room(all_ids)

    async def recent(self, customer_id: str | None, limit: int) -> list[StoredContext]:
        """Return the newest contexts first; texts beyond the size of an answer are left out."""
        found: list[StoredContext] = []
        size = offset = 0
        while len(found) < limit and size < MAX_ANSWER:
            batch = await self._read(customer_id, offset, min(_BATCH, limit))
            if batch is None:
                break
            offset += min(_BATCH, limit)
            for context in batch:
                size += len(context.text)
                if (size > MAX_ANSWER and found) or len(found) >= limit:
                    return found
                found.append(context)
        return found

    async def search(self, query: str, customer_id: str | None, limit: int) -> Found:
        """Rank the newest contexts by the same measure as the long-term memory."""
        contexts = await self.recent(customer_id, _SEARCHED)
        texts: list[tuple[StoredContext, str]] = []
        candidates: list[Candidate] = []
        asked = set(words_of(query)) - {""}
        holding: Counter[str] = Counter()
        total_words = 0
        for number, context in enumerate(contexts):
            parts = [context.text[p.start : p.stop] for p in split_passages(context.text)]
            words = [words_of(part) for part in parts]
            size = sum(map(len, words))
            total_words += size
            for part, stems in zip(parts, words, strict=True):
                places = _places(stems, asked)
                holding.update(places.keys())
                texts.append((context, part))
                if places:
                    candidates.append(
                        Candidate(
                            passage=len(texts) - 1,
                            # Newer contexts have higher numbers, as in the long-term memory.
                            context=len(contexts) - number,
                            words=len(stems),
                            context_words=size,
                            context_passages=len(parts),
                            places=places,
                        )
                    )
        collection = Collection(
            {word: rarity(len(texts), count) for word, count in holding.items()},
            total_words / max(len(texts), 1),
            total_words / max(len(contexts), 1),
        )
        ranked = rank(candidates, collection)[:limit]
        hits = []
        for entry in ranked:
            context, text = texts[entry.passage]
            shown = StoredContext(
                context.context_id, context.customer_id, text.strip()[:MAX_RESULT_TEXT],
                context.metadata, context.created_at,
            )  # fmt: skip
            hits.append(Hit(shown, entry.score))
        return Found(hits, "full_text")

    async def _read(
        self, customer_id: str | None, offset: int, count: int
    ) -> list[StoredContext] | None:
        """Return the contexts behind ``count`` ids; ``None`` when there are no more ids."""
        (ids,) = await self._ask(
            ("ZRANGE", self._list(customer_id), offset, offset + count - 1, "REV")
        )
        if not isinstance(ids, list) or not ids:
            return None
        keys = [self._item(part.decode()) for part in ids if isinstance(part, bytes)]
        (items,) = await self._ask(("MGET", *keys))
        rows = items if isinstance(items, list) else []
        return [context_from_json(json.loads(row)) for row in rows if isinstance(row, bytes)]

    async def _make_room(self, all_ids: str) -> None:
        (count,) = await self._ask(("ZCARD", all_ids))
        excess = (count if isinstance(count, int) else 0) - self._memory.capacity_items
        if excess <= 0:
            return
        (ids,) = await self._ask(("ZRANGE", all_ids, 0, excess - 1))
        names = [i.decode() for i in (ids if isinstance(ids, list) else []) if isinstance(i, bytes)]
        await self._ask(*(("DEL", self._item(name)) for name in names), ("ZREM", all_ids, *names))

    async def _ask(self, *commands: tuple[str | int, ...]) -> list[Reply]:
        try:
            return await self._redis.pipeline(*commands)
        except (RedisUnavailable, RedisError) as error:
            raise Problem(
                Code.DEPENDENCY_DOWN,
                "The agent's short-term memory cannot be reached: call again in a few seconds.",
                retry_after=5,
            ) from error

    def _item(self, context_id: str) -> str:
        return f"{self._prefix}item.{context_id}"

    def _list(self, customer_id: str | None) -> str:
        """Return the list's key; a customer's id is hashed, for it may hold any character."""
        if customer_id is None:
            return f"{self._prefix}all"
        return f"{self._prefix}customer.{sha256(customer_id.encode()).hexdigest()[:32]}"


def _places(stems: list[str], asked: set[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, stem in enumerate(stems, start=1):
        if stem in asked:
            places.setdefault(stem, []).append(place)
    return places
