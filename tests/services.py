"""The real servers that a test run starts for itself, and what it takes away at its end."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from config.embedded import DataFolder, EmbeddedServers, StartupError
from config.embedded_folder import LOOPBACK, free_port
from config.embedded_postgres import PLATFORM_ROLE

if TYPE_CHECKING:
    from docker import DockerClient

_LABEL = "agent-factory.installation"
# Told from the installations of people by its first letter, which is no hexadecimal digit.
_PREFIX = "t"
# Nothing in a test run has to survive the machine.
_POSTGRES_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


def docker_client() -> DockerClient | None:
    """Return a client of the Docker engine, or None where no engine answers."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except (DockerException, OSError):
        return None
    return client


class TestServices:
    """PostgreSQL, Redis and two Docker networks of one test process, in a folder of their own."""

    __test__ = False

    def __init__(self) -> None:
        root = Path(tempfile.gettempdir()) / f"agent-factory-tests-{os.geteuid()}"
        root.mkdir(exist_ok=True)
        self.docker = docker_client()
        _sweep_left_behind(root, self.docker)
        self.installation = f"{_PREFIX}{secrets.token_hex(4)}"
        # For the platform that runs as processes of its own, see tests/running.py.
        self.platform_installation = f"{self.installation}p"
        self.folder = DataFolder(root / self.installation)
        self.folder.lock()
        self.gateways = self._networks(self.installation)
        self.platform_gateways: dict[str, str] = {}
        self.servers = EmbeddedServers(
            self.folder,
            addresses=sorted(set(self.gateways.values())),
            postgres_settings=_POSTGRES_SETTINGS,
        )
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        """Start the servers and put their addresses into this process's environment."""
        urls = self.servers.start()
        with self.servers.postgres.connect() as connection:
            # The test databases are made, and dropped, by the platform's own role.
            connection.execute(f"ALTER ROLE {PLATFORM_ROLE} CREATEDB")
            connection.execute(f"GRANT CONNECT ON DATABASE postgres TO {PLATFORM_ROLE}")
        egress = free_port((LOOPBACK, *self.gateways.values()))
        self.environment = {
            **urls.environment(),
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "SECRETS_KEYS": Fernet.generate_key().decode(),
            "INSTALLATION_ID": self.installation,
            "RUNTIME_DRIVER": "docker" if self.docker is not None else "process",
            "DATA_DIR": str(self.folder.path),
            "EGRESS_PORT": str(egress),
        }
        if self.gateways:
            self.environment["AGENT_DATABASE_HOST"] = self.gateways["agents"]
            self.environment["AGENT_REDIS_HOST"] = self.gateways["agents"]
        os.environ.update(self.environment)

    def open_for_platform(self) -> None:
        """Make the networks of the platform's processes and restart the servers to serve them.

        Not done at once, for a Docker engine has room for few networks.
        """
        self.platform_gateways = self._networks(self.platform_installation)
        if self.platform_gateways:
            addresses = {*self.gateways.values(), *self.platform_gateways.values()}
            self.servers.listen_on(sorted(addresses))

    def stop(self) -> None:
        """Stop the servers and remove everything that the tests made. Gone is success."""
        self.servers.stop(hurry=True)
        if self.docker is not None:
            remove_labelled(self.docker, self.installation)
            remove_labelled(self.docker, self.platform_installation)
            self.docker.close()
        shutil.rmtree(self.folder.path, ignore_errors=True)
        self.folder.unlock()

    def _networks(self, installation: str) -> dict[str, str]:
        if self.docker is None:
            return {}
        from provisioning.drivers.docker_networks import ensure_networks

        return dict(ensure_networks(installation))


def unmount(folder: Path) -> None:
    """Let go of what a Docker engine mounted in ``folder``, so that it can be removed."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)  # noqa: S607 - the system's own


def _sweep_left_behind(root: Path, client: DockerClient | None) -> None:
    """Remove what test runs that were killed could not."""
    alive = set()
    for path in root.iterdir():
        try:
            folder = DataFolder(path)
            folder.lock()
        except StartupError:  # a run that goes on, or one that is just ending
            alive.add(path.name)
            continue
        unmount(path)
        shutil.rmtree(path, ignore_errors=True)
        folder.unlock()
    if client is None:
        return
    for network in client.networks.list(names=[f"af-{_PREFIX}"]):
        installation = str(network.name).split("-")[1]
        # A run makes its folder before its networks, so one that began since then is seen here.
        if installation.removesuffix("p") not in alive | {path.name for path in root.iterdir()}:
            remove_labelled(client, installation)


def remove_labelled(client: DockerClient, installation: str) -> None:
    """Remove the containers, volumes, networks and images of an installation."""
    from docker.errors import APIError

    labels: dict[str, str | list[str] | bool] = {"label": f"{_LABEL}={installation}"}
    for container in client.containers.list(all=True, filters=labels, ignore_removed=True):
        with suppress(APIError):
            container.remove(force=True, v=True)
    for volume in client.volumes.list(filters=labels):
        with suppress(APIError):
            volume.remove()
    for network in client.networks.list(filters=labels):
        with suppress(APIError):
            network.remove()
    for image in client.images.list(filters=labels):
        with suppress(APIError):
            client.images.remove(str(image.id), force=True)
