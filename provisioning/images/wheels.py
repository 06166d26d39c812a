"""Installing Python packages for a container, from outside of it.

They are installed into a folder that is then copied: so the machine's own index settings are used
and stand in no image, the build needs no network, and no package's code runs while it is installed
(wheels only).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings

from provisioning.drivers.base import PermanentDriverError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_INSTALL_SECONDS: Final = 900
# Oldest and newest C library that wheels are looked for; Debian 12 has 2.36.
_GLIBC: Final = range(5, 36)
_ADDRESS: Final = re.compile(r"[a-z+]+://\S+")


def program_folder() -> Path:
    """Return the folder of the agents' own program."""
    return Path(settings.BASE_DIR) / "agent_runtime"


def lock_file() -> Path:
    """Return the file that names the libraries of the agents' program, with their hashes."""
    return program_folder() / "requirements.lock"


def install_packages(
    packages: Sequence[str], folder: Path, *, python: str = "", machine: str = ""
) -> None:
    """Install a release's extra packages into ``folder``, to stand beside the locked libraries.

    Raises:
        PermanentDriverError: one is not to be had, or needs other versions than the lock has.

    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as bounds:
        # Without the hashes, which would then be asked of every package.
        for line in lock_file().read_text().splitlines():
            if line[:1].isalnum():
                bounds.write(line.removesuffix("\\").strip() + "\n")
        bounds.flush()
        install_wheels(
            [f"--constraint={bounds.name}", *packages], folder, python=python, machine=machine
        )


def install_wheels(
    arguments: Sequence[str], folder: Path, *, python: str = "", machine: str = ""
) -> None:
    """Install into ``folder``, for this Python or another (as in "3.11" on "x86_64").

    Raises:
        PermanentDriverError: a package is not to be had as a wheel for them.

    """
    command = [
        *_installer(),
        "install",
        f"--target={folder}",
        "--only-binary=:all:",
        *(_target(python, machine) if python else ()),
        "--no-compile",
        "--no-input",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
        "--quiet",
        *arguments,
    ]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
        env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "false"},
    )
    if done.returncode != 0:
        # An index's address may hold a password.
        said = _ADDRESS.sub("…", done.stderr)
        lines = [line for line in said.splitlines() if line.startswith("ERROR")] or [said]
        raise PermanentDriverError(
            f"The packages could not be installed: {' '.join(' '.join(lines).split())[:600]} "
            "Check their names and versions, and that the package index answers."
        )


def _target(python: str, machine: str) -> Iterator[str]:
    yield f"--python-version={python}"
    yield "--implementation=cp"
    for minor in reversed(_GLIBC):
        yield f"--platform=manylinux_2_{minor}_{machine}"
    yield f"--platform=manylinux2014_{machine}"


@cache
def _installer() -> tuple[str, ...]:
    """Return the command of a pip: this environment's, this Python's, or one made for it."""
    for python in (sys.executable, str(Path(sys.base_prefix) / "bin" / "python3")):
        if _runs(python):
            return (python, "-m", "pip")
    folder = tempfile.mkdtemp(prefix="agent-factory-pip-")
    subprocess.run(
        [sys.executable, "-m", "venv", folder], check=False, capture_output=True, timeout=120
    )
    python = str(Path(folder) / "bin" / "python3")
    if _runs(python):
        return (python, "-m", "pip")
    raise PermanentDriverError(
        "There is no pip for this Python: install it (on Debian: apt install python3-venv)."
    )


def _runs(python: str) -> bool:
    if not Path(python).exists():
        return False
    done = subprocess.run(
        [python, "-m", "pip", "--version"], check=False, capture_output=True, timeout=60
    )
    return done.returncode == 0
