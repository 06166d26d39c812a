"""`make run`, started and stopped as a person would."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from config.embedded_folder import LOOPBACK, free_port
from config.embedded_process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "a-long-enough-passphrase"
# A start makes its own; what this test process was given is not for it.
OWN = (
    "DATABASE_URL",
    "AGENT_DATABASE_URL",
    "REDIS_URL",
    "AGENT_REDIS_URL",
    "AGENT_DATABASE_HOST",
    "AGENT_REDIS_HOST",
    "SECRET_KEY",
    "SECRETS_KEYS",
    "INSTALLATION_ID",
    "RUNTIME_DRIVER",
    "EGRESS_PORT",
    "DJANGO_SETTINGS_MODULE",
)


class Start:
    """One start of the launcher, its output in a file."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        self.port = free_port([LOOPBACK])
        self._output = data.parent / f"{data.name}-{self.port}.txt"
        kept = {name: value for name, value in os.environ.items() if name not in OWN}
        settings = {"PORT": str(self.port), "DATA_DIR": str(data), "RUNTIME_DRIVER": "process"}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.run"],
                env={**kept, **settings, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = f"http://{LOOPBACK}:{self.port}"

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_ready(self) -> None:
        assert wait_until(
            lambda: "is ready" in self.output or self.process.poll() is not None, seconds=120
        )
        assert self.process.poll() is None, self.output

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def pids(self) -> dict[str, int]:
        return {
            file.name: int(file.read_text().split()[0])
            for file in (self.data / "processes").iterdir()
        }

    def session_pids(self) -> list[int]:
        """The processes that run, and those that they started."""
        sessions = set(self.pids().values())
        found = []
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            try:
                if os.getsid(pid) in sessions:
                    found.append(pid)
            except ProcessLookupError:
                continue
        return found


@pytest.fixture
def starts() -> Iterator[list[Start]]:
    """What a test started; nothing of it stays."""
    begun: list[Start] = []
    yield begun
    for start in begun:
        if start.process.poll() is None:
            start.process.kill()
        start.process.wait()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.worker
def test_the_first_and_the_second_start(tmp_path: Path, starts: list[Start]) -> None:
    starts.append(first := Start(tmp_path / "data"))
    first.wait_ready()

    assert httpx.get(first.url, follow_redirects=True).status_code == 200
    assert "Agents are NOT isolated" in first.output
    password = re.search(r"First admin: admin, password: (\S+) ", first.output)
    assert password is not None
    token = httpx.post(
        f"{first.url}/api/auth/token", json={"username": "admin", "password": password[1]}
    )
    assert token.status_code in (200, 401, 403)  # a first password may have to be changed first
    assert set(first.pids()) == {"postgres", "redis", "web", "worker", "beat"}
    everything = first.session_pids()
    for file in (first.data / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    logs = b"".join(file.read_bytes() for file in (first.data / "logs").iterdir())
    assert password[1].encode() not in logs

    assert first.interrupt() == 0
    assert first.output.rstrip().endswith("Agent Factory has stopped.")
    assert [pid for pid in everything if is_alive(pid)] == []
    assert first.pids() == {}

    secrets = {file.name: file.read_text() for file in (first.data / "secrets").iterdir()}
    starts.append(second := Start(tmp_path / "data"))
    second.wait_ready()
    assert "First admin" not in second.output
    again = {file.name: file.read_text() for file in (first.data / "secrets").iterdir()}
    del secrets["environment"], again["environment"]  # the port for people differs
    assert again == secrets
    assert second.interrupt(signal.SIGTERM) == 0


@pytest.mark.worker
def test_a_given_password_a_dead_part_and_a_killed_launcher(
    tmp_path: Path, starts: list[Start]
) -> None:
    starts.append(first := Start(tmp_path / "data", FACTORY_ADMIN_PASSWORD=PASSWORD))
    first.wait_ready()
    assert PASSWORD not in first.output
    token = httpx.post(
        f"{first.url}/api/auth/token", json={"username": "admin", "password": PASSWORD}
    )
    assert token.status_code == 200

    for name in ("worker", "web", "redis"):
        old = first.pids()[name]
        os.kill(old, signal.SIGKILL)
        assert wait_until(lambda name=name: f"{name} runs again" in first.output, seconds=60)  # type: ignore[misc]  # a default fixes the loop's value
        assert first.pids()[name] != old
    assert wait_until(
        lambda: httpx.get(f"{first.url}/health", timeout=30).status_code == 200, seconds=30
    )

    everything = first.session_pids()
    first.process.kill()
    first.process.wait()
    assert wait_until(lambda: not any(map(is_alive, everything)), seconds=30)

    starts.append(second := Start(tmp_path / "data"))
    second.wait_ready()
    second.process.send_signal(signal.SIGINT)
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(60) == 0


@pytest.mark.worker
def test_a_management_command_beside_it(tmp_path: Path, starts: list[Start]) -> None:
    starts.append(start := Start(tmp_path / "data", FACTORY_ADMIN_PASSWORD=PASSWORD))
    command = [sys.executable, "-m", "config.run", "manage", "dumpdata", "accounts.user"]
    environment = {"PATH": os.defpath, "DATA_DIR": str(start.data)}
    start.wait_ready()
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert [row["fields"]["username"] for row in json.loads(done.stdout)] == ["admin"]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PORT": "80000"}, "PORT=80000 is not a port: give a number from 1 to 65535."),
        ({"PORT": "eighty"}, "PORT=eighty is not a port: give a number from 1 to 65535."),
        ({"HOST": "no-such-host.invalid"}, "at no-such-host.invalid cannot be opened"),
        ({"DATA_DIR": "/proc/nowhere"}, "The data folder /proc/nowhere cannot be used"),
        (
            {"RUNTIME_DRIVER": "docker", "DOCKER_HOST": "unix:///nowhere.sock"},
            "RUNTIME_DRIVER=docker was set and no Docker engine answers",
        ),
        ({"FACTORY_ADMIN_PASSWORD": "short"}, "FACTORY_ADMIN_PASSWORD: This password is too short"),
    ],
)
def test_what_a_person_has_to_put_right_is_one_sentence(
    tmp_path: Path, starts: list[Start], environment: dict[str, str], sentence: str
) -> None:
    starts.append(start := Start(tmp_path / "data", **environment))
    assert start.process.wait(120) == 1
    assert sentence in start.output
    assert "Traceback" not in start.output


def test_a_taken_port_is_told_with_another_one(tmp_path: Path, starts: list[Start]) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        starts.append(start := Start(tmp_path / "data", PORT=str(port)))
        assert start.process.wait(60) == 1
    assert f"Port {port} at 127.0.0.1 cannot be opened" in start.output
    assert f"make run PORT={port + 1}" in start.output
    assert "Traceback" not in start.output


def test_without_docker_agents_are_said_not_to_be_isolated(
    tmp_path: Path, starts: list[Start]
) -> None:
    starts.append(
        start := Start(tmp_path / "data", RUNTIME_DRIVER="", DOCKER_HOST="unix:///nowhere.sock")
    )
    assert wait_until(
        lambda: "Runtime:" in start.output or start.process.poll() is not None, seconds=60
    )
    assert "Runtime: local processes, because no Docker engine answers" in start.output
    assert "Agents are NOT isolated" in start.output
    # Stopped in the middle of starting.
    assert start.interrupt() == 0
    assert start.pids() == {}


def test_a_management_command_needs_a_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "config.run", "manage", "check"],
        env={"PATH": os.defpath, "DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "start Agent Factory (make run) with this data folder first" in done.stderr
