"""Running ruff over a project's files, one process for all of them.

The settings are given here and nowhere else, so that the same code gets the same verdict on every
machine.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruff.__main__ import find_ruff_bin  # type: ignore[import-untyped]  # ruff ships no types

_TIMEOUT_SECONDS: Final = 30
_SETTINGS: Final = ("--isolated", "--no-cache", "--target-version=py311", "--line-length=100")
_FIRST_PARTY: Final = '--config=lint.isort.known-first-party=["capabilities","support","tools"]'
# Faults, not taste: syntax and undefined names (E, F, PLE), likely bugs (B), import order (I),
# outdated idioms (UP), blocking calls in asynchronous code (ASYNC), exec and shells (S).
# Left out of S is what judges the text of constants, for constants are the operator's data.
_RULES: Final = "E4,E7,E9,F,B,I,UP,PLE,ASYNC,S1,S2,S3,S5,S6,S7,T10,W6"
_IGNORED: Final = "S101,S104,S105,S106,S107,S108"


@dataclass(frozen=True)
class Finding:
    """One fault that a tool found in one file."""

    path: str
    line: int
    rule: str
    message: str


class RuffFailed(RuntimeError):
    """Ruff itself could not run, which is a fault of the installation."""


@contextmanager
def files_on_disk(files: Mapping[str, str]) -> Iterator[Path]:
    """Write ``files`` into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="af-render-") as name:
        folder = Path(name)
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode())
        yield folder


def format_files(files: Mapping[str, str]) -> dict[str, str]:
    """Return the Python ``files`` as ruff's formatter lays them out.

    A file that can't be parsed stays as it is; the gate names its fault.
    """
    with files_on_disk(files) as folder:
        # Imports first: their order is the linter's.
        _run(
            folder,
            "check",
            *_SETTINGS,
            _FIRST_PARTY,
            "--select=I",
            "--fix",
            "--quiet",
            ".",
            allowed=(0, 1),
        )
        _run(folder, "format", *_SETTINGS, "--quiet", ".", allowed=(0, 2))
        return {path: (folder / path).read_bytes().decode() for path in files}


def format_findings(folder: Path) -> list[Finding]:
    """Return the Python files below ``folder`` that are not laid out as the formatter would."""
    output = _run(
        folder,
        "format",
        "--check",
        *_SETTINGS,
        "--quiet",
        "--output-format=concise",
        "--preview",
        ".",
        allowed=(0, 1, 2),
    )
    findings = []
    for line in output.splitlines():
        path, _, rest = line.partition(":")
        if path.endswith(".py"):
            findings.append(Finding(path, 1, "format", rest.strip() or "Not formatted."))
    return findings


def lint_findings(folder: Path) -> list[Finding]:
    """Return what the linter finds in the Python files below ``folder``."""
    output = _run(
        folder,
        "check",
        *_SETTINGS,
        f"--select={_RULES}",
        f"--ignore={_IGNORED}",
        "--ignore-noqa",
        _FIRST_PARTY,
        "--output-format=json",
        ".",
        allowed=(0, 1),
    )
    found: list[dict[str, Any]] = json.loads(output or "[]")
    return [
        Finding(
            Path(item["filename"]).resolve().relative_to(folder.resolve()).as_posix(),
            int(item["location"]["row"]),
            str(item["code"] or "syntax"),
            str(item["message"]),
        )
        for item in found
    ]


def _run(folder: Path, *arguments: str, allowed: tuple[int, ...]) -> str:
    done = subprocess.run(
        [find_ruff_bin(), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode not in allowed:
        raise RuffFailed(f"ruff {arguments[0]} ended with {done.returncode}: {done.stderr[:500]}")
    return done.stdout
