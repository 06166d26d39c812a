"""The small program that keeps one agent's process: a script, with the standard library only.

It outlives the worker that started it, waits for the agent (so that no dead process is left and its
exit code is known), keeps its output in two files of bounded size, and takes the agent with it when
it is killed. Its one argument is the instance's folder; what to run is in ``start.json`` there, and
what runs is told in ``process.json``, what it ended with in ``exit.json``.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_LOG_BYTES = 2_000_000
_PR_SET_PDEATHSIG = 1
_OPEN_FILES = 4096
_NOT_STARTED = 127


def main(folder: Path, answer: int) -> None:
    """Start the agent, keep it, and write down how it ended.

    One line is written to the descriptor ``answer``, which is then closed: ``started``, or why not.
    """
    with (folder / "keeper.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(answer, "it is being started by another worker")
            return
        _keep(folder, answer)


def _keep(folder: Path, answer: int) -> None:
    start = json.loads((folder / "start.json").read_text())
    (folder / "exit.json").unlink(missing_ok=True)
    (folder / "process.json").unlink(missing_ok=True)
    code = _NOT_STARTED
    try:
        agent = _start(start)
        write_whole(
            folder / "process.json",
            {
                "pid": agent.pid,
                "started": started_at(agent.pid),
                "keeper": os.getpid(),
                "keeper_started": started_at(os.getpid()),
            },
        )
        _say(answer, "started")
        _keep_output(agent, folder / "output.log")
        code = agent.wait()
    except (OSError, subprocess.SubprocessError) as error:
        _say(answer, " ".join(str(error).split()))
    finally:
        # A signal's number as a shell tells it.
        write_whole(folder / "exit.json", {"code": 128 - code if code < 0 else code})


def started_at(pid: int) -> str:
    """Return when the process began, in the kernel's ticks; empty if there is none (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name, in parentheses, may hold anything; the state is the first field after it.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]


def write_whole(path: Path, document: dict[str, Any]) -> None:
    """Write the file whole or not at all, for its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
    draft.replace(path)


def _start(start: dict[str, Any]) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)
    memory = int(start["memory_mb"]) * 1024 * 1024

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Address space would count what is mapped and never used; data is nearer to what is used.
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    return subprocess.Popen(
        start["command"],
        cwd=start["folder"],
        env=start["environment"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - this program has one thread
    )


def _keep_output(agent: subprocess.Popen[bytes], path: Path) -> None:
    if agent.stdout is None:
        return
    with agent.stdout as output:
        log = path.open("ab", buffering=0)
        try:
            while part := os.read(output.fileno(), 65_536):
                if log.tell() + len(part) > _LOG_BYTES:
                    log.close()
                    path.replace(path.with_name(f"{path.name}.1"))
                    log = path.open("ab", buffering=0)
                log.write(part)
        finally:
            log.close()


def _say(answer: int, words: str) -> None:
    with suppress(OSError):
        # Closed after the first answer, and a worker that died does not listen.
        os.write(answer, f"{words}\n".encode())
        os.close(answer)


if __name__ == "__main__":
    # Twice forked, so that it is nobody's child and the worker has nothing to wait for.
    if os.fork():
        os._exit(0)
    os.setsid()
    # The worker signals the agent; the keeper ends when the agent has.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pipe = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    main(Path(sys.argv[1]), pipe)
