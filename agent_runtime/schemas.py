"""Inputs and outputs held against their JSON Schemas (2020-12)."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import FieldError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_MAX_ERRORS: Final = 20
_MAX_DETAIL: Final = 300
_KINDS: Final[Mapping[str, str]] = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "text",
}


class SchemaCheck:
    """One schema, ready to be held against values; the validator is made at the first one."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._validator: Validator | None = None

    def errors(self, value: Any) -> tuple[FieldError, ...]:
        """Return what is wrong with ``value``, at most twenty findings, in the fields' order."""
        if self._validator is None:
            # Imported at the first call: 7 MB that an idle agent does without.
            from jsonschema import Draft202012Validator, FormatChecker

            self._validator = Draft202012Validator(
                self._schema, format_checker=FormatChecker(formats=())
            )
        found = islice(self._validator.iter_errors(value), _MAX_ERRORS)
        return tuple(entry for error in found for entry in _entries(error))[:_MAX_ERRORS]


def _entries(error: "ValidationError") -> Iterator[FieldError]:
    path = ".".join(str(part) for part in error.absolute_path)
    names = _named_fields(error)
    if not names:
        yield FieldError(path, str(error.validator), _sentence(error))
    for name, detail in names:
        attr = f"{path}.{name}" if path else name
        yield FieldError(attr[:_MAX_DETAIL], str(error.validator), detail)


def _named_fields(error: "ValidationError") -> list[tuple[str, str]]:
    """Return the fields that are missing or unknown, where that is what is wrong."""
    value, schema, rule = error.instance, error.schema, error.validator_value
    if not isinstance(value, dict) or not isinstance(schema, dict):
        return []
    if error.validator == "required" and isinstance(rule, list):
        # The library finds each missing field by itself; its sentence begins with the name.
        missing = [name for name in rule if error.message.startswith(repr(name))]
        return [(name, "Send this field.") for name in missing[:1]]
    if error.validator == "additionalProperties" and rule is False:
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties")
        extra = [] if patterns else [name for name in value if name not in known]
        return [(name, "There is no such field: take it out.") for name in extra[:_MAX_ERRORS]]
    return []


def _sentence(error: "ValidationError") -> str:
    """Return what is wrong, without what was sent: the library writes that as Python does."""
    rule: Any = error.validator_value
    match error.validator:
        case "anyOf":
            return "The value fits none of the forms that the schema allows."
        case "oneOf":
            return "The value has to fit exactly one of the forms that the schema allows."
        case "type":
            kinds = [rule] if isinstance(rule, str) else rule
            return f"The value has to be {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}."
        case "enum":
            return f"The value has to be one of {_as_json(rule)}."[:_MAX_DETAIL]
        case "const":
            return f"The value has to be {_as_json(rule)}."[:_MAX_DETAIL]
    message, shown = error.message, repr(error.instance)
    if message.startswith(shown):
        message = f"The value{message.removeprefix(shown)}"
    return f"{message.removesuffix('.')}."[:_MAX_DETAIL]


def _as_json(rule: Any) -> str:
    values = rule if isinstance(rule, list) else [rule]
    return ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
