"""Make a small value that a JSON Schema allows, to call a capability that has no example.

What is made is checked against the schema; where nothing suitable is found, ``None`` comes back
and a person has to give an example.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker

from registry.schemas import SchemaValidator

_MAX_DEPTH: Final = 8
_MAX_CANDIDATES: Final = 40
_MAX_LENGTH: Final = 10_000
_MAX_ITEMS: Final = 100
_TYPES: Final = ("object", "string", "number", "integer", "boolean", "array", "null")

_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT5M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "/path",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# What a field of this name usually holds, for scenarios that read like real ones.
_BY_NAME: Final = {
    "text": "The customer asked about the premium plan.",
    "query": "premium plan",
    "question": "What does the premium plan cost?",
    "message": "Hello, I need some help.",
    "customer_id": "cust-123",
    "user_id": "user-123",
    "name": "Ada Example",
    "email": "someone@example.com",
    "url": "https://example.com/",
    "language": "en",
    "title": "A first title",
}
# Texts that common patterns allow, tried in turn.
_PATTERN_TEXTS: Final = (
    "example", "Example", "EXAMPLE", "a", "A", "1", "12", "123", "1234", "12345", "123456",
    "abc-123", "ABC-123", "cust-123", "AB123", "ab12", "1.0.0", "v1.0.0", "2026-01-31", "12:00",
    "+14155550123", "en", "en-GB", "EUR", "someone@example.com", "https://example.com/", "#a0b1c2",
    "00000000-0000-4000-8000-000000000000", "0a1b2c3d", "A-1", "x_1", "",
)  # fmt: skip


def synthesise(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an object that ``schema`` (of an object, 2020-12) allows, or ``None``."""
    validator = SchemaValidator(dict(schema), format_checker=FormatChecker())
    for value in islice(_candidates(schema, schema, "", 0), _MAX_CANDIDATES):
        if isinstance(value, dict) and allows(validator, value):
            return value
    return None


def allows(validator: Draft202012Validator, value: Any) -> bool:
    """Whether the validator's schema allows ``value``; one that leads in circles allows nothing."""
    try:
        return validator.is_valid(value)
    except RecursionError:
        return False


def _candidates(schema: Any, root: Mapping[str, Any], name: str, depth: int) -> Iterator[Any]:
    """Yield values that the schema may allow, the likeliest first."""
    if schema is True or schema == {}:
        yield "example"
    elif isinstance(schema, Mapping) and depth <= _MAX_DEPTH:
        yield from _named_values(schema)
        if "const" in schema or "enum" in schema:
            return
        branches = list(_branches(schema, root))
        for branch in branches:
            yield from _candidates(branch, root, name, depth + 1)
        if not branches:
            for kind in _kinds(schema):
                yield from _of_kind(kind, schema, root, name, depth)


def _named_values(schema: Mapping[str, Any]) -> Iterator[Any]:
    for keyword in ("const", "default"):
        if keyword in schema:
            yield schema[keyword]
    yield from schema.get("examples", ())
    yield from schema.get("enum", ())


