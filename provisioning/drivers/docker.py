"""Agents as containers of a Docker engine.

A container has no rights beyond its own process: it is not root, its files are read-only, all
capabilities are dropped, processor, memory and processes are limited, and its network is closed
(``docker_networks``). Its credentials come in a small volume of its own: so they outlive a restart
of the engine and stand neither in its environment, its labels nor its image.
"""

from __future__ import annotations

import math
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar, Final

from docker.errors import APIError, NotFound

from provisioning.drivers.base import (
    BuildRequest,
    BuiltImage,
    DriverInfo,
    Instance,
    InstanceRequest,
    InstanceState,
    Network,
    NotFoundDriverError,
    OwnedResource,
    RuntimeDriver,
    TransientDriverError,
    Usage,
)
from provisioning.drivers.docker_containers import (
    create_arguments,
    credentials_archive,
    credentials_volume,
    instance_of,
    is_request_of,
)
from provisioning.drivers.docker_engine import (
    INSTALLATION_LABEL,
    driver_error,
    engine,
    is_conflict,
    translated,
)
from provisioning.drivers.docker_follow import follow_output
from provisioning.drivers.docker_images import build_release, find_release, owned_images
from provisioning.drivers.docker_networks import ensure_networks, network_name
from provisioning.drivers.lines import decoded_lines, last_lines
from provisioning.images.layout import CREDENTIALS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.api.client import APIClient

_MAKE_TRIES: Final = 20
_TRY_PAUSE: Final = 0.1
_GONE_SECONDS: Final = 20.0
_BYTES_PER_MB: Final = 1024 * 1024
_NANOSECONDS: Final = 1_000_000_000


