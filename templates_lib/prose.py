"""Prose made from templates: values can only ever be shown, never change the page.

Every ``{{ value }}`` is escaped for Markdown and HTML unless a filter below made it safe. Templates
run in Jinja's sandbox and their output is bounded.
"""

import json
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import BaseLoader, DictLoader, FileSystemLoader, PrefixLoader, StrictUndefined
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ledger.errors import DomainError, FieldProblem

BASE_FOLDER: Final = Path(__file__).parent / "base_prose"
MAX_PROSE_CHARACTERS: Final = 2_000_000
# A longer piece of JSON is in spec.json, where it does not get in the way of reading.
MAX_JSON_CHARACTERS: Final = 20_000

_BLANKS: Final = re.compile(r"\s+")
_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Characters that Markdown gives a meaning to wherever they stand.
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]#|~^$@])")
# What starts a list, a heading, a rule or a quotation when it is the first on a line.
_FIRST_MARK: Final = re.compile(r"^([-+=]|\d{1,9}(?=[.)]))")
# What becomes a link by itself.
_LINKED: Final = re.compile(r"(?i)(?<=www)\.|:(?=//)|(?<=mailto):|(?<=xmpp):")
# Characters that change how the text around them is shown.
_INVISIBLE: Final = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


_IDENTIFIER: Final = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_-]*\Z")


class Prose(str):
    """Markdown that may stand as it is."""

    __slots__ = ()


def escape_markdown(value: object) -> Prose:
    """Return ``value`` as one line of text that Markdown and HTML show as it was written."""
    text = _BLANKS.sub(" ", _INVISIBLE.sub("", str(value))).strip()
    text = _LINKED.sub(lambda match: f"\\{match[0]}", _MARKDOWN.sub(r"\\\1", text))
    text = _FIRST_MARK.sub(_escape_first, text)
    return Prose("".join(_HTML.get(character, character) for character in text))


def _escape_first(match: re.Match[str]) -> str:
    mark = match[0]
    # Only the point after a number makes it a list.
    return f"{mark}\\" if mark[0].isdigit() else f"\\{mark}"


def inline_code(value: object) -> Prose:
    """Return ``value`` as inline code, fenced with more backticks than it holds in a row."""
    text = _BLANKS.sub(" ", _INVISIBLE.sub("", str(value))).strip()
    fence = _fence(text, shortest=1)
    padding = " " if text.startswith("`") or text.endswith("`") or not text else ""
    # In a table a bar would end the cell even inside code.
    return Prose(f"{fence}{padding}{text}{padding}{fence}".replace("|", r"\|"))


def json_block(value: object) -> Prose:
    """Return ``value`` as a fenced block of indented JSON, or say that it stands in spec.json."""
    text = json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False)
    if len(text) > MAX_JSON_CHARACTERS:
        return Prose("_Too long to be shown here: see `spec.json`._")
    fence = _fence(text, shortest=3)
    return Prose(f"{fence}json\n{text}\n{fence}")


def shell_json(value: object) -> Prose:
    """Return ``value`` as JSON that a shell passes on unchanged, in single quotes."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    if len(text) > MAX_JSON_CHARACTERS:
        return Prose("@input.json")
    return Prose("'" + text.replace("'", "'\\''").replace("`", "\\u0060") + "'")


def identifier(value: object) -> Prose:
    """Return a name that needs no escape anywhere, such as an agent's id.

    Raises:
        ValueError: it has other characters than letters, digits, ``_`` and ``-``.

    """
    text = str(value)
    if not _IDENTIFIER.match(text):
        raise ValueError(f"{text[:100]!r} is no identifier")
    return Prose(text)


def _fence(text: str, *, shortest: int) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(shortest, longest + 1)


def _finalize(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, Prose) else escape_markdown(value)


class _ProseEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox without calls and without what makes a large text of a small one."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(
        self,
        context: Context,
        operator: str,
        left: Any,
        right: Any,
    ) -> Any:
        """Refuse ``operator``.

        Raises:
            SecurityError: always.

        """
        raise SecurityError(f"The operator {operator} is not for pages.")

    def is_safe_callable(self, obj: Any) -> bool:
        """Refuse every call: filters are enough for a page."""
        return False


def prose_environment(files: Mapping[str, str] | None = None) -> ImmutableSandboxedEnvironment:
    """Return the environment in which prose is rendered.

    ``files`` are the skeleton's own; ``base/`` holds what all templates share.
    """
    loader: BaseLoader = PrefixLoader(
        {"base": FileSystemLoader(BASE_FOLDER), "skeleton": DictLoader(dict(files or {}))}
    )
    environment = _ProseEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        finalize=_finalize,
        # HTML is escaped with Markdown, by ``finalize``.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=[],
    )
    environment.filters.clear()
    environment.filters.update(
        code=inline_code,
        identifier=identifier,
        json_block=json_block,
        shell_json=shell_json,
        length=len,
    )
    environment.globals.clear()
    return environment


def render_prose(path: str, files: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return the page that the skeleton's (or, by ``base/``, the shared) template makes.

    Raises:
        DomainError: ``rendering_failed``, naming file and line.

    """
    parts: list[str] = []
    size = 0
    try:
        for part in prose_environment(files=files).get_template(path).generate(**values):
            size += len(part)
            if size > MAX_PROSE_CHARACTERS:
                raise _failed(path, 1, f"Keep the page to {MAX_PROSE_CHARACTERS} characters.")
            parts.append(part)
    except TemplateError as error:
        raise _failed(*_place(path, error), str(error)) from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise _failed(*_place(path, error), f"{type(error).__name__}: {error}") from error
    text = "".join(parts)
    return (
        re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()
        + "\n"
    )


def _place(path: str, error: Exception) -> tuple[str, int]:
    """Return template and line where ``error`` was raised; Jinja puts them in the traceback."""
    line = getattr(error, "lineno", None)
    if line is not None:
        return path, line
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == "<template>":
            return path, frame.lineno or 1
        if frame.filename.endswith(".jinja"):
            return f"base/{Path(frame.filename).name}", frame.lineno or 1
    return path, 1


def _failed(path: str, line: int, detail: str) -> DomainError:
    where = f"{path.removeprefix('skeleton/')}:{line}"
    return DomainError(
        "rendering_failed",
        f"The template's page {where} can't be rendered: {detail}",
        problems=(FieldProblem(where, "jinja", detail),),
    )
