"""Images of releases: the checked project on top of the runtime image, in one layer."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from docker.errors import NotFound

from provisioning.drivers.base import LABEL_PREFIX, BuildRequest, OwnedResource
from provisioning.drivers.docker_engine import INSTALLATION_LABEL, find_image
from provisioning.drivers.projects import checked_path
from provisioning.images.layout import PACKAGES_FOLDER, PROJECT_FOLDER
from provisioning.images.runtime import RuntimeImage, ensure_runtime_image
from provisioning.images.wheels import install_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.api.client import APIClient

CONTENT_LABEL: Final = f"{LABEL_PREFIX}content"
"""Label with the SHA-256 of everything that the image was built from."""
_DEPLOYMENT_LABEL: Final = f"{LABEL_PREFIX}deployment"


def content_digest(request: BuildRequest, runtime: RuntimeImage) -> str:
    """Return the SHA-256 of the runtime, the files and the packages that make the image."""
    content = [runtime.digest, sorted(request.files.items()), sorted(request.packages)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def find_release(client: APIClient, request: BuildRequest) -> str | None:
    """Return the id of the image with this tag, if it was built from these very files."""
    found = find_image(client, request.tag)
    if found is None:
        return None
    labels = found["Config"].get("Labels") or {}
    if labels.get(CONTENT_LABEL) != content_digest(request, ensure_runtime_image()):
        return None
    return str(found["Id"])


def build_release(client: APIClient, request: BuildRequest, labels: Mapping[str, str]) -> str:
    """Build the image and return its id.

    Raises:
        PermanentDriverError: a path leads out of the project, a package is not to be had, or the
            base image is missing.

    """
    runtime = ensure_runtime_image()
    content = content_digest(request, runtime)
    labels = {**labels, CONTENT_LABEL: content}
    tested = _made_for_a_test(client, content, labels)
    if tested is not None:
        # What was tested is what runs, and its packages need not be installed again.
        with suppress(NotFound):
            return _commit(client, request.tag, tested, labels)
    with tempfile.TemporaryDirectory(prefix="agent-image-") as folder:
        packages = Path(folder)
        if request.packages:
            install_packages(
                request.packages, packages, python=runtime.python, machine=runtime.machine
            )
        archive = _archive(request, packages)
    return _commit(client, request.tag, runtime.reference, labels, archive)


def _made_for_a_test(client: APIClient, content: str, labels: Mapping[str, str]) -> str | None:
    """Return the id of an image of this content that was made for no deployment, if there is one.

    Only a deployment's image is made from such a one: so copies are never copied.
    """
    if _DEPLOYMENT_LABEL not in labels:
        return None
    wanted = [f"{name}={labels[name]}" for name in (CONTENT_LABEL, INSTALLATION_LABEL)]
    found = client.images(filters={"label": wanted})
    ids = [str(one["Id"]) for one in found if _DEPLOYMENT_LABEL not in (one["Labels"] or {})]
    return ids[0] if ids else None


def _commit(
    client: APIClient,
    name: str,
    source: str,
    labels: Mapping[str, str],
    archive: bytes | None = None,
) -> str:
    """Make the image of this name from another one, with these labels and files; return its id."""
    repository, _, tag = name.rpartition(":")
    # One layer on the source, made as `docker commit` does: in half the time of a Dockerfile with
    # a COPY and a LABEL. The container is never started; its settings and labels go to the image.
    container: Any = client.create_container(source, labels=dict(labels), network_disabled=True)
    try:
        if archive is not None:
            client.put_archive(container["Id"], "/", archive)
        made: Any = client.commit(container["Id"], repository=repository, tag=tag, pause=False)
    finally:
        client.remove_container(container["Id"], force=True, v=True)
    return str(made["Id"])


def owned_images(client: APIClient, label: str) -> list[OwnedResource]:
    """Return the images with the label, each by its tag, or by its id if it lost it."""
    return [
        OwnedResource("image", name, image["Labels"] or {})
        for image in client.images(filters={"label": label})
        for name in _names(image)
    ]


def _names(image: Mapping[str, Any]) -> list[str]:
    tags = [tag for tag in image["RepoTags"] or [] if tag != "<none>:<none>"]
    return tags or [image["Id"]]


def _archive(request: BuildRequest, packages: Path) -> bytes:
    """Return the layer's files: readable by all, writable by nobody, the same each time."""
    archive = io.BytesIO()
    made: set[PurePosixPath] = set()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        if request.packages:
            tar.add(packages, PACKAGES_FOLDER.lstrip("/"), filter=_owned_by_root)
        for path, text in sorted(request.files.items()):
            place = PurePosixPath(PROJECT_FOLDER.lstrip("/")) / checked_path(path)
            for folder in reversed(place.parents[:-1]):
                if folder not in made:
                    made.add(folder)
                    _add_folder(tar, folder)
            _add_file(tar, place, text)
    return archive.getvalue()


def _add_folder(tar: tarfile.TarFile, path: PurePosixPath) -> None:
    entry = tarfile.TarInfo(str(path))
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o755
    tar.addfile(entry)


def _add_file(tar: tarfile.TarFile, path: PurePosixPath, text: str) -> None:
    data = text.encode()
    entry = tarfile.TarInfo(str(path))
    entry.size = len(data)
    entry.mode = 0o444
    tar.addfile(entry, io.BytesIO(data))


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o444
    return entry
