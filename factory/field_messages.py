"""Pydantic's findings about a specification, as sentences that say what to do."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ledger.errors import FieldProblem

_PATTERNS: Final[Mapping[str, str]] = {
    "agent_id": "Begin with a letter and use 3 to 64 letters, digits, hyphens and underscores.",
    "capability_name": (
        "Begin with a small letter and use 2 to 64 small letters, digits and underscores, as in "
        "store_context."
    ),
    "tool": "Use the tool's short name: small letters, digits and hyphens, as in embeddings-api.",
    "secret": (
        "Give the name of a secret: letters, digits, dots, hyphens and underscores, not its value."
    ),
    "environment_name": "Use capital letters, digits and underscores, as in LOG_LEVEL.",
    "packages": "Give a package name, optionally with a version, as in httpx==0.28.1.",
    "languages": "Give a language code, as in en or pt-BR.",
    "headers": "Use letters, digits and hyphens in a header's name, 64 at most.",
}
_TYPES: Final[Mapping[str, str]] = {
    "missing": "This is missing. Fill it in.",
    "extra_forbidden": "There is no such field here. Remove it or check its spelling.",
    "string_type": "Give a text.",
    "string_unicode": "Remove the broken characters from this text.",
    "int_type": "Give a whole number.",
    "int_parsing_size": "Give a smaller number.",
    "int_from_float": "Give a whole number.",
    "float_type": "Give a number.",
    "finite_number": "Give a finite number.",
    "bool_type": "Give true or false.",
    "dict_type": "Give a JSON object.",
    "model_type": "Give a JSON object.",
    "model_attributes_type": "Give a JSON object.",
    "tuple_type": "Give a list.",
    "list_type": "Give a list.",
    "url_type": "Give an address that begins with https:// or http://.",
    "url_parsing": "Give an address that begins with https:// or http://.",
    "url_syntax_violation": "Give an address that begins with https:// or http://.",
    "url_scheme": "Give an address that begins with https:// or http://.",
    "url_too_long": "Give a shorter address.",
    "union_tag_not_found": "Say how it is done: set kind to builtin, prompt or http.",
    "union_tag_invalid": "Say how it is done: set kind to builtin, prompt or http.",
}
_BOUNDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "string_too_long": lambda ctx: f"Use at most {ctx['max_length']} characters.",
    "string_too_short": lambda ctx: (
        "Fill this in."
        if ctx["min_length"] == 1
        else f"Use at least {ctx['min_length']} characters."
    ),
    "greater_than_equal": lambda ctx: f"Use {_number(ctx['ge'])} or more.",
    "less_than_equal": lambda ctx: f"Use {_number(ctx['le'])} or less.",
    "too_long": lambda ctx: f"Keep at most {ctx['max_length']} of these.",
    "too_short": lambda ctx: (
        "Give at least one." if ctx["min_length"] == 1 else f"Give at least {ctx['min_length']}."
    ),
    "enum": lambda ctx: f"Choose one of: {_choices(ctx['expected'])}.",
    "literal_error": lambda ctx: f"Choose one of: {_choices(ctx['expected'])}.",
}
# Members of the implementation's union stand in pydantic's paths, but not in the request.
_UNION_TAGS: Final = frozenset({"builtin", "prompt", "http"})


def spec_problems(error: ValidationError) -> list[FieldProblem]:
    """Return one problem for each finding, its ``attr`` the dotted path in the specification."""
    return [
        FieldProblem(".".join(_path(item["loc"])), item["type"], _sentence(item))
        for item in error.errors(include_url=False, include_input=False)
    ]


def _path(loc: tuple[int | str, ...]) -> list[str]:
    path: list[str] = []
    for part in loc:
        inside_union = bool(path) and path[-1] == "implementation"
        if not (inside_union and part in _UNION_TAGS) and part != "[key]":
            path.append(str(part))
    return path


def _sentence(item: ErrorDetails) -> str:
    kind, ctx = item["type"], item.get("ctx", {})
    if kind == "value_error":
        return str(ctx["error"])
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(_pattern_of(item["loc"]), "Use another spelling.")
    if kind in _BOUNDS:
        return _BOUNDS[kind](ctx)
    return _TYPES.get(kind, f"{item['msg']}.")


def _pattern_of(loc: tuple[int | str, ...]) -> str:
    names = [part for part in loc if isinstance(part, str)]
    if "headers" in names:
        return "headers"
    if names[0] in ("capabilities", "environment") and names[-1] == "name":
        return "capability_name" if names[0] == "capabilities" else "environment_name"
    return names[-1]


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choices(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")
