"""Form fields of the wizard: JSON, schemas, lists in one line, sliders."""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from registry.json_bounds import check_json_bounds
from registry.schemas import check_json_schema, expand_schema

_MAX_JSON_TEXT = 100_000


def format_json(value: Any) -> str:
    """Return ``value`` as a person would write it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


class JsonTextarea(forms.Textarea):
    """A text area for JSON."""

    def __init__(self, *, rows: int = 6, placeholder: str = "") -> None:
        super().__init__(
            attrs={
                "rows": rows,
                "class": "code",
                "spellcheck": "false",
                "autocapitalize": "off",
                "placeholder": placeholder,
            }
        )


class JsonField(forms.CharField):
    """JSON typed by a person. ``kind`` is what it has to be; what was typed is shown again."""

    kind: type = dict
    kind_name = "an object, as in {…}"
    widget = JsonTextarea

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", _MAX_JSON_TEXT)
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> Any:
        """Read the text."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            parsed = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValidationError(
                f"This is not valid JSON: line {error.lineno}, column {error.colno}. "
                "Check commas and quotes.",
                code="invalid_json",
            ) from None
        except (RecursionError, ValueError):
            raise ValidationError("Nest the JSON less deep.", code="invalid_json") from None
        if not isinstance(parsed, self.kind):
            raise ValidationError(f"Write {self.kind_name}.", code="invalid_json")
        try:
            return check_json_bounds(parsed)
        except ValueError as error:
            raise ValidationError(str(error), code="too_large") from None

    def validate(self, value: Any) -> None:
        """Ask for a value where one is needed; an empty object is one."""
        if value is None and self.required:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """Leave the parsed value alone; the length is checked on the text."""

    def prepare_value(self, value: Any) -> Any:
        """Show text as it was typed and values as JSON."""
        return value if isinstance(value, str) or value is None else format_json(value)


class JsonListField(JsonField):
    """A JSON list."""

    kind = list
    kind_name = "a list, as in […]"


class SchemaField(JsonField):
    """A JSON Schema of an object, or the short form, which is expanded."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault(
            "widget", JsonTextarea(rows=8, placeholder='{"text": "string", "mood": "good|bad"}')
        )
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> Any:
        """Read, expand and check the schema."""
        parsed = super().to_python(value)
        if parsed is None:
            return None
        try:
            expanded = expand_schema(parsed)
            if not isinstance(expanded, dict):
                raise ValidationError("Write an object.", code="invalid_schema")
            return check_json_schema(expanded)
        except ValueError as error:
            raise ValidationError(str(error), code="invalid_schema") from None


class ListField(forms.CharField):
    """Short texts separated by commas, or one per line."""

    def __init__(self, *, one_per_line: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 20_000)
        if one_per_line:
            kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 3, "class": "code"}))
        super().__init__(**kwargs)
        self.separator = "\n" if one_per_line else ","

    def to_python(self, value: Any) -> Any:
        """Split the text; the same text twice counts once."""
        text = super().to_python(value) or ""
        parts = (part.strip() for part in text.split(self.separator))
        return list(dict.fromkeys(part for part in parts if part))

    def run_validators(self, value: Any) -> None:
        """Check the length of the text that the parts make up."""
        super().run_validators(self.separator.join(value))

    def prepare_value(self, value: Any) -> Any:
        """Show a list as text."""
        joint = "\n" if self.separator == "\n" else ", "
        return joint.join(value) if isinstance(value, list | tuple) else value


class NumberInput(forms.NumberInput):
    """A number box that a slider may stand beside."""

    def __init__(self, *, step: float = 1) -> None:
        super().__init__(attrs={"step": step, "inputmode": "decimal"})

    def format_value(self, value: Any) -> str | None:
        """Write 1.0 as 1."""
        text = super().format_value(value)
        return text.removesuffix(".0") if isinstance(text, str) else text
