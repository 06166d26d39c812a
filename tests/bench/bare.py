"""The same things done with plain Docker API calls: what our figures are compared with."""

from __future__ import annotations

import io
import tarfile
import time
import uuid
from dataclasses import dataclass
from typing import Any, cast

import docker
import httpx

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class BareTimes:
    """Seconds of one bare run."""

    build: float
    start: float
    """Create, start and wait for the first healthy answer."""

    @property
    def total(self) -> float:
        """From nothing to healthy."""
        return self.build + self.start


class BareDocker:
    """Repeats what the product did for one running agent, with nothing around it."""

    def __init__(self, container_name: str) -> None:
        """Learn image, files and settings of the container to imitate."""
        self._api = cast("Any", docker.from_env().api)
        self._model: dict[str, Any] = self._api.inspect_container(container_name)
        image = self._api.inspect_image(self._model["Image"])
        self._folder = image["Config"]["WorkingDir"]
        stream, _ = self._api.get_archive(container_name, self._folder)
        self._files = _files_of(b"".join(stream))
        self._base = self._runtime_image(image)

    def run(self) -> BareTimes:
        """Build, create, start and wait once, then clear up."""
        tag = f"af-bench-bare:{uuid.uuid4().hex[:12]}"
        name = tag.replace(":", "-")
        started = time.perf_counter()
        self._build(tag)
        built = time.perf_counter()
        try:
            self._start(name, tag)
            ended = time.perf_counter()
        finally:
            self._api.remove_container(name, force=True, v=True)
            self._api.remove_image(tag, force=True)
        return BareTimes(build=built - started, start=ended - built)

    def _build(self, tag: str) -> None:
        dockerfile = f"FROM {self._base}\nCOPY . {self._folder}\n".encode()
        # One byte differs each time, or the build cache would do the work.
        files = self._files | {"bench.txt": tag.encode(), "Dockerfile": dockerfile}
        for line in self._api.build(
            fileobj=_tar_of(files), custom_context=True, tag=tag, rm=True, decode=True
        ):
            if "error" in line:
                raise RuntimeError(line["error"])

    def _start(self, name: str, tag: str) -> None:
        host = dict(self._model["HostConfig"])
        config = self._model["Config"]
        network = host["NetworkMode"]
        self._api.create_container_from_config(
            {
                "Image": tag,
                "Env": config["Env"],
                "User": config["User"],
                "WorkingDir": config["WorkingDir"],
                "HostConfig": host | {"RestartPolicy": {"Name": "no"}},
            },
            name,
        )
        self._api.start(name)
        networks = self._api.inspect_container(name)["NetworkSettings"]["Networks"]
        address = f"http://{networks[network]['IPAddress']}:8080/ready"
        deadline = time.perf_counter() + PATIENCE_SECONDS
        with httpx.Client(timeout=1) as client:
            while time.perf_counter() < deadline:
                try:
                    if client.get(address).status_code == httpx.codes.OK:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(POLL_SECONDS)
        raise RuntimeError(f"the bare container does not answer at {address}")

    def _runtime_image(self, image: dict[str, Any]) -> str:
        """Return the image under the release: the one that shares most of its layers."""
        layers = image["RootFS"]["Layers"]
        best = ("", 0)
        for row in self._api.images():
            candidate = self._api.inspect_image(row["Id"])
            own = candidate["RootFS"]["Layers"]
            if row["Id"] != image["Id"] and own == layers[: len(own)] and len(own) < len(layers):
                tags = candidate["RepoTags"] or [row["Id"]]
                best = max(best, (tags[0], len(own)), key=lambda item: item[1])
        if not best[0]:
            raise RuntimeError("the image under the release was not found")
        return best[0]


def _files_of(archive: bytes) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                files[member.name.split("/", 1)[1]] = content.read()
    return files


def _tar_of(files: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    return buffer
