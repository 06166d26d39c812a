"""The gate: no project is built that is not formatted, lint-free, compilable and safe.

The checks look at code. What an operator typed stands in it only as constants, so rules that judge
the text of constants (an address, a path, a word that sounds like a password) are left out.
"""

import re
from collections.abc import Mapping
from typing import Final

from ledger.errors import DomainError, FieldProblem
from registry.spec import AgentSpec
from templates_lib.rendering import RenderedProject, render_project
from templates_lib.ruff import Finding, files_on_disk, format_findings, lint_findings
from templates_lib.security_scan import security_findings

MAX_FILES: Final = 200
MAX_CHARACTERS: Final = 8_000_000
_MAX_REPORTED: Final = 50
_PATH: Final = re.compile(
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,2}$"
)
_NO_FILES: Final[Mapping[str, str]] = {}


class RenderingRejected(DomainError):
    """A rendered project did not pass the gate; ``problems`` name file, line and rule."""

    status = 422

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        """Keep the ``findings``; the first one is in the message."""
        first = findings[0]
        super().__init__(
            "rendering_rejected",
            f"The generated code was rejected: {first.path}:{first.line} {first.rule} "
            f"{first.message}",
            problems=tuple(
                FieldProblem(f"{item.path}:{item.line}", item.rule, item.message)
                for item in findings[:_MAX_REPORTED]
            ),
        )
        self.findings = findings


def render_and_check(
    spec: AgentSpec, *, skeleton: Mapping[str, str] = _NO_FILES
) -> RenderedProject:
    """Return the project of ``spec`` if it passes the gate.

    ``templates_lib.services.render_and_check`` finds the skeleton by itself.

    Raises:
        RenderingRejected: it does not.
        DomainError: ``rendering_failed``; a page of the skeleton can't be rendered.

    """
    project = render_project(spec, skeleton=skeleton)
    check_project(project)
    return project


def check_project(project: RenderedProject) -> None:
    """Do nothing if ``project`` may be built.

    Raises:
        RenderingRejected: with every finding, by file and line.

    """
    findings = _bound_findings(project.files) or _code_findings(project.files)
    if findings:
        raise RenderingRejected(
            tuple(sorted(findings, key=lambda item: (item.path, item.line, item.rule)))
        )


def _bound_findings(files: Mapping[str, str]) -> list[Finding]:
    if len(files) > MAX_FILES:
        return [Finding(".", 1, "size", f"Keep the project to {MAX_FILES} files.")]
    if sum(len(text) for text in files.values()) > MAX_CHARACTERS:
        return [Finding(".", 1, "size", f"Keep the project to {MAX_CHARACTERS} characters.")]
    return [
        Finding(repr(path)[:120], 1, "path", "This is no path that a project may have.")
        for path in files
        if not _PATH.match(path) or ".." in path
    ]


def _code_findings(files: Mapping[str, str]) -> list[Finding]:
    python = {path: text for path, text in files.items() if path.endswith(".py")}
    findings = [finding for path, text in python.items() for finding in _compile(path, text)]
    if findings:
        # The other tools could only say the same again.
        return findings
    with files_on_disk(python) as folder:
        return [
            *format_findings(folder),
            *lint_findings(folder),
            *security_findings(folder, python),
        ]


def _compile(path: str, text: str) -> list[Finding]:
    try:
        compile(text, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return [Finding(path, error.lineno or 1, "syntax", error.msg)]
    except (ValueError, RecursionError, MemoryError) as error:
        return [Finding(path, 1, "syntax", str(error) or "Nested too deep.")]
    return []
