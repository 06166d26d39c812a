"""Start a server process that cannot outlive the launcher, as root under a lesser account."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Linux numbers: prctl(2), capabilities(7), capset(2).
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2

_LOG_TAIL_BYTES = 8192


class StartupError(Exception):
    """Something a person has to put right; `str()` is the one sentence that says what to do."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user a server runs as when the launcher is root.

    `capability` is a Linux capability number the process keeps, or None. It is needed only where
    the account may not enter the folders above its own (a checkout under /root, say).
    """

    uid: int
    gid: int
    capability: int | None = None


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def is_root() -> bool:
    """Tell whether this process may, and for PostgreSQL must, change to a lesser account."""
    return os.geteuid() == 0


def account_for(uid: int, gid: int, *paths: Path) -> Account:
    """Return the account `uid`, able to enter all of `paths` (absolute, existing).

    Raises StartupError when it can neither enter them nor be given the capability to.
    """
    closed = [path for path in paths if not _may_enter(path, uid)]
    if not closed:
        return Account(uid=uid, gid=gid)
    held = _permitted_capabilities()
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if held >> capability & 1:
            return Account(uid=uid, gid=gid, capability=capability)
    raise StartupError(
        f"The database may not run as root, and no other user may enter {closed[0]}: "
        "choose a DATA_DIR and a checkout that others may enter (chmod o+x), or start as a "
        "normal user."
    )


def spawn(
    argv: Sequence[str],
    *,
    folder: Path,
    log: IO[bytes] | None,
    environment: Mapping[str, str],
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `argv` in `folder`, in a session of its own, and return it at once.

    Output goes to `log` (None: to the launcher's own). When the thread that called this ends in
    any way, Linux sends the process `death_signal`; so call it from the main thread.
    """
    parent = os.getpid()
    return subprocess.Popen(
        list(argv),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT if log is not None else None,
        env=dict(environment),
        start_new_session=True,
        preexec_fn=_child_setup(parent, account, death_signal),  # noqa: PLW1509 - the launcher has one thread
    )


def stop(process: subprocess.Popen[bytes], *, first: signal.Signals, seconds: float) -> None:
    """Send `first`, wait up to `seconds`, then SIGKILL the whole session. Gone is success."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            process.send_signal(first)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def remember(file: Path, pid: int) -> None:
    """Write down which process `pid` is, for `end_remembered` of a later start."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(f"{pid} {_birth(pid)}\n")


def end_remembered(file: Path, *, first: signal.Signals, seconds: float) -> bool:
    """End the process that `file` names, and its session, if it still runs; remove the file.

    Returns whether there was one. Another process that has its number by now is left alone.
    """
    try:
        number, _, birth = file.read_text().strip().partition(" ")
        pid = int(number)
    except (OSError, ValueError):
        file.unlink(missing_ok=True)
        return False
    ran = bool(birth) and _birth(pid) == birth
    if ran:
        with suppress(ProcessLookupError):
            os.kill(pid, first)
        wait_until(lambda: _birth(pid) != birth, seconds=seconds)
        if _birth(pid) == birth:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            wait_until(lambda: _birth(pid) != birth, seconds=seconds)
    file.unlink(missing_ok=True)
    return ran


def wait_until(ready: Callable[[], bool], *, seconds: float, pause: float = 0.02) -> bool:
    """Poll `ready` every `pause` seconds; tell whether it became true within `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
    return True


def last_words(log: Path, *marks: str) -> str:
    """Return the newest line of `log` holding one of `marks`, else its last line, else ''."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    lines = [line.strip() for line in lines if line.strip()]
    for line in reversed(lines):
        for mark in marks:
            if mark in line:
                return line[line.index(mark) :]
    return lines[-1] if lines else ""


def give_folder(folder: Path, account: Account | None) -> None:
    """Make `folder` and all in it belong to `account`, closed to everybody else."""
    folder.chmod(0o700)
    if account is None:
        return
    os.chown(folder, account.uid, account.gid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)


def die_with(parent: int, death_signal: signal.Signals) -> None:
    """Have Linux send this process `death_signal` when the thread that forked it ends."""
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def _child_setup(
    parent: int, account: Account | None, death_signal: signal.Signals
) -> Callable[[], None] | None:
    if _libc is None and account is None:
        return None

    def setup() -> None:
        if account is not None:
            _become(account)
        die_with(parent, death_signal)  # after the change of user, which clears it

    return setup


def _become(account: Account) -> None:
    if account.capability is not None and _libc is not None:
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    if account.capability is None or _libc is None:
        return
    bit = 1 << account.capability
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)(_CapabilityData(bit, bit, bit), _CapabilityData(0, 0, 0))
    if _libc.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    if _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, account.capability, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _may_enter(path: Path, uid: int) -> bool:
    for folder in (path, *path.parents):
        status = folder.stat()
        needed = 0o100 if status.st_uid == uid else 0o001
        if not status.st_mode & needed:
            return False
    return True


def _permitted_capabilities() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:")), 0)


def _birth(pid: int) -> str:
    """Return when process `pid` began, in the system's own words, or '' if there is none."""
    if _libc is not None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        # proc(5): the state and the start time, fields 3 and 22. A zombie has ended.
        return "" if fields[0] in "ZX" else fields[19]
    listing = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, check=False
    )
    return listing.stdout.decode(errors="replace").strip()