class DockerDriver(RuntimeDriver):
    """Runs agents as containers on the engine that the environment names (DOCKER_HOST)."""

    name: ClassVar[str] = "docker"
    isolated: ClassVar[bool] = True

    def __init__(self, installation: str) -> None:
        self._installation = installation
        self._gateways: dict[str, str] = {}
        self._cores = 0.0

    def info(self) -> DriverInfo:
        """Return the engine's version and size."""
        with translated("ask the Docker engine"):
            said = engine().info()
        self._cores = float(said["NCPU"])
        return DriverInfo(
            name=self.name,
            version=str(said["ServerVersion"]),
            isolated=self.isolated,
            cpu_cores=self._cores,
            memory_mb=int(said["MemTotal"]) // _BYTES_PER_MB,
        )

    def services_host(self, network: Network) -> str:
        """Return the host's address on the network."""
        if network not in self._gateways:
            self._gateways = ensure_networks(self._installation)
        return self._gateways[network]

    # --- Images -------------------------------------------------------------------------------

    def ensure_image(self, request: BuildRequest) -> BuiltImage:
        """Build the release's image, or find it built from these very files."""
        with translated(f"build the image {request.tag}"):
            client = engine()
            found = find_release(client, request)
            if found is not None:
                return BuiltImage(reference=found, created=False)
            return BuiltImage(
                reference=build_release(client, request, self._labels(request.labels)),
                created=True,
            )

    def remove_image(self, tag: str) -> None:
        """Remove the image; success if there is none."""
        with translated(f"remove the image {tag}"):
            _ignore_missing(lambda: engine().remove_image(tag))

    # --- Instances ----------------------------------------------------------------------------

    def ensure_instance(self, request: InstanceRequest) -> Instance:
        """Create and start the container, or find it running, and return it."""
        self.services_host(request.network)
        doing = f"start the container {request.name}"
        with translated(doing):
            client = engine()
            for _ in range(_MAKE_TRIES):
                made = self._try_to_make(client, request, doing)
                if made is not None:
                    return made
                # Another worker is doing something to it just now.
                sleep(_TRY_PAUSE)
        raise TransientDriverError(
            f"Could not {doing}: something else is being done to it. Try again."
        )

    def inspect(self, name: str) -> Instance:
        """Return the container as it is now."""
        with translated(f"look at the container {name}"):
            return instance_of(name, _look(engine(), name))

    def remove_instance(self, name: str, *, grace_seconds: float = 5.0) -> None:
        """Stop the container and remove it with its volume."""
        with translated(f"remove the container {name}"):
            client = engine()
            _remove_container(client, name, grace_seconds)
            _ignore_missing(lambda: client.remove_volume(credentials_volume(name)))

    # --- What it says and uses ----------------------------------------------------------------

    def logs(self, name: str, *, tail: int = 200) -> list[str]:
        """Return its last lines of output, oldest first."""
        with translated(f"read the log of the container {name}"):
            try:
                output = engine().logs(name, tail=tail)
            except NotFound:
                return []
        return last_lines(output, tail)

    def follow_logs(self, name: str) -> Iterator[str]:
        """Yield its lines of output from the start and as they are written, until it ends."""
        with translated(f"follow the log of the container {name}"):
            yield from decoded_lines(follow_output(engine(), name))

    def usage(self, name: str) -> Usage:
        """Return the memory in use without reclaimable file cache, and processor time."""
        with translated(f"measure the container {name}"):
            said: Any = engine().stats(name, stream=False, one_shot=True)
        memory = said.get("memory_stats") or {}
        if not memory.get("usage"):
            raise NotFoundDriverError(f"The container {name} is not running.")
        details = memory.get("stats") or {}
        # As `docker stats` counts: cgroup v1 and v2 have different names for it.
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        return Usage(
            memory_mb=max(0, memory["usage"] - cache) / _BYTES_PER_MB,
            cpu_seconds=said["cpu_stats"]["cpu_usage"]["total_usage"] / _NANOSECONDS,
        )

    # --- What there is ------------------------------------------------------------------------

    def list_owned(self) -> list[OwnedResource]:
        """Return the containers, images and volumes with this installation's label."""
        label = f"{INSTALLATION_LABEL}={self._installation}"
        with translated("list what the installation owns"):
            client = engine()
            owned = [
                OwnedResource("instance", one["Names"][0].lstrip("/"), one["Labels"] or {})
                for one in client.containers(all=True, filters={"label": label})
                if one["Names"]
            ]
            owned += owned_images(client, label)
            volumes = client.volumes(filters={"label": label})["Volumes"] or []
            owned += [OwnedResource("volume", one["Name"], one["Labels"] or {}) for one in volumes]
        return owned

    def remove_owned(self, resource: OwnedResource) -> None:
        """Remove one such thing; success if it is gone."""
        if resource.kind == "instance":
            self.remove_instance(resource.name)
        elif resource.kind == "image":
            self.remove_image(resource.name)
        else:
            with translated(f"remove the volume {resource.name}"):
                _ignore_missing(lambda: engine().remove_volume(resource.name))

    # --- Parts --------------------------------------------------------------------------------

    def _labels(self, labels: Any) -> dict[str, str]:
        return {**labels, INSTALLATION_LABEL: self._installation}

    def _host_cores(self) -> float:
        return self._cores or self.info().cpu_cores

    def _try_to_make(
        self, client: APIClient, request: InstanceRequest, doing: str
    ) -> Instance | None:
        """Bring the container one step on; return it running, or None to look again."""
        arguments = create_arguments(
            request,
            labels=self._labels(request.labels),
            network=network_name(self._installation, request.network),
            host_cores=self._host_cores(),
        )
        try:
            client.create_container_from_config(*arguments)  # type: ignore[no-untyped-call]  # the stubs leave it open
        except APIError as error:
            if not is_conflict(error):
                raise
            found = _look(client, request.name)
            if found is None:
                return None
            if not is_request_of(found, request):
                _remove_container(client, request.name, 5.0)
                return None
            if instance_of(request.name, found).state is InstanceState.RUNNING:
                return instance_of(request.name, found)
        return self._start(client, request, doing)

    def _start(self, client: APIClient, request: InstanceRequest, doing: str) -> Instance | None:
        try:
            client.put_archive(request.name, CREDENTIALS_FOLDER, credentials_archive(request))
            client.start(request.name)
        except APIError as error:
            if is_conflict(error):
                return None
            if error.status_code != 404:  # noqa: PLR2004 - HTTP's "not found"
                raise driver_error(error, doing) from error
            # The network was removed under the container, or the container itself.
            self._gateways = ensure_networks(self._installation)
            return None
        found = _look(client, request.name)
        return None if found is None else instance_of(request.name, found)


def _look(client: APIClient, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.inspect_container(name)
    except NotFound:
        return None
    # The engine also finds containers by the beginning of their id.
    return found if found["Name"] == f"/{name}" else None


def _remove_container(client: APIClient, name: str, grace_seconds: float) -> None:
    if _look(client, name) is None:
        return
    _ignore_missing(lambda: client.stop(name, timeout=math.ceil(grace_seconds)))
    try:
        _ignore_missing(lambda: client.remove_container(name, force=True, v=True))
    except APIError as error:
        if not is_conflict(error):
            raise
    # Another worker may be removing it.
    deadline = monotonic() + _GONE_SECONDS
    while _look(client, name) is not None:
        if monotonic() > deadline:
            raise TransientDriverError(f"The container {name} is still being removed. Try again.")
        sleep(_TRY_PAUSE)


def _ignore_missing(remove: Any) -> None:
    try:
        remove()
    except NotFound:
        return
