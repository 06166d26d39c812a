"""The files of a release, checked before they are written anywhere."""

from __future__ import annotations

from pathlib import PurePosixPath

from provisioning.drivers.base import PermanentDriverError


def checked_path(path: str) -> PurePosixPath:
    """Return the path inside the project's folder.

    Raises:
        PermanentDriverError: it leads out of the project, or is no file's path.

    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise PermanentDriverError(f"The file {path!r} of the release is not inside the project.")
    return PurePosixPath(*parts)
