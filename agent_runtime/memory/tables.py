"""The tables of a long-term memory, made by the agent in its own schema.

Every statement may be run again, and agents that start together take turns under an advisory
lock. ``terms`` is what the full-text index holds: a passage's words, the title's with weight A.
"""

from typing import Final, LiteralString

from agent_runtime.errors import Problem
from agent_runtime.memory.postgres import Database

# Text search configurations that come with PostgreSQL, by ISO 639 code.
CONFIGURATIONS: Final[dict[str, LiteralString]] = {
    "ar": "arabic", "da": "danish", "de": "german", "en": "english", "es": "spanish",
    "fi": "finnish", "fr": "french", "hu": "hungarian", "id": "indonesian", "it": "italian",
    "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sv": "swedish", "tr": "turkish",
}  # fmt: skip
FALLBACK: Final[LiteralString] = "simple"

_STATEMENTS: Final[tuple[LiteralString, ...]] = (
    """CREATE TABLE IF NOT EXISTS contexts (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        context_id text NOT NULL UNIQUE,
        customer_id text NOT NULL,
        body text NOT NULL,
        metadata jsonb NOT NULL,
        passages integer NOT NULL,
        words integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS contexts_by_customer ON contexts (customer_id, id DESC)",
    "CREATE INDEX IF NOT EXISTS contexts_by_age ON contexts (created_at)",
    """CREATE TABLE IF NOT EXISTS passages (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        context bigint NOT NULL REFERENCES contexts ON DELETE CASCADE,
        first_character integer NOT NULL,
        characters integer NOT NULL,
        words integer NOT NULL,
        terms tsvector NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS passages_of_context ON passages (context)",
    """CREATE INDEX IF NOT EXISTS passages_by_term ON passages USING gin (terms)
        WITH (fastupdate = off)""",
)
_LOCK: Final = 0x61666D74


def configuration_for(languages: list[str]) -> str:
    """Return the text search configuration of the first language; ``simple`` for an unknown one."""
    code = languages[0].partition("-")[0] if languages else "en"
    return CONFIGURATIONS.get(code, FALLBACK)


async def prepare_tables(database: Database) -> str | None:
    """Make the tables where they are missing; return why they could not be made, if so."""
    import psycopg

    try:
        async with database.connection() as connection, connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))", [_LOCK]
            )
            for statement in _STATEMENTS:
                await connection.execute(statement)
    except Problem as problem:
        cause = problem.__cause__
        return f"It cannot be reached ({type(cause).__name__})."
    except psycopg.Error as error:
        return f"The tables cannot be made: {error.diag.message_primary or type(error).__name__}."
    finally:
        await database.close()
    return None
