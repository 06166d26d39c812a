"""Full-text search over the passages: PostgreSQL finds and counts, :mod:`ranking` ranks."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.memory.ranking import Candidate, Collection, Ranked, rank, rarity

if TYPE_CHECKING:
    from psycopg import AsyncConnection

__all__ = ["Ranked", "rank_passages"]

_MAX_WORDS: Final = 32
# A word in more passages than this is common; how much more is not worth counting.
_MAX_COUNTED: Final = 20_000
_MAX_CANDIDATES: Final = 80
_SHORTEST_PREFIX: Final = 3
_MAX_COMPLETIONS: Final = 5

# Sizes are counted while that is cheap, and afterwards taken from the planner's own statistics.
_COUNTS: Final = """
WITH words AS (
    SELECT lexeme FROM unnest(to_tsvector(%(configuration)s::regconfig, %(query)s))
    ORDER BY positions[1] LIMIT %(words)s
), size AS (
    SELECT greatest(reltuples, 0) AS estimate FROM pg_class WHERE oid = 'passages'::regclass
)
SELECT lexeme, (
        SELECT count(*) FROM (
            SELECT 1 FROM passages WHERE terms @@ quote_literal(lexeme)::tsquery LIMIT %(most)s
        ) AS counted
    ) AS holding,
    (SELECT CASE WHEN estimate > %(most)s THEN estimate::bigint
        ELSE (SELECT count(*) FROM passages) END FROM size) AS passages,
    (SELECT avg(words) FROM (SELECT words FROM passages LIMIT 2000) AS sample) AS mean_passage,
    (SELECT avg(words) FROM (SELECT words FROM contexts LIMIT 2000) AS sample) AS mean_context
FROM words
"""
_COMPLETIONS: Final = """
SELECT word.lexeme, count(*) AS holding FROM passages, unnest(terms) AS word
WHERE terms @@ (quote_literal(%(start)s) || ':*')::tsquery
AND starts_with(word.lexeme, %(start)s)
GROUP BY word.lexeme ORDER BY holding DESC, word.lexeme LIMIT %(most)s
"""
# A passage's worth is the rarity of the words that it holds; `unnest` stands in the select list
# because as a table it would write every word of every passage to a store of its own.
_WORTH: Final = "%({0})s::float8 * (p.terms @@ %({1})s::tsquery)::int"
_CANDIDATES: Final = """
WITH found AS MATERIALIZED (
    SELECT p.id, p.context, p.words, p.terms,
        c.words AS context_words, c.passages AS context_passages
    FROM passages p JOIN contexts c ON c.id = p.context
    WHERE p.terms @@ %(any)s::tsquery AND c.created_at > %(since)s
    AND (%(customer)s::text IS NULL OR c.customer_id = %(customer)s)
    ORDER BY {worth} DESC, p.id LIMIT %(most)s
)
SELECT id, context, words, context_words, context_passages, (word).lexeme,
    (word).positions, 'A' = ANY((word).weights) AS in_title
FROM (SELECT found.*, unnest(terms) AS word FROM found) AS every
WHERE (word).lexeme = ANY(%(words)s)
"""


async def rank_passages(
    connection: "AsyncConnection[Any]",
    configuration: str,
    query: str,
    *,
    customer_id: str | None,
    since: datetime,
    limit: int,
) -> list[Ranked]:
    """Return the contexts that hold words of ``query``, best first.

    A word that no passage holds stands for the words that begin with it.
    """
    cursor = await connection.execute(
        _COUNTS,
        {
            "configuration": configuration,
            "query": query,
            "words": _MAX_WORDS,
            "most": _MAX_COUNTED,
        },
    )
    counts = await cursor.fetchall()
    if not counts:
        return []
    passages = counts[0]["passages"]
    holding: dict[str, int] = {}
    for row in counts:
        if row["holding"]:
            holding[row["lexeme"]] = row["holding"]
        elif len(row["lexeme"]) >= _SHORTEST_PREFIX:
            holding |= await _completions(connection, row["lexeme"])
    if not holding:
        return []
    weights = {word: rarity(passages, count) for word, count in holding.items()}
    collection = Collection(
        weights, float(counts[0]["mean_passage"]), float(counts[0]["mean_context"])
    )
    terms = [_quoted(word) for word in weights]
    worth = " + ".join(_WORTH.format(f"weight{i}", f"term{i}") for i in range(len(terms)))
    cursor = await connection.execute(
        _CANDIDATES.format(worth=worth).encode(),
        {
            **{f"weight{i}": weight for i, weight in enumerate(weights.values())},
            **{f"term{i}": term for i, term in enumerate(terms)},
            "words": list(weights),
            "any": " | ".join(terms),
            "since": since,
            "customer": customer_id,
            "most": _MAX_CANDIDATES,
        },
    )
    return rank(_candidates(await cursor.fetchall()), collection)[:limit]


async def _completions(connection: "AsyncConnection[Any]", start: str) -> dict[str, int]:
    cursor = await connection.execute(_COMPLETIONS, {"start": start, "most": _MAX_COMPLETIONS})
    return {row["lexeme"]: row["holding"] for row in await cursor.fetchall()}


def _candidates(rows: list[dict[str, Any]]) -> list[Candidate]:
    heads: dict[int, dict[str, Any]] = {}
    places: dict[int, dict[str, list[int]]] = {}
    titles: dict[int, set[str]] = {}
    for row in rows:
        heads[row["id"]] = row
        places.setdefault(row["id"], {})[row["lexeme"]] = row["positions"]
        if row["in_title"]:
            titles.setdefault(row["id"], set()).add(row["lexeme"])
    return [
        Candidate(
            passage=passage,
            context=head["context"],
            words=head["words"],
            context_words=head["context_words"],
            context_passages=head["context_passages"],
            places=places[passage],
            in_title=frozenset(titles.get(passage, ())),
        )
        for passage, head in heads.items()
    ]


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
