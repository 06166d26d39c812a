"""From the command line to a serving agent, and back out again in good order."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from agent_runtime.credentials import Credentials, read_credentials
from agent_runtime.errors import StartError
from agent_runtime.logs import configure_logs, get_logger, hide
from agent_runtime.preflight import Preflight
from agent_runtime.settings import Settings
from agent_runtime.spec import Spec, read_spec_file

if TYPE_CHECKING:
    from agent_runtime.command_queue import CommandQueue
    from agent_runtime.context import Handler
    from agent_runtime.runtime import Runtime

_CREDENTIALS_POLL: Final = 0.1
_MAX_BACKOFF: Final = 10.0
_STOP_MARGIN: Final = 2.0


def serve(table: "Mapping[str, Handler]") -> None:
    """Serve the capabilities in ``table`` until SIGTERM or SIGINT, then exit with status 0.

    Exits with status 2 and one sentence on standard error when the agent cannot start.
    """
    try:
        settings = Settings.from_environment()
        raw = read_spec_file(settings.spec_file)
        preflight = Preflight.start(settings, raw, table)
        # Loaded while the child checks.
        import uvicorn  # noqa: F401 - the server, needed below

        from agent_runtime.app import App  # noqa: F401 - as above

        preflight.check_spec()
        configure_logs()
        spec = Spec.from_json(raw)
        asyncio.run(_serve(settings, spec, table, preflight))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.exit(0)


async def _serve(
    settings: Settings, spec: Spec, table: "Mapping[str, Handler]", preflight: Preflight
) -> None:
    import uvicorn

    from agent_runtime.app import App
    from agent_runtime.dependencies import HealthReport
    from agent_runtime.invoker import Invoker
    from agent_runtime.runtime import Runtime

    class Server(uvicorn.Server):
        """Leaves the signals to the agent, which has a queue to drain as well."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    runtime = Runtime(settings, spec)
    invoker = Invoker(runtime, table)
    server = Server(
        uvicorn.Config(
            App(runtime, invoker, HealthReport(runtime)),
            host=settings.host,
            port=settings.port,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_seconds,
            timeout_keep_alive=75,
        )
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    log = get_logger()
    log.info("agent starting", agent_id=spec.agent_id, digest=spec.digest, mode=settings.mode)
    queue = _QueueSide(runtime, invoker, preflight)
    web = asyncio.create_task(_serve_web(server))
    side = asyncio.create_task(queue.run())
    watch = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({web, watch, side}, return_when=asyncio.FIRST_COMPLETED)
        for task in (web, side):
            if task.done():
                # The port is taken, or the credentials are not usable.
                task.result()
    finally:
        watch.cancel()
        log.info("agent stopping")
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.shutdown_seconds + _STOP_MARGIN):
                await asyncio.gather(web, queue.stop(), return_exceptions=True)
        await queue.close(side)
        await runtime.close()
        log.info("agent stopped")


async def _serve_web(server: "object") -> None:
    import uvicorn

    assert isinstance(server, uvicorn.Server)  # noqa: S101 - told to the type checker
    try:
        await server.serve()
    except SystemExit:
        raise StartError(
            f"The address {server.config.host}:{server.config.port} cannot be used: "
            "stop what holds it, or set AGENT_PORT."
        ) from None


class _QueueSide:
    """Waits for the credentials, prepares the memory, and runs the queue."""

    def __init__(self, runtime: "Runtime", invoker: object, preflight: Preflight) -> None:
        self._runtime = runtime
        self._invoker = invoker
        self._preflight = preflight
        self._queue: CommandQueue | None = None
        self._tables: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run for as long as the agent does.

        Raises:
            StartError: the credentials are there, and not usable.

        """
        runtime = self._runtime
        credentials = await self._credentials()
        hide(credentials.secrets())
        runtime.connect(credentials)
        self._tables = asyncio.create_task(self._prepare())
        if credentials.redis_url is None:
            await asyncio.Event().wait()
            return
        from agent_runtime.command_queue import CommandQueue
        from agent_runtime.invoker import Invoker

        assert isinstance(self._invoker, Invoker)  # noqa: S101 - told to the type checker
        self._queue = CommandQueue(
            runtime, self._invoker, credentials.redis_url, credentials.key_prefix
        )
        await self._queue.event("started")
        await self._queue.run()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Stop reading commands, and wait for those at work."""
        if self._queue is not None:
            await self._queue.stop()
            await self._queue.drain()

    async def close(self, task: "asyncio.Task[None]") -> None:
        """Give up what is left."""
        if self._queue is not None:
            await self._queue.close()
        tasks = [t for t in (task, self._tables) if t is not None]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _credentials(self) -> Credentials:
        settings, spec = self._runtime.settings, self._runtime.spec
        waited = 0.0
        while True:
            found = read_credentials(settings.credentials_file)
            if found is not None:
                return found
            if waited >= settings.credentials_wait_seconds and spec.memory.kind == "none":
                get_logger().warning("no credentials: calls need no token, and there is no queue")
                return Credentials()
            await asyncio.sleep(_CREDENTIALS_POLL)
            waited += _CREDENTIALS_POLL

    async def _prepare(self) -> None:
        """Have the tables made: by the child at start, by ourselves when it could not."""
        database = self._runtime.database
        if database is None:
            self._preflight.close()
            return
        failure = await self._preflight.postgresql_failure()
        log = get_logger()
        while True:
            backoff = 0.5
            while failure is not None:
                database.not_prepared(failure)
                log.warning("postgresql not ready", detail=failure)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
                failure = await self._make_tables()
            database.prepared()
            log.info("connected to postgresql")
            await database.lost.wait()
            failure = await self._make_tables()

    async def _make_tables(self) -> str | None:
        from agent_runtime.memory.tables import prepare_tables

        if self._runtime.database is None:
            return None
        return await prepare_tables(self._runtime.database)
