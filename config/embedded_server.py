"""What the embedded servers have in common: a folder, a log, a port, a process to end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from config.embedded_folder import LOOPBACK
from config.embedded_process import (
    StartupError,
    end_remembered,
    last_words,
    remember,
    spawn,
    stop,
    wait_until,
)

if TYPE_CHECKING:
    import signal
    import subprocess
    from collections.abc import Mapping, Sequence

    from config.embedded_folder import DataFolder
    from config.embedded_process import Account

_READY_SECONDS = 60.0


class EmbeddedServer(ABC):
    """One server with its data in `folder.path/name`, on loopback and on `addresses`."""

    name: ClassVar[str]
    title: ClassVar[str]
    """For people: "The embedded … did not start"."""
    stopping: ClassVar[tuple[signal.Signals, float]]
    """The signal that ends it in order, and the seconds until it is killed."""
    hurried: ClassVar[tuple[signal.Signals, float]]
    """The same when there is no time."""
    fatal_words: ClassVar[tuple[str, ...]]
    """What its log says when it gives up."""
    advice: ClassVar[str]
    """What to do about data that it does not start with."""

    def __init__(self, folder: DataFolder, *, addresses: Sequence[str] = ()) -> None:
        self._folder = folder
        self._home = folder.path / self.name
        self._addresses = (LOOPBACK, *addresses)
        self._log = folder.log(self.name)
        self._pid_file = folder.processes / self.name
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def listen_on(self, addresses: Sequence[str]) -> None:
        """Listen on loopback and on `addresses` from the next start on."""
        self._addresses = (LOOPBACK, *addresses)

    @abstractmethod
    def begin(self) -> None:
        """Start the process; `wait_ready` must follow. Raises StartupError."""

    def wait_ready(self) -> None:
        """Return when the server is of use. Raises StartupError."""
        process = self.process
        if process is None:
            raise StartupError(f"{self.title} was not started.")
        ready = wait_until(
            lambda: self._is_ready() or process.poll() is not None, seconds=_READY_SECONDS
        )
        if not ready or process.poll() is not None:
            self.stop()
            raise self._failure(last_words(self._log, *self.fatal_words))

    def start(self) -> None:
        """Start, and return when it is of use. Raises StartupError."""
        self.begin()
        self.wait_ready()

    def stop(self, *, hurry: bool = False) -> None:
        """Stop it within seconds; with `hurry` at once or nearly so. Stopped is success."""
        if self.process is not None:
            first, seconds = self.hurried if hurry else self.stopping
            stop(self.process, first=first, seconds=seconds)
            self.process = None
        self._pid_file.unlink(missing_ok=True)

    @abstractmethod
    def _is_ready(self) -> bool: ...

    def _spawn(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        account: Account | None,
    ) -> None:
        with self._log.open("ab") as log:
            self.process = spawn(
                command,
                folder=self._folder.path,
                log=log,
                environment=environment,
                account=account,
                death_signal=self.stopping[0],
            )
        remember(self._pid_file, self.process.pid)

    def _end_earlier(self) -> None:
        """End a server that an earlier, killed start left."""
        first, seconds = self.stopping
        end_remembered(self._pid_file, first=first, seconds=seconds)

    def _failure(self, words: str) -> StartupError:
        return StartupError(
            f"{self.title} did not start ({words or 'it said nothing'}): see {self._log}; its "
            f"data is in {self._home}, {self.advice}."
        )
