"""Find out what agents can run on here: a Docker engine, else this machine's own processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from config.embedded_process import StartupError

_ANSWER_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What was found: `driver` is `docker` or `process`; `note` says it to a person.

    `gateways` are this machine's addresses on the agents' networks, by network.
    """

    driver: str
    note: str
    gateways: dict[str, str] = field(default_factory=dict)

    def addresses(self) -> list[str]:
        """Return where servers have to listen besides loopback, without repetition."""
        return sorted(set(self.gateways.values()))


def find_runtime(wanted: str, installation: str) -> dict[str, Any]:
    """Return a Runtime as JSON, its networks made; `wanted` is '', 'docker' or 'process'.

    Raises StartupError when Docker is wanted and does not answer, or can make no network.
    """
    if wanted == "process":
        return asdict(_processes("RUNTIME_DRIVER=process was set"))
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=_ANSWER_SECONDS)
        version = str(client.version()["Version"])
        client.close()
    except (DockerException, OSError) as error:
        if wanted == "docker":
            raise StartupError(
                f"RUNTIME_DRIVER=docker was set and no Docker engine answers ({_short(error)}): "
                "start Docker, or leave RUNTIME_DRIVER out to run agents as local processes."
            ) from error
        return asdict(_processes(f"no Docker engine answers ({_short(error)})"))
    from provisioning.drivers.base import DriverError
    from provisioning.drivers.docker_networks import ensure_networks

    try:
        gateways = dict(ensure_networks(installation))
    except DriverError as error:
        raise StartupError(
            f"Docker {version} answers but cannot make the agents' networks ({_short(error)}): "
            "remove networks that nobody uses (docker network prune), or set "
            "RUNTIME_DRIVER=process."
        ) from error
    note = f"Docker {version}; each agent is a container of its own"
    return asdict(Runtime(driver="docker", note=note, gateways=gateways))


def _processes(reason: str) -> Runtime:
    return Runtime(
        driver="process",
        note=f"local processes, because {reason}. Agents are NOT isolated from this machine or "
        "from each other: fit for trying out, not for agents or people you do not trust",
    )


def _short(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return words[0][:160] if words else type(error).__name__
