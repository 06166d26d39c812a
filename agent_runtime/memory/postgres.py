"""The agent's connections to its own schema: opened when used, closed when idle.

psycopg is imported with the first connection, for it takes 12 MB that an agent which nobody calls
does without. Until then reachability is asked with the protocol's own eight-byte question.
"""

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from agent_runtime.errors import Code, Problem
from agent_runtime.logs import describe_failure, get_logger

if TYPE_CHECKING:
    import psycopg
    from psycopg import AsyncConnection

_CONNECT_SECONDS: Final = 5
_IDLE_SECONDS: Final = 60.0
_STATEMENT_MS: Final = 30_000
# SSLRequest: length and code, answered with one byte, S or N, by any PostgreSQL.
# https://www.postgresql.org/docs/current/protocol-message-formats.html
_SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)
_IDENTIFIER: Final = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")


class Database:
    """A few connections to one schema, each used by one task at a time."""

    def __init__(self, url: str, schema: str | None, *, connections: int) -> None:
        if schema is not None and not _IDENTIFIER.match(schema):
            raise ValueError("not a schema's name")
        self._url = url
        self._schema = schema
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[tuple[AsyncConnection[Any], float]] = []
        self._connected_once = False
        self._unprepared: str | None = "The tables have not been prepared yet."
        self._sweeper: asyncio.Task[None] | None = None
        # Set when the tables turned out to be gone, for whoever makes them.
        self.lost = asyncio.Event()

    def prepared(self) -> None:
        """Note that the tables are there."""
        self._unprepared = None
        self.lost.clear()

    def not_prepared(self, failure: str) -> None:
        """Note why the tables are not there."""
        self._unprepared = failure

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[AsyncConnection[Any]]":
        """Lend a connection in autocommit mode.

        Raises:
            Problem: ``dependency_down``, when the server cannot be reached, went away or refuses.

        """
        import psycopg

        async with self._slots:
            try:
                connection = await self._take()
                try:
                    yield connection
                except BaseException:
                    await connection.close()
                    raise
                self._idle.append((connection, monotonic()))
            except psycopg.Error as error:
                self._note(error)
                raise Problem(
                    Code.DEPENDENCY_DOWN,
                    "The agent's database is of no use now: call again in a few seconds.",
                    retry_after=5,
                ) from error

    def _note(self, error: "psycopg.Error") -> None:
        """Log the cause; where the tables are gone, ask for them to be made again."""
        from psycopg.errors import UndefinedTable

        get_logger().warning("postgresql failed", **describe_failure(error))
        if isinstance(error, UndefinedTable):
            self.not_prepared("The tables are gone.")
            self.lost.set()

    async def failure(self, seconds: float) -> str | None:
        """Return why the database is of no use now, or ``None`` when it is well."""
        if self._unprepared is not None:
            return self._unprepared
        try:
            async with asyncio.timeout(seconds):
                if not self._connected_once:
                    return await self._ask_port()
                async with self.connection() as connection:
                    await connection.execute("SELECT 1")
        except TimeoutError:
            return "It does not answer in time."
        except Problem:
            return "It cannot be reached."
        return None

    async def close(self) -> None:
        """Close every connection that is not lent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        idle, self._idle = self._idle, []
        for connection, _since in idle:
            await connection.close()

    async def _take(self) -> "AsyncConnection[Any]":
        while self._idle:
            connection, _since = self._idle.pop()
            if not connection.closed and not connection.broken:
                return connection
        import psycopg
        from psycopg.rows import dict_row

        options = f"-c statement_timeout={_STATEMENT_MS}"
        if self._schema is not None:
            options += f" -c search_path={self._schema},public"
        opened = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            options=options,
            application_name="agent",
            row_factory=dict_row,
        )
        self._connected_once = True
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.create_task(self._close_idle())
        return opened

    async def _close_idle(self) -> None:
        """Close connections that nobody has used for a minute, then end."""
        while True:
            await asyncio.sleep(_IDLE_SECONDS)
            now = monotonic()
            old = [pair for pair in self._idle if now - pair[1] > _IDLE_SECONDS]
            self._idle = [pair for pair in self._idle if pair not in old]
            for connection, _since in old:
                await connection.close()
            if not self._idle:
                self._connected_once = False
                return

    async def _ask_port(self) -> str | None:
        parts = urlsplit(self._url)
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 5432)
            try:
                writer.write(_SSL_REQUEST)
                answer = await reader.readexactly(1)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        except (OSError, EOFError) as error:
            return f"It cannot be reached ({type(error).__name__})."
        return None if answer in (b"S", b"N") else "What answers there is not PostgreSQL."
