"""A small Redis client: the RESP2 protocol over asyncio, one connection, commands in order.

https://redis.io/docs/latest/develop/reference/protocol-spec/ . An agent uses some twenty commands
of one server; the general client library takes 27 MB of memory, this one a fraction of one.
"""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import unquote, urlsplit

Reply = bytes | int | None | list["Reply"]
Argument = bytes | str | int | float

_CONNECT_SECONDS: Final = 3.0
_MAX_BULK: Final = 64 * 1_048_576
_READ_LIMIT: Final = 1_048_576


class RedisError(Exception):
    """The server refused a command; the first word of the message is its kind."""

    @property
    def kind(self) -> str:
        """``WRONGTYPE``, ``NOGROUP``, ``NOPERM``, …."""
        return str(self).partition(" ")[0]


class RedisUnavailable(Exception):
    """The server cannot be reached, or went away in the middle of a command."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the server is and as whom to sign in."""

    host: str
    port: int
    database: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read ``redis://user:password@host:port/0`` (``rediss`` for TLS)."""
        parts = urlsplit(url)
        number = parts.path.strip("/")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or 6379,
            database=int(number) if number.isdigit() else 0,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "rediss",
        )


class RedisClient:
    """One connection that opens itself when needed and is thrown away after any failure.

    Calls from several tasks are written in turn and answered in turn. A blocking read needs a
    client of its own.
    """

    def __init__(self, address: RedisAddress, *, timeout_seconds: float = 5.0) -> None:
        self._address = address
        self._timeout = timeout_seconds
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def execute(self, *command: Argument, timeout_seconds: float | None = None) -> Reply:
        """Send one command and return its answer.

        Raises:
            RedisError: the server refused it.
            RedisUnavailable: no connection, or none within the time.

        """
        (reply,) = await self._exchange([command], timeout_seconds)
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def pipeline(self, *commands: tuple[Argument, ...]) -> list[Reply]:
        """Send several commands at once; raise the first refusal after all were answered."""
        replies = await self._exchange(list(commands), None)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return [reply for reply in replies if not isinstance(reply, RedisError)]

    async def transaction(self, *commands: tuple[Argument, ...]) -> list[Reply]:
        """Run the commands in one ``MULTI``/``EXEC``: all of them or none."""
        replies = await self.pipeline(("MULTI",), *commands, ("EXEC",))
        answers = replies[-1]
        if not isinstance(answers, list):
            raise RedisUnavailable("The transaction was not carried out.")
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return answers

    async def close(self) -> None:
        """Close the connection; the next command would open a new one."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _exchange(
        self, commands: list[tuple[Argument, ...]], timeout_seconds: float | None
    ) -> list[Reply | RedisError]:
        async with self._lock:
            try:
                if self._writer is None:
                    await self._connect()
                async with asyncio.timeout(timeout_seconds or self._timeout):
                    return await self._send(commands)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
                await self.close()
                raise RedisUnavailable(_reason(error)) from error
            except BaseException:
                # Cancelled in the middle: the answers still to come belong to nobody.
                await self.close()
                raise

    async def _connect(self) -> None:
        address = self._address
        async with asyncio.timeout(_CONNECT_SECONDS):
            self._reader, self._writer = await asyncio.open_connection(
                address.host,
                address.port,
                limit=_READ_LIMIT,
                ssl=ssl.create_default_context() if address.tls else None,
            )
            greeting: list[tuple[Argument, ...]] = []
            if address.password is not None:
                greeting.append(("AUTH", address.user or "default", address.password))
            if address.database:
                greeting.append(("SELECT", address.database))
            if greeting:
                for reply in await self._send(greeting):
                    if isinstance(reply, RedisError):
                        raise RedisUnavailable(f"The server refuses the sign-in ({reply.kind}).")

    async def _send(self, commands: list[tuple[Argument, ...]]) -> list[Reply | RedisError]:
        if self._writer is None or self._reader is None:
            raise EOFError
        self._writer.write(b"".join(encode(command) for command in commands))
        await self._writer.drain()
        return [await _read_reply(self._reader) for _ in commands]


def encode(command: tuple[Argument, ...]) -> bytes:
    """Return the command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


async def _read_reply(reader: asyncio.StreamReader) -> Reply | RedisError:
    line = await reader.readuntil(b"\r\n")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    if kind == b"-":
        return RedisError(rest.decode(errors="replace"))
    length = int(rest)
    if length < 0:
        return None
    if kind == b"$" and length <= _MAX_BULK:
        return (await reader.readexactly(length + 2))[:-2]
    if kind == b"*":
        # A refusal inside EXEC stands in its place; `transaction` raises it.
        return [await _read_reply(reader) for _ in range(length)]  # type: ignore[misc]  # a type that holds itself
    raise ValueError("The server does not speak the Redis protocol.")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "It does not answer in time."
    if isinstance(error, asyncio.IncompleteReadError | EOFError):
        return "It closed the connection."
    if isinstance(error, OSError):
        return f"It cannot be reached ({error.strerror or type(error).__name__})."
    return "It does not speak the Redis protocol."
