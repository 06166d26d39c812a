"""A Docker engine of a test's own, which can be killed without harm to others' containers."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import docker
from docker.errors import DockerException

from config.embedded_process import last_words, spawn, stop
from tests.services import unmount

if TYPE_CHECKING:
    from docker import DockerClient

_SECONDS = 60.0


def missing() -> str:
    """Say what this machine lacks for an engine of a test's own; empty if nothing."""
    if os.geteuid() != 0:
        return "not root"
    return "" if shutil.which("dockerd") else "no dockerd"


class SecondEngine:
    """`dockerd` with data and a socket of its own, and no rules in the firewall.

    An engine without a bridge, or with pools of addresses of its own, takes `docker0` away, which
    is the first one's. So this one has a network of the first one's for its bridge, and chooses
    addresses that nothing on the machine has.
    """

    def __init__(self, first: DockerClient, labels: dict[str, str], root: Path) -> None:
        self._bridge = f"afb{secrets.token_hex(4)}"
        self._network = first.networks.create(
            self._bridge, labels=labels, options={"com.docker.network.bridge.name": self._bridge}
        )
        # A socket's path must be short.
        self._folder = root / "engine"
        self._folder.mkdir()
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.host = f"unix://{self._folder}/socket"
        (self._folder / "settings.json").write_text("{}")

    def start(self) -> Self:
        """Start it; it answers when this returns."""
        folder = self._folder
        # A killed one leaves its own.
        (folder / "pid").unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = spawn(
                [
                    "dockerd",
                    f"--config-file={folder}/settings.json",
                    f"--data-root={folder}/data",
                    f"--exec-root={folder}/run",
                    f"--pidfile={folder}/pid",
                    f"--host={self.host}",
                    f"--bridge={self._bridge}",
                    "--iptables=false",
                    "--ip-forward=false",
                    "--ip-masq=false",
                    "--userland-proxy=false",
                ],
                folder=folder,
                log=log,
                environment=os.environ,
                death_signal=signal.SIGTERM,
            )
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, last_words(self._log, "level=fatal")
            assert self._process.poll() is None, last_words(self._log, "level=fatal", "failed")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """Kill it at once with its containerd, as a crash does (SIGKILL); containers go on."""
        assert self._process is not None
        containerd = (self._folder / "run" / "containerd" / "containerd.pid").read_text()
        self._process.kill()
        self._process.wait()
        # It dies of its parent's death; the next engine would take it for its own until then.
        deadline = time.monotonic() + _SECONDS
        while Path(f"/proc/{containerd.strip()}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def client(self) -> DockerClient:
        """Return a client; the caller closes it."""
        return docker.DockerClient(base_url=self.host, timeout=60)

    def copy_images(self, source: DockerClient, *names: str) -> None:
        """Copy images of another engine."""
        client = self.client()
        try:
            for name in names:
                client.images.load(b"".join(source.images.get(name).save(named=True)))
        finally:
            client.close()

    def remove(self) -> None:
        """Stop it with its containers and take everything away, however far it came."""
        if self._process is not None:
            with suppress(DockerException):
                self._remove_containers()
            stop(self._process, first=signal.SIGTERM, seconds=20)
        unmount(self._folder)
        shutil.rmtree(self._folder)
        self._network.remove()

    def _remove_containers(self) -> None:
        client = self.client()
        try:
            for container in client.containers.list(all=True):
                container.remove(force=True, v=True)
            for network in client.networks.list():
                if network.name not in ("bridge", "host", "none"):
                    network.remove()
        finally:
            client.close()

    def _answers(self) -> bool:
        # A client that finds nobody there would leave its socket open.
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            try:
                line.connect(self.host.removeprefix("unix://"))
                line.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"200 OK" in line.recv(64)
            except OSError:
                return False
