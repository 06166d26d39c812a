"""An instance as a container: what it is created with, and what the engine says of it."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, Final

from provisioning.drivers.base import LABEL_PREFIX, Instance, InstanceRequest, InstanceState
from provisioning.drivers.environment import merged_environment
from provisioning.images.layout import AGENT_GID, AGENT_PORT, AGENT_UID, CREDENTIALS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

_CREDENTIALS_FILE: Final = "credentials.json"
_BYTES_PER_MB: Final = 1024 * 1024
_NANO_CPUS: Final = 1_000_000_000
_PROCESSES: Final = 128
_OPEN_FILES: Final = 4096
_TEMPORARY_MB: Final = 64
_SHARED_MEMORY_MB: Final = 16
_LOGS: Final = {"max-size": "5m", "max-file": "2"}
# Agents go before the platform does when the machine's memory runs out.
_OUT_OF_MEMORY_SCORE: Final = 500
_STATES: Final[Mapping[str, InstanceState]] = {
    "created": InstanceState.CREATED,
    "running": InstanceState.RUNNING,
    "paused": InstanceState.RUNNING,
    # Between two tries its process is not there.
    "restarting": InstanceState.EXITED,
    "exited": InstanceState.EXITED,
    "dead": InstanceState.EXITED,
    "removing": InstanceState.EXITED,
}
_UNUSABLE: Final = frozenset({"dead", "removing"})
_DEPLOYMENT_LABEL: Final = f"{LABEL_PREFIX}deployment"


def credentials_volume(name: str) -> str:
    """Return the name of the instance's volume."""
    return f"{name}-credentials"


def create_arguments(
    request: InstanceRequest, *, labels: dict[str, str], network: str, host_cores: float
) -> tuple[dict[str, Any], str]:
    """Return the body of the engine's ``POST /containers/create`` (API 1.41), and the name."""
    resources = request.resources
    memory = resources.memory_mb * _BYTES_PER_MB
    environment = merged_environment(
        request.environment,
        {
            "AGENT_MODE": request.mode,
            "AGENT_HOST": "0.0.0.0",  # noqa: S104 - inside its own network namespace
            "AGENT_PORT": str(AGENT_PORT),
            "AGENT_CREDENTIALS_FILE": f"{CREDENTIALS_FOLDER}/{_CREDENTIALS_FILE}",
        },
    )
    host_config = {
        "NetworkMode": network,
        # Names of this network only, and no waiting for others: nothing else can be reached.
        "Dns": ["127.0.0.1"],
        "DnsOptions": ["timeout:1", "attempts:1"],
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "IpcMode": "private",
        "Init": True,
        # More than the host has is refused, and would change nothing.
        "NanoCpus": int(min(resources.cpu_cores, host_cores) * _NANO_CPUS),
        "Memory": memory,
        "MemorySwap": memory,
        "PidsLimit": _PROCESSES,
        "OomScoreAdj": _OUT_OF_MEMORY_SCORE,
        "Ulimits": [
            {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "ShmSize": _SHARED_MEMORY_MB * _BYTES_PER_MB,
        "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,mode=1777,size={_TEMPORARY_MB}m"},  # noqa: S108 - the container's own
        "LogConfig": {"Type": "json-file", "Config": _LOGS},
        "RestartPolicy": {"Name": "unless-stopped" if request.mode == "live" else "no"},
        "Mounts": [
            {
                "Type": "volume",
                "Source": credentials_volume(request.name),
                "Target": CREDENTIALS_FOLDER,
                # Written before the start; what is in it belongs to root and is read-only.
                "VolumeOptions": {"NoCopy": True, "Labels": labels},
            }
        ],
    }
    return {
        "Image": request.image,
        "Hostname": "agent",
        "User": f"{AGENT_UID}:{AGENT_GID}",
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": labels,
        # The platform asks the agent itself.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host_config,
    }, request.name


def credentials_archive(request: InstanceRequest) -> bytes:
    """Return the archive that puts the credentials where only the agent's user reads them."""
    text = json.dumps(request.credentials, separators=(",", ":")).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(_CREDENTIALS_FILE)
        entry.size = len(text)
        entry.mode = 0o400
        entry.uid, entry.gid = AGENT_UID, AGENT_GID
        tar.addfile(entry, io.BytesIO(text))
    return archive.getvalue()


def is_request_of(found: Mapping[str, Any], request: InstanceRequest) -> bool:
    """Tell whether the container was made for this image and deployment, and can be used."""
    labels = found["Config"].get("Labels") or {}
    # A container has its image's labels too, where it has none of its own.
    deployment = request.labels.get(_DEPLOYMENT_LABEL)
    return (
        found["State"]["Status"] not in _UNUSABLE
        and request.image in (found["Image"], found["Config"]["Image"])
        and deployment in (None, labels.get(_DEPLOYMENT_LABEL))
    )


def instance_of(name: str, found: Mapping[str, Any] | None) -> Instance:
    """Return what the engine says of the container."""
    if found is None:
        return Instance(name=name, id="", state=InstanceState.MISSING, address="")
    said = found["State"]
    state = _STATES.get(said["Status"], InstanceState.EXITED)
    networks = found["NetworkSettings"]["Networks"] or {}
    address = next((one["IPAddress"] for one in networks.values() if one.get("IPAddress")), "")
    running = state is InstanceState.RUNNING
    return Instance(
        name=name,
        id=found["Id"],
        state=state,
        address=f"http://{address}:{AGENT_PORT}" if running and address else "",
        exit_code=int(said["ExitCode"]) if state is InstanceState.EXITED else None,
        labels=found["Config"].get("Labels") or {},
    )