def _branches(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the schemas that this one stands for, when it is made of others."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
    elif schema.get("allOf"):
        yield _merged(schema, schema["allOf"])
    else:
        for keyword in ("oneOf", "anyOf"):
            for branch in schema.get(keyword, ()):
                rest = {key: value for key, value in schema.items() if key != keyword}
                yield _merge(rest, branch)


def _merged(schema: Mapping[str, Any], parts: list[Any]) -> dict[str, Any]:
    result = {key: value for key, value in schema.items() if key != "allOf"}
    for part in parts:
        result = _merge(result, part)
    return result


def _merge(first: Mapping[str, Any], second: Any) -> dict[str, Any]:
    result = dict(first)
    if not isinstance(second, Mapping):
        return result
    for key, value in second.items():
        if key == "properties":
            result[key] = {**result.get(key, {}), **value}
        elif key == "required":
            result[key] = list(dict.fromkeys([*result.get(key, ()), *value]))
        else:
            result[key] = value
    return result


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return [kinds]
    if isinstance(kinds, list):
        return [kind for kind in _TYPES if kind in kinds]
    if "properties" in schema or "required" in schema:
        return ["object"]
    if "items" in schema or "minItems" in schema:
        return ["array"]
    if "minimum" in schema or "maximum" in schema:
        return ["number"]
    return ["string", "number", "object"]


def _of_kind(
    kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], name: str, depth: int
) -> Iterator[Any]:
    if kind == "object":
        yield from _objects(schema, root, depth)
    elif kind == "array":
        yield from _arrays(schema, root, name, depth)
    elif kind == "string":
        yield from _texts(schema, name)
    elif kind in ("integer", "number"):
        yield from _numbers(schema, whole=kind == "integer")
    elif kind == "boolean":
        yield from (True, False)
    else:
        yield None


def _objects(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Iterator[Any]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = list(schema.get("required", ()))
    wanted = required or list(properties)[:5]
    for names in dict.fromkeys((tuple(wanted), tuple(dict.fromkeys([*required, *properties])))):
        made = {name: _first(properties.get(name, True), root, name, depth) for name in names}
        missing = int(schema.get("minProperties", 0)) - len(made)
        for number in range(min(missing, _MAX_ITEMS)):
            made[f"field_{number + 1}"] = _first(
                schema.get("additionalProperties", True), root, "", depth
            )
        yield made


def _first(schema: Any, root: Mapping[str, Any], name: str, depth: int) -> Any:
    """Return the first candidate that this part of the schema really allows."""
    found: Any = None
    if isinstance(schema, Mapping):
        part = {**schema, "$defs": root.get("$defs", {})}
        validator = SchemaValidator(part, format_checker=FormatChecker())
        for value in islice(_candidates(schema, root, name, depth + 1), _MAX_CANDIDATES):
            if allows(validator, value):
                return value
            found = value
        return found
    return next(_candidates(schema, root, name, depth + 1), found)


def _arrays(
    schema: Mapping[str, Any], root: Mapping[str, Any], name: str, depth: int
) -> Iterator[Any]:
    prefix = [_first(item, root, name, depth) for item in schema.get("prefixItems", ())]
    for length in (max(1, int(schema.get("minItems", 0))), int(schema.get("minItems", 0))):
        made = list(prefix)
        items = schema.get("items", True)
        if schema.get("uniqueItems") and isinstance(items, Mapping):
            for value in islice(_candidates(items, root, name, depth + 1), _MAX_CANDIDATES):
                if len(made) < length and value not in made:
                    made.append(value)
        while len(made) < min(length, _MAX_ITEMS):
            made.append(
                len(made) if schema.get("uniqueItems") else _first(items, root, name, depth)
            )
        yield made


def _texts(schema: Mapping[str, Any], name: str) -> Iterator[str]:
    low = int(schema.get("minLength", 0))
    high = int(schema.get("maxLength", _MAX_LENGTH))
    if low > _MAX_LENGTH:
        return
    if schema.get("format") in _FORMATS:
        yield _FORMATS[schema["format"]]
    if "pattern" in schema:
        yield from _PATTERN_TEXTS
    text = _BY_NAME.get(name, "example")
    yield text[:high].ljust(low, ".")


def _numbers(schema: Mapping[str, Any], *, whole: bool) -> Iterator[float]:
    step = schema.get("multipleOf", 1 if whole else None)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if step:
        start = math.ceil((low if low is not None else 1) / step)
        for factor in (start, start + 1):
            yield factor * step
        if high is not None:
            yield math.floor(high / step) * step
            yield (math.floor(high / step) - 1) * step
        return
    if low is not None and high is not None:
        yield (low + high) / 2
    yield from (value for value in (1, low, high) if value is not None)
    if low is not None:
        yield low + 1
    if high is not None:
        yield high - 1
