"""Inputs and outputs held against their JSON Schemas (2020-12)."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import FieldError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_MAX_ERRORS: Final = 20
_MAX_DETAIL: Final = 300


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
        yield FieldError(path, str(error.validator), _shortened(error))
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


def _shortened(error: "ValidationError") -> str:
    """Return the library's sentence, without a long value that the caller sent in front of it."""
    message = error.message
    if len(message) <= _MAX_DETAIL:
        return message
    shown = repr(error.instance)
    if message.startswith(shown):
        message = "The value" + message[len(shown) :]
    return message[:_MAX_DETAIL]
