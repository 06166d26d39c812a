"""The runtime image: the base with the agents' program, its locked libraries and its user."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docker.errors import APIError

from provisioning.drivers.base import LABEL_PREFIX, PermanentDriverError
from provisioning.drivers.docker_engine import engine, find_image, translated
from provisioning.images.base import BaseImage, find_base_image
from provisioning.images.building import build_from_archive, one_builder
from provisioning.images.layout import (
    AGENT_GID,
    AGENT_UID,
    CREDENTIALS_FOLDER,
    LIBRARY_FOLDER,
    PACKAGES_FOLDER,
    PROJECT_FOLDER,
)
from provisioning.images.wheels import install_wheels, lock_file, program_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.api.client import APIClient

_REPOSITORY: Final = "agent-factory/runtime"
_LIBRARIES_REPOSITORY: Final = "agent-factory/libraries"
_DIGEST_LABEL: Final = f"{LABEL_PREFIX}runtime"
_PYTHON_LABEL: Final = f"{LABEL_PREFIX}python"
_MACHINE_LABEL: Final = f"{LABEL_PREFIX}machine"
_OLDEST_PYTHON: Final = (3, 11)
_PROBE: Final = (
    "import sys, platform; print(sys.version_info[0], sys.version_info[1], platform.machine())"
)
_PACKAGE_FILES: Final = (".py", ".json", ".typed")
# Raised whenever the recipe below changes.
_RECIPE: Final = "1"
_LIBRARIES_DOCKERFILE: Final = f"""\
FROM {{base}}
COPY lib/ {LIBRARY_FOLDER}/
RUN ["python3", "-m", "compileall", "-q", "-j", "0", "{LIBRARY_FOLDER}"]
"""
_RUNTIME_DOCKERFILE: Final = f"""\
FROM {{libraries}}
COPY passwd group /etc/
COPY agent_runtime/ {LIBRARY_FOLDER}/agent_runtime/
RUN ["python3", "-c", "import compileall, os; compileall.compile_dir('{LIBRARY_FOLDER}/agent_runtime', quiet=1); os.makedirs('{CREDENTIALS_FOLDER}', exist_ok=True); os.makedirs('{PROJECT_FOLDER}', exist_ok=True)"]
ENV PYTHONPATH={LIBRARY_FOLDER}:{PACKAGES_FOLDER} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR {PROJECT_FOLDER}
USER {AGENT_UID}:{AGENT_GID}
ENTRYPOINT []
CMD ["python3", "main.py"]
"""  # noqa: E501 - lines of another language


@dataclass(frozen=True)
class RuntimeImage:
    """The runtime image that the engine has."""

    reference: str
    """Tag by content, as in ``agent-factory/runtime:0a1b2c3d4e5f``."""
    digest: str
    """SHA-256 of what it was built from; equal digests behave equally."""
    python: str
    """As in "3.11"."""
    machine: str
    """As in "x86_64"."""


def ensure_runtime_image() -> RuntimeImage:
    """Find the runtime image of this version of the program, or build it on the base image.

    Raises:
        PermanentDriverError: there is no base image, or the libraries are not to be had.
        TransientDriverError: the engine does not answer.

    """
    with translated("look for the runtime image"):
        client = engine()
        found = _find(client)
        if found is not None:
            return found
        with one_builder():
            return _find(client) or _build(client, _base(client))


def rebuild_runtime_image() -> RuntimeImage:
    """Build the runtime image anew on the present base image."""
    with translated("build the runtime image"), one_builder():
        client = engine()
        return _build(client, _base(client))


def _base(client: APIClient) -> BaseImage:
    base = find_base_image(client)
    if base is None:
        raise PermanentDriverError(
            "There is no base image for agents yet: run `make base-image`, then try again."
        )
    return base


def _find(client: APIClient) -> RuntimeImage | None:
    digest = _digest()
    reference = f"{_REPOSITORY}:{digest[:12]}"
    found = find_image(client, reference)
    labels = (found["Config"].get("Labels") or {}) if found else {}
    if labels.get(_DIGEST_LABEL) != digest:
        return None
    return RuntimeImage(reference, digest, labels[_PYTHON_LABEL], labels[_MACHINE_LABEL])


def _build(client: APIClient, base: BaseImage) -> RuntimeImage:
    python, machine = _ask_base(client, base)
    libraries = _ensure_libraries(client, base, python, machine)
    digest = _digest()
    reference = f"{_REPOSITORY}:{digest[:12]}"
    files = {f"agent_runtime/{path}": data for path, data in _program_files()}
    files["passwd"] = (
        b"root:x:0:0:root:/root:/usr/sbin/nologin\n"
        b"agent:x:%d:%d:agent:/tmp:/usr/sbin/nologin\n" % (AGENT_UID, AGENT_GID)
    )
    files["group"] = b"root:x:0:\nagent:x:%d:\n" % AGENT_GID
    files["Dockerfile"] = _RUNTIME_DOCKERFILE.format(libraries=libraries).encode()
    build_from_archive(
        client,
        _archive(files),
        tag=reference,
        labels={_DIGEST_LABEL: digest, _PYTHON_LABEL: python, _MACHINE_LABEL: machine},
    )
    return RuntimeImage(reference, digest, python, machine)


def _ensure_libraries(client: APIClient, base: BaseImage, python: str, machine: str) -> str:
    """Return the image of the base with the locked libraries: rarely built, and slowly."""
    lock = lock_file().read_bytes()
    digest = hashlib.sha256(b"\0".join([_RECIPE.encode(), base.id.encode(), lock])).hexdigest()
    reference = f"{_LIBRARIES_REPOSITORY}:{digest[:12]}"
    if find_image(client, reference) is None:
        with tempfile.TemporaryDirectory(prefix="agent-factory-libraries-") as folder:
            install_wheels(
                ["--require-hashes", "--no-deps", f"--requirement={lock_file()}"],
                Path(folder),
                python=python,
                machine=machine,
            )
            dockerfile = _LIBRARIES_DOCKERFILE.format(base=base.id).encode()
            archive = _archive({"Dockerfile": dockerfile}, Path(folder))
        build_from_archive(client, archive, tag=reference, labels={})
    return reference


def _ask_base(client: APIClient, base: BaseImage) -> tuple[str, str]:
    """Return the Python version and the machine of the base image, by running it."""
    container: Any = client.create_container(
        base.id, ["python3", "-c", _PROBE], network_disabled=True, entrypoint=""
    )
    words: list[str] = []
    try:
        client.start(container["Id"])
        if client.wait(container["Id"], timeout=60)["StatusCode"] == 0:
            words = client.logs(container["Id"]).decode(errors="replace").split()
    except APIError as error:
        # The engine could not run the program at all.
        if error.status_code not in (400, 404):
            raise
    finally:
        client.remove_container(container["Id"], force=True, v=True)
    if len(words) != 3:  # noqa: PLR2004 - what the probe prints
        raise PermanentDriverError(f"The base image ({base.origin}) cannot run python3.")
    major, minor, machine = words
    if (int(major), int(minor)) < _OLDEST_PYTHON:
        raise PermanentDriverError(
            f"The base image ({base.origin}) has Python {major}.{minor}: agents need 3.11 or newer."
        )
    return f"{major}.{minor}", machine


def _program_files() -> Iterator[tuple[str, bytes]]:
    for path in sorted(program_folder().rglob("*")):
        if path.suffix in _PACKAGE_FILES and path.is_file():
            yield path.relative_to(program_folder()).as_posix(), path.read_bytes()


@cache
def _digest() -> str:
    """Return the SHA-256 of the program and its lock, as they were when this process began."""
    whole = hashlib.sha256(f"{_RECIPE}\n".encode() + lock_file().read_bytes())
    for path, data in _program_files():
        whole.update(f"\n{path}\n{len(data)}\n".encode() + data)
    return whole.hexdigest()


def _archive(files: dict[str, bytes], libraries: Path | None = None) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
        if libraries is not None:
            tar.add(libraries, "lib", filter=_readable_by_all)
    return archive.getvalue()


def _readable_by_all(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry
