"""The code skeleton of a template: what a version adds to the files that are made for every agent.

Two kinds of files, so that nothing an operator typed can become code:

- ``README.md.jinja`` and ``docs/<name>.md.jinja``: prose, rendered with the specification.
- ``support/<name>.py``: Python, copied as it stands.
"""

import re
from collections.abc import Mapping
from typing import Final

from jinja2 import TemplateSyntaxError

from ledger.errors import FieldProblem
from registry.json_bounds import check_json_bounds
from templates_lib.prose import prose_environment

MAX_FILES: Final = 30
MAX_FILE_CHARACTERS: Final = 100_000
_PROSE: Final = re.compile(r"^(README|docs/[A-Za-z0-9_-]{1,60})\.md\.jinja$")
_SUPPORT: Final = re.compile(r"^support/[a-z_][a-z0-9_]{0,60}\.py$")


def is_prose(path: str) -> bool:
    """Whether the skeleton file is rendered as prose."""
    return _PROSE.match(path) is not None


def skeleton_problems(files: Mapping[str, str]) -> tuple[FieldProblem, ...]:
    """Return what is wrong with a skeleton; ``attr`` is ``path:line``."""
    problems: list[FieldProblem] = []
    if len(files) > MAX_FILES:
        problems.append(
            FieldProblem("", "too_many", f"Keep the skeleton to at most {MAX_FILES} files.")
        )
    for path, text in sorted(files.items()):
        problem = _file_problem(path, text)
        if problem is not None:
            problems.append(problem)
    return tuple(problems)


def _file_problem(path: str, text: str) -> FieldProblem | None:
    if len(text) > MAX_FILE_CHARACTERS:
        return FieldProblem(
            f"{path}:1", "too_long", f"Keep the file to {MAX_FILE_CHARACTERS} characters."
        )
    try:
        check_json_bounds(text)
    except ValueError as error:
        return FieldProblem(f"{path}:1", "text", str(error))
    if is_prose(path):
        return _prose_problem(path, text)
    if _SUPPORT.match(path):
        return _python_problem(path, text)
    return FieldProblem(
        f"{path}:1",
        "unknown_file",
        "A skeleton holds README.md.jinja, docs/<name>.md.jinja and support/<name>.py. "
        "Rename or remove this file.",
    )


def _prose_problem(path: str, text: str) -> FieldProblem | None:
    try:
        prose_environment().parse(text)
    except TemplateSyntaxError as error:
        return FieldProblem(f"{path}:{error.lineno}", "jinja", error.message or "Not Jinja.")
    return None


def _python_problem(path: str, text: str) -> FieldProblem | None:
    try:
        compile(text, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return FieldProblem(f"{path}:{error.lineno or 1}", "python", error.msg)
    except (ValueError, RecursionError, MemoryError) as error:
        return FieldProblem(f"{path}:1", "python", str(error) or "Nested too deep.")
    return None
