"""The checks at start, in a child process, so that what they load does not stay in memory.

The child holds the specification against its schema (7 MB of libraries) and prepares the agent's
tables (12 MB). The parent loads the server meanwhile, reads the verdicts from a pipe, and stays
as small as an agent that nobody calls should be.
"""

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from agent_runtime.credentials import read_credentials
from agent_runtime.errors import StartError
from agent_runtime.logs import configure_logs
from agent_runtime.settings import Settings
from agent_runtime.spec import JsonObject

_SPEC_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_LINE: Final = b"\n"


class Preflight:
    """A child at work, and the pipe on which it tells what it found: one JSON line per check."""

    def __init__(self, descriptor: int, child: int) -> None:
        self.descriptor = descriptor
        self._child = child
        self._rest = b""

    @classmethod
    def start(cls, settings: Settings, raw: JsonObject, table: Mapping[str, Any]) -> "Preflight":
        """Fork the child. Call it before any thread or event loop exists."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _in_child(writing, settings, raw, table)
        os.close(writing)
        return cls(reading, child)

    def check_spec(self) -> None:
        """Wait for the verdict on the specification.

        Raises:
            StartError: why it is not good.

        """
        if failure := self._spec_failure():
            raise StartError(failure)

    def _spec_failure(self) -> str | None:
        deadline = time.monotonic() + _SPEC_SECONDS
        while _LINE not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
                return "The check of the specification did not end: start the agent again."
            part = os.read(self.descriptor, 65_536)
            if not part:
                return "The check of the specification broke off: start the agent again."
            self._rest += part
        line, _, self._rest = self._rest.partition(_LINE)
        return _verdict(line)

    async def postgresql_failure(self) -> str | None:
        """Wait for the verdict on the tables: ``None`` when they are there."""
        import asyncio

        loop = asyncio.get_running_loop()
        try:
            while _LINE not in self._rest:
                readable = asyncio.Event()
                loop.add_reader(self.descriptor, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(self.descriptor)
                part = os.read(self.descriptor, 65_536)
                if not part:
                    return "The tables have not been prepared yet."
                self._rest += part
            return _verdict(self._rest.partition(_LINE)[0])
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the child."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, os.WNOHANG)


def _verdict(line: bytes) -> str | None:
    failure = json.loads(line)
    return None if failure is None else str(failure)


def _in_child(
    descriptor: int, settings: Settings, raw: JsonObject, table: Mapping[str, Any]
) -> None:
    status = 0
    try:
        from agent_runtime.spec_check import check_spec, check_table

        failure: str | None = None
        try:
            check_spec(raw)
            check_table(raw, table)
        except StartError as error:
            failure = str(error)
        _tell(descriptor, failure)
        if failure is None and raw.get("memory", {}).get("kind") in ("long_term", "hybrid"):
            configure_logs()
            _tell(descriptor, _prepare_tables(settings))
    except BaseException as error:  # noqa: BLE001 - the parent is told by the closed pipe
        sys.stderr.write(f"The checks at start broke off: {type(error).__name__}: {error}\n")
        status = 1
    finally:
        os._exit(status)


def _prepare_tables(settings: Settings) -> str | None:
    import asyncio

    from agent_runtime.memory.postgres import Database
    from agent_runtime.memory.tables import prepare_tables

    deadline = time.monotonic() + settings.credentials_wait_seconds
    credentials = read_credentials(settings.credentials_file)
    while credentials is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        credentials = read_credentials(settings.credentials_file)
    if credentials is None or credentials.database_url is None:
        return "The credentials name no database_url."
    database = Database(credentials.database_url, credentials.database_schema, connections=1)
    return asyncio.run(prepare_tables(database))


def _tell(descriptor: int, failure: str | None) -> None:
    os.write(descriptor, json.dumps(failure).encode() + _LINE)
