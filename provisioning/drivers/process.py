"""Agents as processes of this machine, for trying out where there is no container engine.

Not isolated: an agent can read what the platform's user can, and its limits are best effort.
Production settings refuse this driver.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar, Final

from provisioning.drivers.base import (
    LABEL_PREFIX,
    BuildRequest,
    BuiltImage,
    DriverInfo,
    Instance,
    InstanceRequest,
    InstanceState,
    Network,
    NotFoundDriverError,
    OwnedResource,
    PermanentDriverError,
    RuntimeDriver,
    TransientDriverError,
    Usage,
)
from provisioning.drivers.environment import merged_environment
from provisioning.drivers.lines import decoded_lines, last_lines
from provisioning.drivers.process_files import (
    PORTS_LOCK,
    ImageFolders,
    locked,
    program_path,
    read_document,
    reported,
    safe_name,
)
from provisioning.drivers.process_keeper import started_at, write_whole
from provisioning.images.wheels import program_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HOST: Final = "127.0.0.1"
# Below those that systems take for outgoing connections, beside those of the platform's servers.
_PORTS: Final = range(10_240, 20_000)
_PORT_TRIES: Final = 200
_KEEPER: Final = Path(__file__).with_name("process_keeper.py")
_KEEPER_SECONDS: Final = 1.0
_KILL_SECONDS: Final = 10.0
_POLL: Final = 0.02
_FOLLOW_POLL: Final = 0.1
_READ_BYTES: Final = 65_536
_BYTES_PER_MB: Final = 1024 * 1024
_INSTALLATION: Final = f"{LABEL_PREFIX}installation"
_DEPLOYMENT: Final = f"{LABEL_PREFIX}deployment"


class ProcessDriver(RuntimeDriver):
    """Runs agents as processes, with everything of theirs in folders below ``folder``."""

    name: ClassVar[str] = "process"
    isolated: ClassVar[bool] = False

    def __init__(self, installation: str, folder: Path) -> None:
        self._installation = installation
        self._root = folder.absolute() / "process"
        self._images = ImageFolders(self._root / "images")
        self._instances = self._root / "instances"

    def info(self) -> DriverInfo:
        """Return this machine's system and size."""
        if not started_at(os.getpid()):
            raise PermanentDriverError(
                "Agents as local processes need Linux: use a Docker engine on this machine."
            )
        return DriverInfo(
            name=self.name,
            version=f"Python {platform.python_version()}",
            isolated=self.isolated,
            cpu_cores=float(os.cpu_count() or 1),
            memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _BYTES_PER_MB,
        )

    def services_host(self, network: Network) -> str:
        """Return the loopback address."""
        return _HOST

    # --- Images -------------------------------------------------------------------------------

    def ensure_image(self, request: BuildRequest) -> BuiltImage:
        """Write the release's files to a folder of their own, or find them written."""
        with reported(f"build the image {request.tag}"), locked(self._root, request.tag):
            reference, created = self._images.ensure(request, self._labels(request.labels))
        return BuiltImage(reference=reference, created=created)

    def remove_image(self, tag: str) -> None:
        """Remove the folders of the tag, unless an instance runs from one."""
        with reported(f"remove the image {tag}"), locked(self._root, tag):
            for name in self._names():
                if self._start_of(name).get("image", "").rpartition("@")[0] == tag:
                    raise TransientDriverError(
                        f"Could not remove the image {tag}: the instance {name} uses it."
                    )
            self._images.remove(tag)

    # --- Instances ----------------------------------------------------------------------------

    def ensure_instance(self, request: InstanceRequest) -> Instance:
        """Start the process, or find it running, and return it."""
        doing = f"start the process {request.name}"
        image = self._images.path(request.image)
        with reported(doing), locked(self._root, request.name):
            found = self._look(request.name)
            start = self._start_of(request.name)
            if found.state is not InstanceState.MISSING and not _is_request_of(start, request):
                self._remove(request.name, 5.0)
                found, start = self._look(request.name), {}
            if found.state is InstanceState.RUNNING:
                return found
            if not (image / "project").is_dir():
                raise NotFoundDriverError(f"Could not {doing}: its image {request.image} is gone.")
            folder = self._folder(request.name)
            (folder / "work").mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            write_whole(folder / "credentials.json", dict(request.credentials))
            # Ports are given out one at a time, for an agent takes its own only when it listens.
            with locked(self._root, PORTS_LOCK):
                port = self._free_port(request.name, start.get("port"))
                write_whole(folder / "start.json", self._plan(request, image, folder, port))
            self._run_keeper(folder, doing)
            return self._look(request.name)

    def inspect(self, name: str) -> Instance:
        """Return the process as it is now."""
        with reported(f"look at the process {name}"):
            return self._look(name)

    def remove_instance(self, name: str, *, grace_seconds: float = 5.0) -> None:
        """Stop the process with those that it started, and remove its folder."""
        with reported(f"remove the process {name}"), locked(self._root, name):
            self._remove(name, grace_seconds)

    # --- What it says and uses ----------------------------------------------------------------

    def logs(self, name: str, *, tail: int = 200) -> list[str]:
        """Return its last lines of output, oldest first."""
        output = b""
        with reported(f"read the log of {name}"):
            for file in ("output.log.1", "output.log"):
                with suppress(FileNotFoundError):
                    output += (self._folder(name) / file).read_bytes()
        return last_lines(output, tail)

    def follow_logs(self, name: str) -> Iterator[str]:
        """Yield its lines of output as they are written, until it ends."""
        yield from decoded_lines(self._follow(name))

    def usage(self, name: str) -> Usage:
        """Return its resident memory and processor time."""
        process = read_document(self._folder(name) / "process.json")
        pid = process.get("pid", 0)
        try:
            memory = Path(f"/proc/{pid}/statm").read_text().split()
            times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            memory, times = [], []
        if not times or not _is_alive(process, "pid", "started"):
            raise NotFoundDriverError(f"The process {name} is not running.")
        # Fields 14 and 15 of proc(5), counted from the state, which is the third.
        ticks = int(times[11]) + int(times[12])
        return Usage(
            memory_mb=int(memory[1]) * os.sysconf("SC_PAGE_SIZE") / _BYTES_PER_MB,
            cpu_seconds=ticks / os.sysconf("SC_CLK_TCK"),
        )

    # --- What there is ------------------------------------------------------------------------

    def list_owned(self) -> list[OwnedResource]:
        """Return the instances and images in the folder, which are this installation's."""
        owned = [
            OwnedResource("instance", name, self._start_of(name).get("labels", {}))
            for name in self._names()
        ]
        images = {tag: labels for tag, _, labels in self._images.builds()}
        return owned + [OwnedResource("image", tag, labels) for tag, labels in images.items()]

    def remove_owned(self, resource: OwnedResource) -> None:
        """Remove one such thing; success if it is gone."""
        if resource.kind == "instance":
            self.remove_instance(resource.name)
        elif resource.kind == "image":
            self.remove_image(resource.name)

    # --- Parts --------------------------------------------------------------------------------

    def _labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {**labels, _INSTALLATION: self._installation}

    def _folder(self, name: str) -> Path:
        return self._instances / safe_name(name)

    def _names(self) -> list[str]:
        starts = sorted(self._instances.glob("*/start.json"))
        return [name for path in starts if (name := read_document(path).get("name"))]

    def _start_of(self, name: str) -> dict[str, Any]:
        return read_document(self._folder(name) / "start.json")

    def _plan(
        self, request: InstanceRequest, image: Path, folder: Path, port: int
    ) -> dict[str, Any]:
        """Return what the keeper runs, and what is asked about the instance later."""
        program = program_path(self._root, program_folder())
        return {
            "name": request.name,
            "image": request.image,
            "labels": self._labels(request.labels),
            "port": port,
            "memory_mb": request.resources.memory_mb,
            "command": [sys.executable, "main.py"],
            "folder": str(image / "project"),
            # Nothing of the platform's own, which holds its passwords.
            "environment": merged_environment(
                request.environment,
                {
                    "PATH": os.environ.get("PATH", os.defpath),
                    "LANG": "C.UTF-8",
                    "HOME": str(folder / "work"),
                    "TMPDIR": str(folder / "work"),
                    "PYTHONPATH": f"{program}{os.pathsep}{image / 'packages'}",
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "AGENT_MODE": request.mode,
                    "AGENT_HOST": _HOST,
                    "AGENT_PORT": str(port),
                    "AGENT_CREDENTIALS_FILE": str(folder / "credentials.json"),
                },
            ),
        }

    def _free_port(self, name: str, before: int | None) -> int:
        """Return the port that the instance had, if nobody has it now, or another free one."""
        taken = {self._start_of(other).get("port") for other in self._names() if other != name}
        candidates = random.SystemRandom().sample(_PORTS, _PORT_TRIES)
        for port in [before, *candidates] if before else candidates:
            if port not in taken and _is_free(port):
                return port
        raise PermanentDriverError(
            f"No free port was found between {_PORTS.start} and {_PORTS.stop}: end programs that "
            "listen there."
        )

    def _run_keeper(self, folder: Path, doing: str) -> None:
        with subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), str(folder)],
            cwd=folder,
            env={"LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as first:
            said = first.stdout.readline() if first.stdout is not None else b""
        if said.strip() != b"started":
            words = said.decode(errors="replace").strip() or "it said nothing"
            raise TransientDriverError(f"Could not {doing}: {words}.")

    def _look(self, name: str) -> Instance:
        folder = self._folder(name)
        start = read_document(folder / "start.json")
        if not start:
            return Instance(name=name, id="", state=InstanceState.MISSING, address="")
        process = read_document(folder / "process.json")
        state = InstanceState.CREATED
        exit_code: int | None = None
        if _is_alive(process, "pid", "started"):
            state = InstanceState.RUNNING
        elif process or (folder / "exit.json").exists():
            state = InstanceState.EXITED
            exit_code = int(read_document(folder / "exit.json").get("code", 128 + signal.SIGKILL))
        running = state is InstanceState.RUNNING
        return Instance(
            name=name,
            id=str(process.get("pid", "")),
            state=state,
            address=f"http://{_HOST}:{start['port']}" if running else "",
            exit_code=exit_code,
            labels=start["labels"],
        )

    def _remove(self, name: str, grace_seconds: float) -> None:
        folder = self._folder(name)
        process = read_document(folder / "process.json")
        if _is_alive(process, "pid", "started"):
            _signal_group(process["pid"], signal.SIGTERM)
            if not _ends(process, "pid", "started", grace_seconds):
                _signal_group(process["pid"], signal.SIGKILL)
                _ends(process, "pid", "started", _KILL_SECONDS)
        if not _ends(process, "keeper", "keeper_started", _KEEPER_SECONDS):
            # Something that the agent started is left. The group's number is still its own while
            # the keeper waits.
            _signal_group(process["pid"], signal.SIGKILL)
            _ends(process, "keeper", "keeper_started", _KILL_SECONDS)
        # The file that says that there is an instance goes first: half removed is removed.
        (folder / "start.json").unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)

    def _follow(self, name: str) -> Iterator[bytes]:
        path = self._folder(name) / "output.log"
        with suppress(FileNotFoundError):
            yield path.with_name("output.log.1").read_bytes()
        while True:
            # Looked at first, so that what it wrote at its end is read after it ended.
            running = self._look(name).state is InstanceState.RUNNING
            try:
                file = path.open("rb")
            except FileNotFoundError:
                if not running:
                    return
                sleep(_FOLLOW_POLL)
                continue
            with file:
                while True:
                    while part := file.read(_READ_BYTES):
                        yield part
                    if not running:
                        return
                    if _was_replaced(path, file.fileno()):
                        break
                    sleep(_FOLLOW_POLL)
                    running = self._look(name).state is InstanceState.RUNNING


def _is_request_of(start: Mapping[str, Any], request: InstanceRequest) -> bool:
    deployment = request.labels.get(_DEPLOYMENT)
    return start.get("image") == request.image and deployment in (
        None,
        start.get("labels", {}).get(_DEPLOYMENT),
    )


def _is_alive(process: Mapping[str, Any], pid: str, started: str) -> bool:
    """Tell whether the process is still the one that was started, not another with its number."""
    return bool(process.get(started)) and started_at(process[pid]) == process[started]


def _ends(process: Mapping[str, Any], pid: str, started: str, seconds: float) -> bool:
    deadline = monotonic() + seconds
    while _is_alive(process, pid, started):
        if monotonic() > deadline:
            return False
        sleep(_POLL)
    return True


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _was_replaced(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return True
