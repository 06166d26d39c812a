"""`make run`: start everything on one machine, keep it going, stop it all.

Reads PORT (8000), HOST (127.0.0.1), DATA_DIR (.data), FACTORY_ADMIN_PASSWORD, RUNTIME_DRIVER
(docker or process; found by itself when not set) and VERBOSE=1 (all output here, not in logs).
`python -m config.run manage <command>` runs a management command beside it.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from config import run_work
from config.embedded import DataFolder, EmbeddedServers, StartupError
from config.embedded_folder import LOOPBACK, write_private
from config.embedded_process import wait_until
from config.run_parts import Backoff, Call, Forked, Part
from config.run_runtime import Runtime, find_runtime

if TYPE_CHECKING:
    from types import FrameType

    from config.embedded_postgres import EmbeddedPostgres
    from config.embedded_redis import EmbeddedRedis

_HEALTH_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_HIGHEST_PORT = 65_535
_SETTINGS = "config.settings.local"


class _Stop(BaseException):
    """A person or the system asked to stop."""


class EmbeddedPart:
    """An embedded server as a part that can be started again."""

    def __init__(self, name: str, server: EmbeddedPostgres | EmbeddedRedis) -> None:
        self.name = name
        self._server = server

    def start(self) -> None:
        """Start it; return when it answers."""
        self._server.start()

    def ended(self) -> str:
        """Return how it ended, or '' while it runs."""
        process = self._server.process
        if process is None:
            return "not started"
        status = process.poll()
        return "" if status is None else f"exit {status}"

    def stop(self, *, hurry: bool) -> None:
        """Stop it."""
        self._server.stop(hurry=hurry)


class Launcher:
    """One start of everything, from the environment `given`."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._host = given.get("HOST") or LOOPBACK
        self._port = _port_of(given.get("PORT") or "8000")
        self._verbose = given.get("VERBOSE") == "1"
        self._folder = DataFolder(Path(given.get("DATA_DIR") or ".data"))
        self._sockets: list[socket.socket] = []
        self._parts: list[Part] = []
        self._calls: list[Call] = []
        self._may_have_agents = False

    def run(self) -> NoReturn:
        """Start, then look after everything until `_Stop`. Raises StartupError."""
        started = time.monotonic()
        gc.disable()  # nothing that is imported now becomes garbage
        self._folder.lock()
        self._sockets = _listen_for_people(self._host, self._port)
        _say(f"Agent Factory starts, with its data in {self._folder.path}")
        installation = self._folder.plain("installation", lambda: secrets.token_hex(4))
        wanted = self._given.get("RUNTIME_DRIVER", "")
        probe = self._call("runtime", partial(find_runtime, wanted, installation))
        _import_libraries()
        runtime = Runtime(**probe.result())
        _say(f"  Runtime: {runtime.note}.")
        self._start_servers(runtime, installation)
        prepare = self._call("prepare", run_work.prepare)
        run_work.load_pages()
        for line in prepare.result():
            _say(f"  {line}")
        self._start_process("web", partial(run_work.serve, self._sockets), self._folder.unlock)
        run_work.load_queue()
        self._start_process("worker", run_work.work, self._release)
        self._may_have_agents = True
        self._start_process("beat", run_work.keep_schedule, self._release)
        gc.enable()
        image = None
        if runtime.driver == "docker":
            image = self._call("base-image", run_work.find_base_image)
        self._wait_for_health()
        _say(f"Agent Factory is ready: {os.environ['PUBLIC_URL']}")
        _say(
            f"  Sign in as admin · logs in {self._folder.logs} · stop with Ctrl-C "
            f"({time.monotonic() - started:.1f} s to start)"
        )
        self._look_after(image)

    def stop(self, *, hurry: bool = False) -> None:
        """Stop everything, what depends on others first."""
        for call in self._calls:
            call.cancel()
        for part in reversed(self._parts):
            if isinstance(part, EmbeddedPart) and not hurry:
                # Agents still have their queue and memory while they finish.
                self._stop_agents()
            part.stop(hurry=hurry)
        for server in self._sockets:
            server.close()
        self._folder.unlock()

    def _stop_agents(self) -> None:
        if not self._may_have_agents:
            return
        self._may_have_agents = False
        try:
            count = self._call("stop-agents", run_work.stop_agents).result()
        except StartupError as error:
            _say(f"  Agents were not stopped: {error}")
        else:
            if count:
                noun = "agent" if count == 1 else "agents"
                _say(f"  {count} {noun} stopped; the next start runs them again.")

    def _start_servers(self, runtime: Runtime, installation: str) -> None:
        servers = EmbeddedServers(self._folder, addresses=runtime.addresses())
        self._parts += [
            EmbeddedPart("postgres", servers.postgres),
            EmbeddedPart("redis", servers.redis),
        ]
        servers.begin()
        self._fill_environment(servers, runtime, installation)
        run_work.load_models()
        servers.wait_ready()

    def _fill_environment(
        self, servers: EmbeddedServers, runtime: Runtime, installation: str
    ) -> None:
        hosts = [LOOPBACK, *runtime.addresses()]
        egress_port = self._folder.port("egress", hosts)
        person_host = LOOPBACK if self._host in ("0.0.0.0", "::") else self._host  # noqa: S104 - compared, not opened
        environment = {
            **servers.urls.environment(),
            "DJANGO_SETTINGS_MODULE": _SETTINGS,
            "SECRET_KEY": self._folder.secret("django", lambda: secrets.token_urlsafe(64)),
            "SECRETS_KEYS": self._folder.secret("fernet", _new_fernet_key),
            "RUNTIME_DRIVER": runtime.driver,
            "INSTALLATION_ID": installation,
            "DATA_DIR": str(self._folder.path),
            "EGRESS_PORT": str(egress_port),
            "EGRESS_HOSTS": ",".join(hosts),
            "PUBLIC_URL": self._given.get("PUBLIC_URL") or f"http://{person_host}:{self._port}",
        }
        if "agents" in runtime.gateways:
            environment["AGENT_DATABASE_HOST"] = runtime.gateways["agents"]
            environment["AGENT_REDIS_HOST"] = runtime.gateways["agents"]
        if person_host != LOOPBACK or self._host != person_host:
            names = [LOOPBACK, "localhost", "[::1]", person_host, socket.gethostname()]
            environment["ALLOWED_HOSTS"] = self._given.get("ALLOWED_HOSTS") or ",".join(names)
        os.environ.update(environment)
        # For `manage`, which a person may run beside this.
        write_private(self._folder.secrets / "environment", json.dumps(environment))
        from config.server import listen

        for host in hosts:
            self._sockets += listen(host, egress_port)

    def _start_process(
        self, name: str, work: Callable[[], int], release: Callable[[], None]
    ) -> None:
        process = Forked(name, work, self._folder, release=release, verbose=self._verbose)
        process.start()
        self._parts.append(process)

    def _wait_for_health(self) -> None:
        def answers() -> bool:
            for part in self._parts:
                if how := part.ended():
                    raise StartupError(
                        f"The {part.name} process did not start ({how}): see "
                        f"{self._folder.logs / part.name}.log."
                    )
            return _is_healthy(LOOPBACK if self._host == "0.0.0.0" else self._host, self._port)  # noqa: S104 - compared, not opened

        if not wait_until(answers, seconds=_HEALTH_SECONDS):
            raise StartupError(
                f"The web server does not answer after {_HEALTH_SECONDS:.0f} seconds: see "
                f"{self._folder.logs / 'web'}.log."
            )

    def _look_after(self, image: Call | None) -> NoReturn:
        backoffs = {part.name: Backoff() for part in self._parts}
        due: dict[str, float] = {}
        while True:
            if image is not None and image.is_done():
                _report_image(image)
                image = None
            for part in self._parts:
                how = part.ended()
                if not how:
                    continue
                if part.name not in due:
                    pause = backoffs[part.name].next_pause()
                    due[part.name] = time.monotonic() + pause
                    _say(
                        f"  {part.name} ended ({how}); starting it again in {pause:.0f} s. See "
                        f"{self._folder.logs / part.name}.log."
                    )
                elif time.monotonic() >= due[part.name]:
                    del due[part.name]
                    self._start_again(part)
                    backoffs[part.name].started()
            time.sleep(_LOOK_SECONDS)

    def _start_again(self, part: Part) -> None:
        try:
            part.start()
        except StartupError as error:
            _say(f"  {error}")
        else:
            _say(f"  {part.name} runs again.")

    def _call(self, name: str, work: Callable[[], Any]) -> Call:
        call = Call(name, work, self._folder.log(name), release=self._release)
        self._calls.append(call)
        return call

    def _release(self) -> None:
        """Close, in a forked process, what belongs to the launcher and the web server."""
        self._folder.unlock()
        for server in self._sockets:
            server.close()


