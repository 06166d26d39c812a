"""The platform as processes of its own: web server, Celery worker and beat, for real."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from config.embedded_folder import LOOPBACK, free_port
from config.embedded_postgres import PLATFORM_ROLE
from config.embedded_process import last_words, spawn, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.services import TestServices

_DATABASE = "platform"
_READY_SECONDS = 60.0
_PREPARE = "from config.run_work import load_models, prepare; load_models(); prepare()"
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "web": ("-m", "config.server"),
    "worker": ("-c", "from config.run_work import work; raise SystemExit(work())"),
    "beat": ("-c", "from config.run_work import keep_schedule; raise SystemExit(keep_schedule())"),
}


class RunningPlatform:
    """Processes against the database `platform`, prepared as `make run` does.

    `start`, `stop` and `kill` take a process's name: `web`, `worker` or `beat`. The processes have
    an installation id, a Redis database and networks of their own, so that what other tests make
    in this process is out of their sight. Drive it over HTTP; within `models()`, which the fixture
    `platform` enters, the ORM of the test reads and writes the same rows. The first admin is
    `admin` with `admin_password`.
    """

    def __init__(self, services: TestServices) -> None:
        self._services = services
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: Path = services.folder.logs
        self.servers = services.servers
        self.admin_password = "a-long-enough-passphrase"
        self.installation = services.platform_installation
        hosts = [LOOPBACK, *dict.fromkeys(services.platform_gateways.values())]
        self.port = free_port([LOOPBACK])
        self.egress_port = free_port(hosts, besides={self.port})
        self.url = f"http://{LOOPBACK}:{self.port}"
        gateways = services.platform_gateways
        self.environment = {
            **os.environ,
            "DATABASE_URL": _with_path(services.environment["DATABASE_URL"], _DATABASE),
            "REDIS_URL": _with_path(services.environment["REDIS_URL"], "1"),
            "INSTALLATION_ID": self.installation,
            "FACTORY_ADMIN_PASSWORD": self.admin_password,
            "HOST": LOOPBACK,
            "PORT": str(self.port),
            "PUBLIC_URL": self.url,
            "EGRESS_PORT": str(self.egress_port),
            "EGRESS_HOSTS": ",".join(hosts),
        }
        if gateways:
            self.environment["AGENT_DATABASE_HOST"] = gateways["agents"]
            self.environment["AGENT_REDIS_HOST"] = gateways["agents"]

    def make_database(self) -> None:
        """Make the platform's database anew, with its first admin and the template library."""
        with self.servers.postgres.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {_DATABASE} OWNER {PLATFORM_ROLE}")
        self._python("-c", _PREPARE)

    def manage(self, *arguments: str) -> str:
        """Run a management command on the platform's database; return its output."""
        return self._python("manage.py", *arguments)

    def start(self, name: str) -> None:
        """Start a process; the web server answers when this returns."""
        assert not self.runs(name)
        log = self._logs / f"platform-{name}.log"
        with log.open("ab") as file:
            self._processes[name] = spawn(
                [sys.executable, *_COMMANDS[name]],
                folder=self._logs.__class__.cwd(),
                log=file,
                environment=self.environment,
                death_signal=signal.SIGQUIT if name == "worker" else signal.SIGTERM,
            )
        if name == "web":
            ready = wait_until(
                lambda: self._answers() or not self.runs(name), seconds=_READY_SECONDS
            )
            assert ready and self.runs(name), last_words(log, "Error")  # noqa: PT018 - one fact

    def stop(self, name: str) -> None:
        """Stop a process in its own time, as a deployment would."""
        if name in self._processes:
            stop(self._processes.pop(name), first=signal.SIGTERM, seconds=10)

    def kill(self, name: str) -> None:
        """Kill a process and its children at once (SIGKILL)."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def runs(self, name: str) -> bool:
        """Tell whether a process runs."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def ensure_running(self) -> None:
        """Start what a test stopped or killed, and wait until the servers are used again."""
        for name in _COMMANDS:
            if not self.runs(name):
                self._processes.pop(name, None)
                self.start(name)
        assert wait_until(self._has_servers, seconds=_READY_SECONDS, pause=0.2)

    def start_worker(self) -> None:
        """Start the Celery worker."""
        self.start("worker")

    def kill_worker(self) -> None:
        """Kill the Celery worker and its children at once (SIGKILL)."""
        self.kill("worker")

    def log(self, name: str) -> str:
        """Return what a process has written."""
        return (self._logs / f"platform-{name}.log").read_text(errors="replace")

    def stop_all(self) -> None:
        """Stop every process."""
        for name in ("worker", "beat", "web"):
            self.stop(name)

    @contextmanager
    def models(self) -> Iterator[None]:
        """Let the ORM of this process work on the platform's database."""
        from django.db import connection

        name = connection.settings_dict["NAME"]
        leave_database()
        connection.settings_dict["NAME"] = _DATABASE
        try:
            yield
        finally:
            leave_database()
            connection.settings_dict["NAME"] = name

    def _python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _has_servers(self) -> bool:
        """Ask the web server whether it reaches PostgreSQL and Redis, which tests restart."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.request("GET", "/ready")
            checks = json.loads(connection.getresponse().read())["checks"]
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return all(c["status"] == "ok" for c in checks if c["name"] in ("database", "redis"))

    def _answers(self) -> bool:
        line = http.client.HTTPConnection(LOOPBACK, self.port, timeout=5)
        try:
            line.request("GET", "/health")
            return line.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            line.close()


def start_platform(services: TestServices) -> RunningPlatform:
    """Make the platform's database and start all processes."""
    leave_database()
    services.open_for_platform()
    platform = RunningPlatform(services)
    platform.make_database()
    platform.ensure_running()
    return platform


@contextmanager
def impatient() -> Iterator[None]:
    """Within it, waiting for what another connection holds fails after three seconds."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '3s'")
    try:
        yield
    finally:
        # The connection serves later tests, too.
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")


def leave_database() -> None:
    """Close this process's connections, and the pool that keeps some open."""
    from django.db import connection

    connection.close()
    if hasattr(connection, "close_pool"):
        connection.close_pool()


def _with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))
