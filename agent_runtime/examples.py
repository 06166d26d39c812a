"""The sandbox's answers: a capability's examples, or a value made from its output schema."""

from copy import deepcopy
from typing import Any, Final

from agent_runtime.spec import Capability, JsonObject

_MAX_DEPTH: Final = 8
_FORMATS: Final = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def answer_from_examples(capability: Capability, payload: JsonObject) -> tuple[JsonObject, str]:
    """Return the output of the example nearest to ``payload``, and how it was chosen.

    An equal input wins, then the one that shares most equal fields, then the first. Without an
    example the output is made from the schema.
    """
    if not capability.examples:
        made = synthesise(capability.output_schema, capability.output_schema)
        return (made if isinstance(made, dict) else {}), "made from the output schema"
    best = max(capability.examples, key=lambda example: _likeness(example["input"], payload))
    exact = best["input"] == payload
    how = "the example with this input" if exact else "the nearest example"
    return deepcopy(best["output"]), how


def _likeness(example: JsonObject, payload: JsonObject) -> tuple[bool, int]:
    equal = sum(1 for key, value in example.items() if key in payload and payload[key] == value)
    return example == payload, equal


def synthesise(schema: Any, root: JsonObject, depth: int = 0) -> Any:
    """Return a small value that a plain schema allows: its first choices and smallest sizes."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    for key in ("const", "default"):
        if key in schema:
            return deepcopy(schema[key])
    for key in ("examples", "enum"):
        if schema.get(key):
            return deepcopy(schema[key][0])
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        return synthesise(target, root, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            merged = {k: v for k, v in schema.items() if k != key} | schema[key][0]
            return synthesise(merged, root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: JsonObject, root: JsonObject, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object":
        names = schema.get("required", list(schema.get("properties", {})))
        properties = schema.get("properties", {})
        return {name: synthesise(properties.get(name, {}), root, depth + 1) for name in names}
    if kind == "array":
        item = schema.get("items", {})
        return [synthesise(item, root, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        text = _FORMATS.get(schema.get("format", ""), "example")
        text = text.ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength", len(text))]
    if kind in ("integer", "number"):
        return _number(schema)
    return kind != "boolean" and None


def _number(schema: JsonObject) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + 1
    number: float = low if low is not None else 0
    return min(number, high) if high is not None else number
