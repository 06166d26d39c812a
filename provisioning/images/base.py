"""The base image: a small system with Python, found, fetched from a registry, or made here."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docker.errors import APIError, ImageNotFound, NotFound
from requests.exceptions import RequestException

from provisioning.drivers.base import LABEL_PREFIX, PermanentDriverError
from provisioning.drivers.docker_engine import engine, find_image, translated
from provisioning.images.building import one_builder

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker.api.client import APIClient

BASE_TAG: Final = "agent-factory/base:1"
"""An operator may give this name to an image of their own, if it has Python 3.11 or newer."""

_ORIGIN_LABEL: Final = f"{LABEL_PREFIX}base"
_INCLUDED: Final = "python3,ca-certificates"
# Not needed to run a program; a third of the size.
_LEFT_OUT: Final = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
    "usr/share/bash-completion", "var/cache/apt", "var/cache/debconf", "var/lib/apt/lists",
    "var/log",
)  # fmt: skip
_DEBOOTSTRAP_SECONDS: Final = 1800


@dataclass(frozen=True)
class BaseImage:
    """The base image that the engine has."""

    id: str
    origin: str
    """For people: where it came from."""


def find_base_image(client: APIClient) -> BaseImage | None:
    """Return the base image, or None when the engine has none yet."""
    found = find_image(client, BASE_TAG)
    if found is None:
        return None
    labels = found["Config"].get("Labels") or {}
    other_tags = [tag for tag in found["RepoTags"] or [] if tag != BASE_TAG]
    origin = labels.get(_ORIGIN_LABEL) or (other_tags[0] if other_tags else "an image of your own")
    return BaseImage(id=str(found["Id"]), origin=origin)


def ensure_base_image(
    *, renew: bool = False, say: Callable[[str], None] = lambda _: None
) -> BaseImage:
    """Find the base image, fetch it, or make it; ``renew`` does so even if there is one.

    ``say`` is told what is going on, for this may take minutes.

    Raises:
        PermanentDriverError: there is none and this machine cannot make one; says what to do.
        TransientDriverError: the engine does not answer.

    """
    with translated("look for the base image"), one_builder():
        client = engine()
        found = find_base_image(client)
        if found is not None and not renew:
            return found
        if not _fetch(client, say):
            _make(client, say)
        made = find_base_image(client)
    if made is None:
        raise PermanentDriverError("The base image was removed while it was made. Try again.")
    return made


def _fetch(client: APIClient, say: Callable[[str], None]) -> bool:
    """Take the official slim image where a registry has it for us; tell whether it did."""
    reference = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    try:
        say(f"Looking for {reference} in the registry …")
        name, tag = reference.split(":")
        for said in client.pull(name, tag=tag, stream=True, decode=True):
            if "error" in said:
                break
    except (APIError, RequestException):
        say("No registry answers.")
    repository, version = BASE_TAG.split(":")
    try:
        client.tag(reference, repository, tag=version, force=True)
    except (ImageNotFound, NotFound):
        return False
    return True


def _make(client: APIClient, say: Callable[[str], None]) -> None:
    """Make it with debootstrap from the distribution's own packages."""
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or os.geteuid() != 0:
        missing = "install debootstrap" if program is None else "run `make base-image` as root"
        raise PermanentDriverError(
            f"There is no base image for agents and no registry to fetch one from: {missing} "
            f"(on Debian or Ubuntu), or load an image with Python 3.11 or newer and name it "
            f"{BASE_TAG} (docker tag)."
        )
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
    say(f"Making it from the packages of {suite} with debootstrap; this takes a minute or two …")
    with tempfile.TemporaryDirectory(prefix="agent-factory-base-") as folder:
        root = Path(folder) / "root"
        _debootstrap(program, suite, root, Path(folder) / "log")
        for path in _LEFT_OUT:
            shutil.rmtree(root / path, ignore_errors=True)
        _import(client, root, f"made here with debootstrap ({suite})")


def _debootstrap(program: str, suite: str, root: Path, log: Path) -> None:
    command = [program, "--variant=minbase", f"--include={_INCLUDED}", suite, str(root)]
    mirror = _mirror(suite)
    if mirror:
        command.append(mirror)
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_DEBOOTSTRAP_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        words = " ".join(log.read_text(errors="replace").split())[-300:]
        raise PermanentDriverError(
            f"debootstrap could not make the base image: {words}. Check that the package mirror "
            "answers (apt-get update), then try again."
        )


def _mirror(suite: str) -> str:
    """Return the mirror that this machine's own packages come from; empty for the default one."""
    apt = shutil.which("apt-get")
    if apt is None:
        return ""
    listed = subprocess.run(
        [apt, "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for line in listed.stdout.splitlines():
        match line.split():
            case [uri, release, "main"] if release == suite and uri.startswith("http"):
                return str(uri)
    return ""


def _import(client: APIClient, root: Path, origin: str) -> None:
    tar = shutil.which("tar") or "tar"
    with subprocess.Popen(
        [tar, "--numeric-owner", "-C", str(root), "-c", "."], stdout=subprocess.PIPE
    ) as packing:
        stream: Any = packing.stdout
        repository, tag = BASE_TAG.split(":")
        client.import_image_from_stream(
            stream, repository=repository, tag=tag, changes=[f'LABEL {_ORIGIN_LABEL}="{origin}"']
        )