def main(arguments: list[str]) -> int:
    """Run the launcher, or a management command beside it; return the exit code."""
    try:
        if arguments[:1] == ["manage"]:
            return _manage(arguments[1:])
        launcher = Launcher(os.environ)
    except StartupError as error:
        _complain(error)
        return 1
    return _run(launcher)


def _run(launcher: Launcher) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ask_to_stop)
    try:
        launcher.run()
    except StartupError as error:
        _complain(error)
        launcher.stop(hurry=True)
        return 1
    except _Stop:
        _say("\nAgent Factory stops; Ctrl-C again to hurry.")
    except BaseException:
        launcher.stop(hurry=True)
        raise
    try:
        launcher.stop()
    except _Stop:
        launcher.stop(hurry=True)
    _say("Agent Factory has stopped.")
    return 0


def _ask_to_stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stop


def _manage(arguments: list[str]) -> int:
    file = DataFolder(Path(os.environ.get("DATA_DIR") or ".data")).secrets / "environment"
    try:
        os.environ.update(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise StartupError(
            f"{file} is missing: start Agent Factory (make run) with this data folder first, and "
            "run the command while it runs."
        ) from error
    run_work.manage(arguments)
    return 0


def _import_libraries() -> None:
    """Import what needs no settings while other processes are busy."""
    import django.contrib.admin
    import psycopg
    import uvicorn

    del django, psycopg, uvicorn


def _port_of(text: str) -> int:
    with suppress(ValueError):
        if 0 < int(text) <= _HIGHEST_PORT:
            return int(text)
    raise StartupError(f"PORT={text} is not a port: give a number from 1 to {_HIGHEST_PORT}.")


def _listen_for_people(host: str, port: int) -> list[socket.socket]:
    from config.server import listen

    try:
        return listen(host, port)
    except StartupError as error:
        raise StartupError(
            f"{error} Stop the program that uses it, or choose another one: "
            f"make run PORT={port + 1 if port < _HIGHEST_PORT else 8000}"
        ) from error


def _new_fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _is_healthy(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _report_image(image: Call) -> None:
    try:
        _say(f"  {image.result()}")
    except StartupError as error:
        _say(f"  Base image: not there, so agents cannot be deployed yet. {error}")


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _complain(error: StartupError) -> None:
    sys.stderr.write(f"{error}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
