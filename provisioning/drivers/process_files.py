"""The folders of the process driver: images that never change, and instances."""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import shutil
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from provisioning.drivers.base import BuildRequest, PermanentDriverError, TransientDriverError
from provisioning.drivers.process_keeper import write_whole
from provisioning.drivers.projects import checked_path
from provisioning.images.wheels import install_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PORTS_LOCK: Final = "ports"
"""A lock of its own, for it is taken by those who hold another."""

_LOCKS: Final = 64
_NAME_LENGTH: Final = 200


@contextmanager
def reported(doing: str) -> Iterator[None]:
    """Raise what the file system refuses as the driver's error."""
    try:
        yield
    except OSError as error:
        raise TransientDriverError(
            f"Could not {doing}: {error.strerror or error}. Check the space and the rights in "
            "DATA_DIR."
        ) from error


@contextmanager
def locked(root: Path, name: str) -> Iterator[None]:
    """Let one worker at a time do something to what has this name."""
    folder = root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    # A fixed number of files: one that is removed could be locked by two.
    file_name = name if name == PORTS_LOCK else str(zlib.crc32(name.encode()) % _LOCKS)
    with (folder / file_name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def safe_name(name: str) -> str:
    """Return the name as that of one file. Raises PermanentDriverError when it cannot be."""
    safe = quote(name, safe="")
    if not safe or safe.startswith(".") or len(safe) > _NAME_LENGTH:
        raise PermanentDriverError(f"The name {name[:60]!r} cannot be that of a folder.")
    return safe


def read_document(path: Path) -> dict[str, Any]:
    """Return the file's JSON object; empty when there is none, or none that can be read."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


class ImageFolders:
    """Builds of releases, each a folder under the name of its tag and its content."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def ensure(self, request: BuildRequest, labels: Mapping[str, str]) -> tuple[str, bool]:
        """Return the build's reference, and whether this call made it."""
        content = [sorted(request.files.items()), sorted(request.packages)]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        reference = f"{request.tag}@{digest}"
        place = self.path(reference)
        if place.exists():
            return reference, False
        draft = self._root / f".new-{secrets.token_hex(8)}"
        try:
            self._write(draft, request)
            write_whole(draft / "image.json", {"tag": request.tag, "labels": dict(labels)})
            try:
                draft.rename(place)
            except OSError:
                if not place.exists():
                    raise
                # Another worker built the same.
                return reference, False
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return reference, True

    def path(self, reference: str) -> Path:
        """Return the folder of the build."""
        return self._root / safe_name(reference)

    def builds(self) -> list[tuple[str, Path, Mapping[str, str]]]:
        """Return tag, folder and labels of every build."""
        found: list[tuple[str, Path, Mapping[str, str]]] = []
        for place in sorted(self._root.glob("[!.]*")):
            image = read_document(place / "image.json")
            if image:
                found.append((str(image["tag"]), place, dict(image["labels"])))
        return found

    def remove(self, tag: str) -> None:
        """Remove every build of the tag."""
        for found, place, _ in self.builds():
            if found == tag:
                gone = self._root / f".gone-{secrets.token_hex(8)}"
                with suppress(FileNotFoundError):
                    place.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)

    def _write(self, draft: Path, request: BuildRequest) -> None:
        project = draft / "project"
        project.mkdir(parents=True)
        for path, text in request.files.items():
            file = project / checked_path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="")
            file.chmod(0o444)
        (draft / "packages").mkdir()
        if request.packages:
            install_packages(request.packages, draft / "packages")


def program_path(root: Path, program: Path) -> Path:
    """Return a folder in which Python finds the agents' program, and nothing else of the platform.

    A link, so that agents run the program as it is.
    """
    folder = root / "program"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / program.name
    if not link.is_symlink() or link.readlink() != program:
        draft = folder / f".{secrets.token_hex(8)}"
        draft.symlink_to(program)
        draft.replace(link)
    return folder
