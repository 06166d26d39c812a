"""The parts that `make run` keeps going: forked processes that share the launcher's memory.

The launcher imports the application once and forks; what the processes only read they share, which
takes half the memory and a third of the time of starting Python for each.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from config.embedded_process import StartupError, die_with, end_remembered, remember, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from config.embedded_folder import DataFolder

_CALL_FAILED = 70  # EX_SOFTWARE of sysexits.h


class Part(Protocol):
    """Something that runs beside the launcher and can be started again."""

    @property
    def name(self) -> str:
        """What it is called in messages and in its log's name."""

    def start(self) -> None:
        """Start it. Raises StartupError."""

    def ended(self) -> str:
        """Return how it ended ('exit 1', 'signal 9'), or '' while it runs."""

    def stop(self, *, hurry: bool) -> None:
        """Stop it within seconds. Stopped is success."""


class Forked:
    """A process that runs `work`, whose result is its exit code, with its output in a log.

    It gets SIGTERM to stop and is killed `seconds` later. `release` runs first in the new process
    and closes what is not for it. With `verbose` its output goes where the launcher's goes.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], int],
        folder: DataFolder,
        *,
        release: Callable[[], None],
        verbose: bool = False,
        seconds: float = 8.0,
    ) -> None:
        self.name = name
        self._work = work
        self._log = None if verbose else folder.log(name)
        self._pid_file = folder.processes / name
        self._release = release
        self._seconds = seconds
        self._pid = 0
        self._status = 0

    def start(self) -> None:
        """End what a killed start left of it, and fork."""
        end_remembered(self._pid_file, first=signal.SIGTERM, seconds=self._seconds)
        self._pid = _fork(self._in_child, log=self._log)
        remember(self._pid_file, self._pid)

    def ended(self) -> str:
        """Return how it ended, or '' while it runs."""
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._kill_session()
                self._pid, self._status = 0, os.waitstatus_to_exitcode(status)
        if self._pid:
            return ""
        return f"exit {self._status}" if self._status >= 0 else f"signal {-self._status}"

    def stop(self, *, hurry: bool) -> None:
        """Ask it to stop, and kill it and its children when it has not after some seconds."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL if hurry else signal.SIGTERM)
            wait_until(lambda: bool(self.ended()), seconds=self._seconds)
        if self._pid:
            self._kill_session()
            wait_until(lambda: bool(self.ended()), seconds=self._seconds)
        self._pid_file.unlink(missing_ok=True)

    def _in_child(self) -> int:
        self._release()
        return self._work()

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)


class Call:
    """One call of `work` in a process of its own; its result has to be JSON."""

    def __init__(
        self, name: str, work: Callable[[], Any], log: Path, *, release: Callable[[], None]
    ) -> None:
        self.name = name
        self.log = log
        self._work = work
        self._release = release
        reader, writer = os.pipe()
        self._answer = os.fdopen(reader, "rb")
        self._writer = writer
        self._pid = _fork(self._in_child, log=log)
        os.close(writer)

    def result(self) -> Any:
        """Wait for the result and return it.

        Raises StartupError with the call's own, or one that names the log for any other error.
        """
        with self._answer:
            answer = self._answer.read()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if status != 0 or not answer:
            raise StartupError(f"The step '{self.name}' failed: see {self.log}.")
        outcome = json.loads(answer)
        if "error" in outcome:
            raise StartupError(outcome["error"])
        return outcome["result"]

    def is_done(self) -> bool:
        """Tell whether `result` would return at once."""
        if not self._pid:
            return True
        # Left for `result` to collect.
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def cancel(self) -> None:
        """End it. Ended is success."""
        if self._pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        self._answer.close()

    def _in_child(self) -> int:
        self._release()
        self._answer.close()
        try:
            outcome = {"result": self._work()}
        except StartupError as error:
            outcome = {"error": str(error)}
        with os.fdopen(self._writer, "w") as pipe:
            json.dump(outcome, pipe)
        return 0


class Backoff:
    """How long to wait before a part is started again: 1, 2, 4 … 30 seconds.

    It starts over once the part has run for a minute.
    """

    _LONGEST = 30.0
    _WELL_AFTER = 60.0

    def __init__(self) -> None:
        self._pause = 0.0
        self._started = time.monotonic()

    def next_pause(self) -> float:
        """Return the seconds to wait now, the part having just ended."""
        if time.monotonic() - self._started > self._WELL_AFTER:
            self._pause = 0.0
        self._pause = min(self._LONGEST, self._pause * 2 or 1.0)
        return self._pause

    def started(self) -> None:
        """Note that the part was started."""
        self._started = time.monotonic()


def _fork(work: Callable[[], int], *, log: Path | None) -> int:
    """Run `work` in a forked process, a session of its own; return its pid at once."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = _CALL_FAILED
    try:
        gc.enable()  # the launcher starts without it
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # Not a signal that lets a process finish what it does: it might never.
        die_with(parent, signal.SIGKILL)
        _redirect(log)
        status = work()
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:  # noqa: BLE001 - this process ends here, and its log says why
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _redirect(log: Path | None) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if log is not None:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
