"""What the data folder keeps between starts besides the data: secrets, ports, one lock."""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

from config.embedded_process import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"

# Below the range from which systems take ports for outgoing connections, so that a port is
# still free at the next start.
_PORTS = range(20_000, 32_000)
_PORT_TRIES = 200
_LOG_KEEP_BYTES = 10_000_000


class DataFolder:
    """The folder `path`, made when missing and checked to be writable.

    Raises StartupError when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.secrets = self._folder("secrets", mode=0o700)
            self.logs = self._folder("logs", mode=0o700)
            self.processes = self._folder("processes", mode=0o700)
            probe = self.path / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StartupError(
                f"The data folder {self.path} cannot be used ({_reason(error)}): put that right "
                "or choose another one with DATA_DIR=/somewhere."
            ) from error
        self._lock = ExitStack()

    def lock(self) -> None:
        """Hold the folder for this process until `unlock` or its end, however it ends."""
        file = self._lock.enter_context((self.path / "lock").open("a+"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            self._lock.close()
            raise StartupError(
                f"Agent Factory already runs with the data folder {self.path} (process {holder}): "
                "stop that one, or choose another folder with DATA_DIR=/somewhere."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()

    def unlock(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def secret(self, name: str, make: Callable[[], str] | None = None) -> str:
        """Return the kept secret `name`; make it (a random password by default) when missing."""
        file = self.secrets / name
        try:
            kept = file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            kept = ""
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"{file} cannot be read: restore it from a backup.") from error
        if not kept:
            kept = make() if make is not None else secrets.token_urlsafe(24)
            write_private(file, kept + "\n")
        return kept

    def plain(self, name: str, make: Callable[[], str]) -> str:
        """Return what the file `name` holds, which is no secret; make it when missing."""
        file = self.path / name
        try:
            kept = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            kept = ""
        if not kept:
            kept = make()
            file.write_text(kept + "\n")
        return kept

    def has_secret(self, name: str) -> bool:
        """Tell whether the secret `name` was made by an earlier start."""
        return (self.secrets / name).exists()

    def port(self, name: str, addresses: Sequence[str]) -> int:
        """Return the port kept for `name`, or a new one where it is missing or taken by now.

        The port is free on every one of `addresses`.
        """
        file = self.path / "ports.json"
        try:
            kept = json.loads(file.read_text())
            port = int(kept[name])
        except (OSError, ValueError, KeyError, TypeError):
            port = 0
        if port and is_free(port, addresses):
            return port
        return self.new_port(name, addresses)

    def new_port(self, name: str, addresses: Sequence[str]) -> int:
        """Choose a free port for `name` and keep it."""
        file = self.path / "ports.json"
        try:
            kept = json.loads(file.read_text())
        except (OSError, ValueError):
            kept = {}
        if not isinstance(kept, dict):
            kept = {}
        kept[name] = free_port(addresses, besides=set(kept.values()))
        write_private(file, json.dumps(kept, indent=2) + "\n")
        return int(kept[name])

    def log(self, name: str) -> Path:
        """Return the log file for `name`; one that grew over 10 MB is set aside as `.old`."""
        file = self.logs / f"{name}.log"
        if file.exists() and file.stat().st_size > _LOG_KEEP_BYTES:
            file.replace(file.with_suffix(".log.old"))
        return file

    def _folder(self, name: str, *, mode: int) -> Path:
        folder = self.path / name
        folder.mkdir(mode=mode, exist_ok=True)
        return folder


def write_private(file: Path, text: str) -> None:
    """Write `file` whole or not at all, readable by its owner only."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(file)


def is_free(port: int, addresses: Sequence[str]) -> bool:
    """Tell whether a server could listen on `port` at every one of `addresses`."""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the servers do: connections of an earlier start that still time out do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError:
                return False
    return True


def free_port(addresses: Sequence[str], *, besides: set[int] | None = None) -> int:
    """Return a port, not one of `besides`, that is free at every one of `addresses`."""
    for port in random.SystemRandom().sample(_PORTS, _PORT_TRIES):
        if port not in (besides or set()) and is_free(port, addresses):
            return port
    raise StartupError(
        f"No free port was found between {_PORTS.start} and {_PORTS.stop} on "
        f"{', '.join(addresses)}: end programs that listen there, and check that these addresses "
        "exist."
    )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
