"""JSON Schemas as people write them: checked, expanded from the short form, and applied.

The short form is a flat object of field names and types, as in
``{"sentiment": "positive|neutral|negative", "confidence": "float"}``. Every field is required.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from pydantic_core import SchemaError as RegexError
from pydantic_core import SchemaValidator as RegexMatcher
from pydantic_core import core_schema

_SHORT_TYPES: Final[dict[str, dict[str, Any]]] = {
    "string": {"type": "string"},
    "str": {"type": "string"},
    "text": {"type": "string"},
    "float": {"type": "number"},
    "number": {"type": "number"},
    "int": {"type": "integer"},
    "integer": {"type": "integer"},
    "bool": {"type": "boolean"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
    "dict": {"type": "object"},
    "array": {"type": "array"},
    "list": {"type": "array"},
    "any": {},
}
_SCHEMA_KEYWORDS: Final = frozenset(
    {"$schema", "$ref", "$defs", "type", "properties", "required", "allOf", "anyOf", "oneOf",
     "enum", "const", "additionalProperties", "patternProperties", "items"}
)  # fmt: skip
_MAX_PATTERN_LENGTH: Final = 200
_MAX_REMEMBERED_TEXT: Final = 20_000


_REFERENCES: Final = ("$ref", "$dynamicRef")
# Keywords that apply a schema to the same value: going round through them never ends.
_IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_DEFS: Final = "#/$defs/"
_UNSUPPORTED: Final = ("$id", "$anchor", "$dynamicAnchor")
_SIMPLE_PATTERN: Final = re.compile(r"\^?[A-Za-z0-9_. -]*\$?")


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> RegexMatcher:
    return RegexMatcher(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _match_pattern(
    validator: Any, pattern: str, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    del validator, schema
    if isinstance(instance, str) and not _matcher(pattern).isinstance_python(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


# Patterns come from outside; this engine's time grows with the text, never exponentially.
SchemaValidator: Final = extend(  # type: ignore[no-untyped-call]  # its stubs leave it out
    Draft202012Validator, {"pattern": _match_pattern}
)
"""Applies a schema that ``check_json_schema`` accepted; used like any jsonschema validator."""


def check_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` if it is a JSON Schema (2020-12) of an object that stands on its own.

    Raises:
        ValueError: not a valid schema, not of an object, with a reference that leaves it or goes
            round in a circle, or with a pattern that can't be matched in bounded time.

    """
    text = _spelling(schema)
    if text is None or len(text) > _MAX_REMEMBERED_TEXT:
        _check_schema(schema)
    else:
        _check_spelling(text)
    return schema


def _spelling(schema: dict[str, Any]) -> str | None:
    try:
        return json.dumps(schema, sort_keys=True)
    except (TypeError, ValueError):
        return None


# The schemas of a template are checked again with every request that names it.
@lru_cache(maxsize=1024)
def _check_spelling(text: str) -> None:
    _check_schema(json.loads(text))


def _check_schema(schema: dict[str, Any]) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "the schema"
        raise ValueError(f"This is not a valid JSON Schema: at {where}: {error.message}") from None
    if schema.get("type") != "object":
        raise ValueError('Describe an object: the schema needs "type": "object" at the top.')
    _check_parts(schema)
    _check_circles(schema)


def _check_parts(schema: dict[str, Any]) -> None:
    known = schema.get("$defs", {})
    stack: list[Any] = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            _check_references(item, known)
            for pattern in item.get("patternProperties") or ():
                # jsonschema matches these with an engine that can take for ever.
                if not _SIMPLE_PATTERN.fullmatch(str(pattern)):
                    raise ValueError(
                        'Use only plain words with ^ and $ in "patternProperties", or "properties".'
                    )
            if isinstance(item.get("pattern"), str):
                _check_pattern(item["pattern"])
            stack.extend(item.values())


def _check_references(part: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    texts = {key: value for key, value in part.items() if isinstance(value, str)}
    for key in texts.keys() & set(_UNSUPPORTED):
        raise ValueError(f'Leave out "{key}": the schema stands on its own.')
    for key in texts.keys() & set(_REFERENCES):
        if not texts[key].startswith(_DEFS) or texts[key].removeprefix(_DEFS) not in known:
            raise ValueError(
                f'A "{key}" may only name an entry of the schema\'s own "$defs", as in '
                '"#/$defs/address".'
            )


def _check_pattern(pattern: str) -> None:
    if len(pattern) > _MAX_PATTERN_LENGTH:
        raise ValueError(f"Keep a pattern to {_MAX_PATTERN_LENGTH} characters.")
    try:
        _matcher(pattern)
    except RegexError:
        raise ValueError(
            f"The pattern {pattern!r} can't be used. Write it without look-around, "
            "back-references and very large repetitions."
        ) from None


def _check_circles(schema: dict[str, Any]) -> None:
    """Refuse references that lead back to themselves without going deeper into the value."""
    definitions = schema.get("$defs", {})
    leads_to = {name: _same_value_references(part) for name, part in definitions.items()}
    for start in leads_to:
        seen: set[str] = set()
        stack = [start]
        while stack:
            for name in leads_to[stack.pop()]:
                if name == start:
                    raise ValueError(f'The "$ref" to {_DEFS}{start} goes round in a circle.')
                if name not in seen:
                    seen.add(name)
                    stack.append(name)


def _same_value_references(part: Any) -> set[str]:
    found: set[str] = set()
    stack = [part]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            found |= {
                item[key].removeprefix(_DEFS)
                for key in _REFERENCES
                if isinstance(item.get(key), str)
            }
            for key in _IN_PLACE:
                below = item.get(key)
                if key == "dependentSchemas" and isinstance(below, dict):
                    stack.extend(below.values())
                elif below is not None:
                    stack.append(below)
    return found


def is_short_form(value: Any) -> bool:
    """Whether ``value`` is the short form rather than a JSON Schema."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(item, str) for item in value.values())
        and not (_SCHEMA_KEYWORDS & value.keys() and value.get("type") == "object")
    )


def expand_schema(value: Any) -> Any:
    """Return the JSON Schema that the short form ``value`` stands for; other values unchanged.

    ``a|b|c`` becomes an enumeration, a trailing ``?`` makes a field optional and ``string[]``
    a list.

    Raises:
        ValueError: a field's type is not one of the short names.

    """
    if not is_short_form(value):
        return value
    # Sorted, for the order of fields means nothing and must not change the digest.
    required = sorted(name for name, kind in value.items() if not kind.strip().endswith("?"))
    return {
        "type": "object",
        "properties": {name: _expand_type(name, kind) for name, kind in value.items()},
        "required": required,
        "additionalProperties": False,
    }


def _expand_type(name: str, kind: str) -> dict[str, Any]:
    kind = kind.strip().removesuffix("?").strip()
    if "|" in kind:
        choices = [choice.strip() for choice in kind.split("|")]
        if all(choices) and len(set(choices)) == len(choices):
            return {"type": "string", "enum": choices}
        raise ValueError(f"{name}: write the choices as a|b|c, each one once.")
    if kind.endswith("[]"):
        return {"type": "array", "items": _expand_type(name, kind[:-2])}
    if kind.lower() in _SHORT_TYPES:
        return dict(_SHORT_TYPES[kind.lower()])
    known = ", ".join(sorted(_SHORT_TYPES))
    raise ValueError(f"{name}: {kind!r} is not a type. Use one of {known}, or choices as a|b|c.")
