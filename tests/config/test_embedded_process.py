"""Starting, remembering and ending server processes, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.embedded_process import (
    end_remembered,
    last_words,
    remember,
    spawn,
    stop,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Says that it is there, and a child of its own, before it listens to no polite word.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that ignores SIGTERM, and the number of its child."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = spawn(
            [sys.executable, "-c", STUBBORN], folder=tmp_path, log=file, environment=os.environ
        )
    assert wait_until(lambda: log.read_text().strip().isdigit(), seconds=30)
    yield process, int(log.read_text())
    stop(process, first=signal.SIGKILL, seconds=10)


def test_one_that_does_not_listen_is_killed_with_its_children(
    stubborn: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, child = stubborn
    stop(process, first=signal.SIGTERM, seconds=0.2)
    assert process.returncode == -signal.SIGKILL
    assert wait_until(lambda: not is_running(child), seconds=10)
    stop(process, first=signal.SIGTERM, seconds=0.2)  # gone is success


def test_a_remembered_one_that_does_not_listen_is_killed_with_its_children(
    stubborn: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    process, child = stubborn
    file = tmp_path / "processes" / "stubborn"
    remember(file, process.pid)
    assert end_remembered(file, first=signal.SIGTERM, seconds=0.2) is True
    assert not is_running(process.pid)
    assert wait_until(lambda: not is_running(child), seconds=10)
    assert not file.exists()
    assert end_remembered(file, first=signal.SIGTERM, seconds=0.2) is False


def test_another_process_of_that_number_is_left_alone(
    stubborn: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    process, _ = stubborn
    file = tmp_path / "reused"
    file.write_text(f"{process.pid} 1\n")
    assert end_remembered(file, first=signal.SIGKILL, seconds=0.2) is False
    assert is_running(process.pid)
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "x", "12", "-1 5", "999999999 5", "\x00"])
def test_a_note_that_makes_no_sense_is_thrown_away(text: str, tmp_path: Path) -> None:
    file = tmp_path / "note"
    file.write_text(text)
    assert end_remembered(file, first=signal.SIGKILL, seconds=0.2) is False
    assert not file.exists()


def test_one_goes_with_the_launcher_that_ends_at_once(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    launcher = f"""
import os, sys
from pathlib import Path
from config.embedded_process import spawn
with open({str(log)!r}, "wb") as file:
    child = spawn(
        [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"],
        folder=Path({str(tmp_path)!r}), log=file, environment=os.environ,
    )
while not Path({str(log)!r}).read_text().strip():
    pass
os._exit(3)
"""
    assert subprocess.run([sys.executable, "-c", launcher], check=False).returncode == 3
    assert wait_until(lambda: not is_running(int(log.read_text())), seconds=10)


def test_waiting_ends() -> None:
    assert wait_until(lambda: False, seconds=0.05) is False
    assert wait_until(lambda: True, seconds=0) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n\n", "two"),
        ("12:00 LOG: fine\n12:01 FATAL:  no space\n12:02 LOG: done\n", "FATAL:  no space"),
        ("FATAL: first\nFATAL: second\nend\n", "FATAL: second"),
        ("FATAL: long ago\n" + "x\n" * 10_000, "x"),
        ("\udcff FATAL: bytes\n", "FATAL: bytes"),
    ],
)
def test_the_last_words_of_a_log(text: str, words: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(text.encode(errors="surrogateescape"))
    assert last_words(log, "FATAL") == words


def test_a_log_that_is_not_there_has_no_words(tmp_path: Path) -> None:
    assert last_words(tmp_path / "none", "FATAL") == ""
