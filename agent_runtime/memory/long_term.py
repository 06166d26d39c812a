"""Long-term memory: PostgreSQL, searched by full text and, with a model connected, by meaning."""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.memory.contexts import (
    MAX_ANSWER,
    MAX_RESULT_TEXT,
    Found,
    Hit,
    StoredContext,
)
from agent_runtime.memory.full_text import Ranked, rank_passages
from agent_runtime.memory.passages import split_passages, title_of
from agent_runtime.memory.postgres import Database
from agent_runtime.memory.vectors import VectorIndex, fuse
from agent_runtime.spec import Memory

if TYPE_CHECKING:
    from psycopg import AsyncConnection

FULL_TEXT: Final = "full_text"
WITH_VECTORS: Final = "full_text+vector"
_SWEEP_SECONDS: Final = 60.0
_POOL: Final = 50
# The title's words have weight A; a passage's length is its words without the title's.
_INSERT_PASSAGES: Final = """
INSERT INTO passages (context, first_character, characters, words, terms)
SELECT %(context)s, part.start, part.size, length(part.terms), CASE
    WHEN part.start = 0 AND %(title)s <> '' THEN
        setweight(to_tsvector(%(configuration)s::regconfig, %(title)s), 'A') || part.terms
    ELSE part.terms END
FROM (
    SELECT start, size, to_tsvector(%(configuration)s::regconfig, body) AS terms
    FROM unnest(%(starts)s::int[], %(sizes)s::int[], %(texts)s::text[])
    AS given (start, size, body)
) AS part ORDER BY part.start RETURNING id, words
"""


class LongTermMemory:
    """Contexts in the agent's own schema, cut into passages for searching."""

    def __init__(
        self, database: Database, memory: Memory, configuration: str, vectors: VectorIndex | None
    ) -> None:
        self._database = database
        self._memory = memory
        self._configuration = configuration
        self._vectors = vectors
        self._swept_at = float("-inf")

    async def store(self, context: StoredContext) -> None:
        """Keep the context and its passages; the oldest go when the memory is full."""
        from psycopg.types.json import Jsonb

        title, passages = title_of(context.text), split_passages(context.text)
        texts = [context.text[p.start : p.stop] for p in passages]
        embedded = await self._vectors.embed_passages(texts) if self._vectors else None
        async with self._database.connection() as connection, connection.transaction():
            row = await _one(
                connection,
                """INSERT INTO contexts
                    (context_id, customer_id, body, metadata, created_at, passages)
                VALUES (%s, %s, %s, %s, %s, %s) RETURNING id""",
                [
                    context.context_id,
                    context.customer_id,
                    context.text,
                    Jsonb(context.metadata),
                    context.created_at,
                    len(passages),
                ],
            )
            cursor = await connection.execute(
                _INSERT_PASSAGES,
                {
                    "context": row["id"],
                    "configuration": self._configuration,
                    "title": title,
                    "starts": [p.start for p in passages],
                    "sizes": [p.stop - p.start for p in passages],
                    "texts": texts,
                },
            )
            made = await cursor.fetchall()
            words = sum(r["words"] for r in made)
            await connection.execute(
                "UPDATE contexts SET words = %s WHERE id = %s", [words, row["id"]]
            )
            if self._vectors is not None and embedded is not None:
                await self._vectors.store(connection, [r["id"] for r in made], embedded)
            await connection.execute(
                "DELETE FROM contexts WHERE id <= %s", [row["id"] - self._memory.capacity_items]
            )
            await self._forget_old(connection)

    async def recent(self, customer_id: str | None, limit: int) -> list[StoredContext]:
        """Return the newest contexts first; texts beyond the size of an answer are left out."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                """SELECT context_id, customer_id, body, metadata, created_at FROM (
                    SELECT *, sum(length(body)) OVER (ORDER BY id DESC) AS so_far FROM (
                        SELECT * FROM contexts
                        WHERE (%(customer)s::text IS NULL OR customer_id = %(customer)s)
                        AND created_at > %(since)s ORDER BY id DESC LIMIT %(limit)s
                    ) AS newest
                ) AS bounded WHERE so_far <= %(most)s OR so_far = length(body)
                ORDER BY created_at DESC, context_id""",
                {"customer": customer_id, "since": self._since(), "limit": limit,
                 "most": MAX_ANSWER},
            )  # fmt: skip
            return [_context(row, row["body"]) for row in await cursor.fetchall()]

    async def search(self, query: str, customer_id: str | None, limit: int) -> Found:
        """Rank passages by full text, and by meaning when a model answers, and fuse the two."""
        vector = await self._vectors.embed_query(query) if self._vectors else None
        async with self._database.connection() as connection:
            ranked = await rank_passages(
                connection,
                self._configuration,
                query,
                customer_id=customer_id,
                since=self._since(),
                limit=max(limit, _POOL if vector else limit),
            )
            if self._vectors is None or vector is None:
                return Found(await self._hits(connection, ranked[:limit]), FULL_TEXT)
            near = await self._vectors.nearest(
                connection, vector, customer_id, self._since(), max(limit, _POOL)
            )
            return Found(await self._hits(connection, fuse(ranked, near)[:limit]), WITH_VECTORS)

    async def _hits(self, connection: "AsyncConnection[Any]", ranked: list[Ranked]) -> list[Hit]:
        """Read the contexts, in the order of their rank, each with its best passage."""
        cursor = await connection.execute(
            """SELECT c.context_id, c.customer_id, c.metadata, c.created_at,
                substr(c.body, p.first_character + 1, %(most)s) AS body,
                p.id AS passage
            FROM passages p JOIN contexts c ON c.id = p.context
            WHERE p.id = ANY(%(passages)s)""",
            {"passages": [r.passage for r in ranked], "most": MAX_RESULT_TEXT},
        )
        rows = {row["passage"]: row for row in await cursor.fetchall()}
        return [
            Hit(_context(rows[r.passage], rows[r.passage]["body"].strip()), r.score)
            for r in ranked
            if r.passage in rows
        ]

    async def _forget_old(self, connection: "AsyncConnection[Any]") -> None:
        if monotonic() - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = monotonic()
        await connection.execute("DELETE FROM contexts WHERE created_at <= %s", [self._since()])

    def _since(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=self._memory.retention_days)


async def _one(
    connection: "AsyncConnection[Any]",
    statement: Any,
    values: list[Any],
) -> dict[str, Any]:
    cursor = await connection.execute(statement, values)
    row = await cursor.fetchone()
    return dict(row) if row is not None else {}


def _context(row: dict[str, Any], text: str) -> StoredContext:
    return StoredContext(
        context_id=row["context_id"],
        customer_id=row["customer_id"],
        text=text,
        metadata=row["metadata"],
        created_at=row["created_at"].astimezone(UTC),
    )
