"""The tools of step 3: one small form per tool, made from the tool's own parameters."""

from typing import Any, Final

from django import forms
from django.forms import BaseFormSet, formset_factory

from factory.wizard.fields import JsonField, NumberInput
from factory.wizard.forms.base import StepContext, ask_for
from registry.enums import ToolKind
from registry.models import Tool
from registry.services.tools import check_parameters
from registry.spec import ToolBinding

_PARAMETER: Final = "param_"
_WHOLE: Final = "parameters"
"""Where ``check_parameters`` puts what is about no one parameter: what is missing, above all."""
_DIMENSIONS: Final = "param_dimensions"
_DIMENSIONS_HELP: Final = (
    "Length of the model's vectors; Test connection tells it. Without it, search goes by words."
)
MAX_TOOLS: Final = 30


class ToolForm(forms.Form):
    """One tool with its parameters and the name of its secret."""

    tool = forms.SlugField(max_length=63, widget=forms.HiddenInput)
    secret = forms.ChoiceField(
        required=False, help_text="Chosen by its name; its value is never shown."
    )

    def __init__(self, *args: Any, context: StepContext, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        slug = self["tool"].value()
        self.row: Tool | None = next((t for t in context.tools if t.slug == slug), None)
        choice = self.fields["secret"]
        assert isinstance(choice, forms.ChoiceField)  # noqa: S101 - told to the type checker
        choice.choices = [("", "No secret"), *((name, name) for name in context.secrets)]
        if self.row is None or not self.row.accepts_secret:
            del self.fields["secret"]
        self.parameter_names: list[str] = []
        for name, schema in (self._properties() if self.row else {}).items():
            self.parameter_names.append(name)
            self.fields[_PARAMETER + name] = _field_for(name, schema)
        ask_for(self, {})
        if self._is_embeddings and _DIMENSIONS in self.fields:
            self.fields[_DIMENSIONS].help_text = _DIMENSIONS_HELP

    def _properties(self) -> dict[str, Any]:
        found = (self.row.parameters_schema or {}).get("properties", {}) if self.row else {}
        return {name: schema for name, schema in found.items() if isinstance(schema, dict)}

    @property
    def title(self) -> str:
        """The tool's name, or its slug if the registry does not know it."""
        return self.row.name if self.row else str(self["tool"].value() or "Unknown tool")

    @property
    def parameter_fields(self) -> list[tuple[Any, bool]]:
        """The parameters' fields in the schema's order, each with whether its use needs it."""
        needed = set(self._required)
        if self._is_embeddings:
            needed.add(_DIMENSIONS)
        names = [_PARAMETER + name for name in self.parameter_names]
        return [(self[name], name in needed) for name in names]

    @property
    def _required(self) -> list[str]:
        schema = self.row.parameters_schema or {} if self.row else {}
        return [_PARAMETER + str(name) for name in schema.get("required", ())]

    @property
    def _missing(self) -> list[str]:
        names = [name for name in self._required if name in self.fields]
        return [name for name in names if self[name].value() in (None, "")]

    @property
    def also_needs(self) -> str:
        """What to fill in before the tool can be used, by its label; empty if nothing."""
        labels = ", ".join(str(self[name].label) for name in self._missing)
        return f"{self.title} also needs: {labels}." if labels else ""

    @property
    def _is_embeddings(self) -> bool:
        return self.row is not None and self.row.kind == ToolKind.EMBEDDINGS

    @property
    def is_filled_in(self) -> bool:
        """Whether any parameter was typed."""
        return any(self[_PARAMETER + name].value() for name in self.parameter_names)

    @property
    def lacks_dimensions(self) -> bool:
        """Whether these are embeddings whose vectors' length is not known, so nothing uses them."""
        return self._is_embeddings and not (
            _DIMENSIONS in self.fields and self[_DIMENSIONS].value()
        )

    def clean(self) -> dict[str, Any]:
        """Check what was filled in by the tool's own schema."""
        cleaned: dict[str, Any] = super().clean() or {}
        if self.row is None:
            raise forms.ValidationError(
                "This tool is not in the registry, or it is switched off. Remove it."
            )
        parameters = self._parameters()
        if not parameters and not cleaned.get("secret"):
            # Not connected yet, which validation mentions and nothing forbids.
            return cleaned
        missing = self._missing
        for name in missing:
            if name not in self.errors:
                self.add_error(name, f"Fill this in: {self.title} needs it.")
        for problem in check_parameters(self.row, parameters):
            if missing and problem.attr == _WHOLE:
                continue
            name = _PARAMETER + problem.attr.rpartition(".")[2]
            field = name if name in self.fields else None
            if field is None or field not in self.errors:
                self.add_error(field, problem.detail)
        return cleaned

    def _parameters(self) -> dict[str, Any]:
        values = {name: self.cleaned_data.get(_PARAMETER + name) for name in self.parameter_names}
        return {name: value for name, value in values.items() if value not in (None, "")}

    def to_request(self) -> dict[str, Any]:
        """Return the binding as the request has it."""
        return {
            "tool": self.cleaned_data.get("tool", ""),
            "parameters": self._parameters(),
            "secret": self.cleaned_data.get("secret") or None,
        }


def _field_for(name: str, schema: dict[str, Any]) -> forms.Field:
    common: dict[str, Any] = {
        "label": str(schema.get("title", name)),
        "help_text": str(schema.get("description", "")),
        # The tool's schema says what is missing, in words that name the tool.
        "required": False,
    }
    kind = schema.get("type")
    if isinstance(schema.get("enum"), list):
        options = [(str(value), str(value)) for value in schema["enum"]]
        return forms.ChoiceField(choices=[("", "Choose…"), *options], **common)
    if kind == "integer":
        return forms.IntegerField(
            min_value=schema.get("minimum"), max_value=schema.get("maximum"), **common
        )
    if kind == "number":
        return forms.FloatField(
            min_value=schema.get("minimum"),
            max_value=schema.get("maximum"),
            widget=NumberInput(step=0.1),
            **common,
        )
    if kind == "boolean":
        return forms.BooleanField(**common)
    if kind == "string":
        return forms.CharField(max_length=schema.get("maxLength", 2000), **common)
    return JsonField(**common)


class _ToolFormSet(BaseFormSet[ToolForm]):
    def clean(self) -> None:
        """Want each tool once."""
        slugs = [form["tool"].value() for form in self.forms]
        for form in self.forms:
            if slugs.count(form["tool"].value()) > 1:
                raise forms.ValidationError(f"{form.title} is there twice. Remove one of them.")


ToolFormSet = formset_factory(
    ToolForm,
    formset=_ToolFormSet,
    extra=0,
    max_num=MAX_TOOLS,
    absolute_max=MAX_TOOLS,
    validate_max=True,
)


def tool_initial(binding: ToolBinding) -> dict[str, Any]:
    """Return a binding as the form shows it."""
    parameters = {_PARAMETER + name: value for name, value in binding.parameters.items()}
    return {"tool": binding.tool, "secret": binding.secret or "", **parameters}
