"""Search by meaning: the passages' embeddings in pgvector, fused with the full-text ranking."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.credentials import EmbeddingModel
from agent_runtime.errors import Problem
from agent_runtime.logs import get_logger
from agent_runtime.memory.ranking import Ranked

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from agent_runtime.runtime import Runtime

_BATCH: Final = 64
# Reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009; 60 is the paper's constant.
_RRF: Final = 60
_INDEXED_DIMENSIONS: Final = 2_000


class VectorIndex:
    """The embeddings of one connected model. Its failures are logged, never raised."""

    def __init__(self, runtime: "Runtime", model: EmbeddingModel) -> None:
        self._runtime = runtime
        self._model = model
        self._table = f"passage_vectors_{model.dimensions}"
        self._made = False

    async def embed_passages(self, texts: list[str]) -> list[str] | None:
        """Return the vectors of the texts, or ``None`` when the model does not answer."""
        vectors: list[str] = []
        for start in range(0, len(texts), _BATCH):
            part = await self._embed(texts[start : start + _BATCH])
            if part is None:
                return None
            vectors += part
        return vectors

    async def embed_query(self, query: str) -> str | None:
        """Return the vector of the question, or ``None`` when the model does not answer."""
        vectors = await self._embed([query])
        return vectors[0] if vectors else None

    async def store(
        self, connection: "AsyncConnection[Any]", passages: list[int], vectors: list[str]
    ) -> None:
        """Keep the passages' vectors, within the caller's transaction."""
        if not await self._make_table(connection):
            return
        await connection.execute(
            f"INSERT INTO {self._table} (passage, model, embedding)"  # noqa: S608 - the name holds a number
            f" SELECT passage, %s, embedding::vector({self._model.dimensions})"
            " FROM unnest(%s::bigint[], %s::text[]) AS given (passage, embedding)",
            [self._model.model, passages, vectors],
        )

    async def nearest(
        self,
        connection: "AsyncConnection[Any]",
        vector: str,
        customer_id: str | None,
        since: datetime,
        limit: int,
    ) -> list[Ranked]:
        """Return the contexts whose passages are nearest to ``vector``, nearest first."""
        if not await self._make_table(connection):
            return []
        cursor = await connection.execute(
            f"""SELECT p.id, p.context, 1 - (v.embedding <=> %(vector)s::vector) AS score
            FROM {self._table} v JOIN passages p ON p.id = v.passage
            JOIN contexts c ON c.id = p.context
            WHERE v.model = %(model)s AND c.created_at > %(since)s
            AND (%(customer)s::text IS NULL OR c.customer_id = %(customer)s)
            ORDER BY v.embedding <=> %(vector)s::vector LIMIT %(limit)s""",  # noqa: S608 - the name holds a number
            {"vector": vector, "model": self._model.model, "since": since,
             "customer": customer_id, "limit": limit * 4},
        )  # fmt: skip
        best: dict[int, Ranked] = {}
        for row in await cursor.fetchall():
            best.setdefault(row["context"], Ranked(row["context"], row["id"], row["score"]))
        return list(best.values())[:limit]

    async def _make_table(self, connection: "AsyncConnection[Any]") -> bool:
        if self._made:
            return True
        cursor = await connection.execute("SELECT to_regtype('vector') IS NOT NULL AS there")
        row = await cursor.fetchone()
        if not row or not row["there"]:
            self._note("pgvector is not installed in this database.")
            return False
        dimensions = self._model.dimensions
        await connection.execute(
            f"""CREATE TABLE IF NOT EXISTS {self._table} (
                passage bigint PRIMARY KEY REFERENCES passages ON DELETE CASCADE,
                model text NOT NULL,
                embedding vector({dimensions}) NOT NULL
            )"""
        )
        if dimensions <= _INDEXED_DIMENSIONS:
            await connection.execute(
                f"CREATE INDEX IF NOT EXISTS {self._table}_nearest ON {self._table}"
                " USING hnsw (embedding vector_cosine_ops)"
            )
        self._made = True
        return True

    async def _embed(self, texts: list[str]) -> list[str] | None:
        try:
            vectors = await self._runtime.egress().embed(self._model.model, texts)
        except Problem as problem:
            self._note(problem.detail)
            return None
        if any(len(vector) != self._model.dimensions for vector in vectors):
            self._note(f"The model's vectors do not have {self._model.dimensions} dimensions.")
            return None
        self._runtime.model_failures["embeddings"] = None
        return [f"[{','.join(map(repr, vector))}]" for vector in vectors]

    def _note(self, detail: str) -> None:
        self._runtime.model_failures["embeddings"] = detail
        get_logger().warning("embeddings failed: searching by full text only", detail=detail)


def fuse(*rankings: list[Ranked]) -> list[Ranked]:
    """Fuse rankings by reciprocal rank; a context keeps the passage of its best rank."""
    scores: dict[int, float] = {}
    passages: dict[int, tuple[int, int]] = {}
    for ranking in rankings:
        for place, ranked in enumerate(ranking, start=1):
            scores[ranked.context] = scores.get(ranked.context, 0.0) + 1 / (_RRF + place)
            known = passages.get(ranked.context)
            if known is None or place < known[0]:
                passages[ranked.context] = (place, ranked.passage)
    fused = [Ranked(context, passages[context][1], score) for context, score in scores.items()]
    fused.sort(key=lambda r: (-r.score, -r.context))
    return fused
