"""Step 3: what the agent can do, with which tools, and how it remembers."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

from django import forms
from django.forms import BaseFormSet, formset_factory
from django.forms.utils import ErrorList

from factory.wizard.fields import JsonField, JsonListField, JsonTextarea, NumberInput, SchemaField
from factory.wizard.forms.base import (
    FieldInError,
    StepContext,
    StepForm,
    ask_for,
    forgive_form,
)
from factory.wizard.forms.tools import ToolFormSet, tool_initial
from factory.wizard.rows import MAX_ROWS
from ledger.errors import FieldProblem
from registry.spec import BuiltinOperation, Capability, Memory, MemoryKind

_KINDS: Final = (
    ("builtin", "Built in: done by the agent's own runtime"),
    ("prompt", "Prompt: done by the connected model"),
    ("http", "HTTP: done by another service"),
)
_OPERATIONS: Final = {
    BuiltinOperation.MEMORY_STORE: "Store in memory",
    BuiltinOperation.MEMORY_RETRIEVE: "Retrieve from memory",
    BuiltinOperation.MEMORY_SEARCH: "Search memory",
    BuiltinOperation.MEMORY_SUMMARIZE: "Summarise memory",
    BuiltinOperation.AGENT_DESCRIBE: "Describe the agent",
    BuiltinOperation.AGENT_HEALTH: "Report the agent's health",
}
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MEMORY_KINDS: Final = (
    (MemoryKind.NONE, "None"),
    (MemoryKind.SHORT_TERM, "Short-term (Redis)"),
    (MemoryKind.LONG_TERM, "Long-term (PostgreSQL with pgvector)"),
    (MemoryKind.HYBRID, "Hybrid (both)"),
)
_SECONDS_PER_HOUR: Final = 3600
_ASKED_FOR: Final = {
    "name": "Give the capability a name, as in analyze_sentiment.",
    "input_schema": "Add at least one field.",
    "output_schema": "Add at least one field.",
    "timeout_seconds": "Give the seconds after which a call ends, as in 30.",
    "kind": "Choose how it is done.",
}
_UNDESCRIBED: Final = "Describe what it does, or give the model its instructions below."
_DESCRIBING: Final = ("name", "description", "input_schema", "output_schema", "timeout_seconds")
_IMPLEMENTING: Final = frozenset(
    {"kind", "operation", "instructions", "temperature", "method", "url", "headers", "secret"}
)


class CapabilityForm(forms.Form):
    """One capability."""

    name = forms.CharField(
        max_length=64,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "analyze_sentiment"}
        ),
    )
    description = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    input_schema = SchemaField(label="Input schema")
    output_schema = SchemaField(label="Output schema")
    examples = JsonListField(
        required=False,
        help_text='A list of <code>{"input": {…}, "output": {…}}</code>. '
        "The sandbox answers with them where a model or a service would.",
        widget=JsonTextarea(rows=5, placeholder="[]"),
    )
    timeout_seconds = forms.FloatField(
        label="Timeout", min_value=0.1, max_value=600, initial=30, widget=NumberInput(step=0.1)
    )
    kind = forms.ChoiceField(label="How it is done", choices=_KINDS, initial="prompt")
    operation = forms.ChoiceField(
        required=False,
        choices=[("", "Choose…"), *((key.value, label) for key, label in _OPERATIONS.items())],
    )
    instructions = forms.CharField(
        max_length=8000,
        required=False,
        help_text="What the model is told. Empty: it answers from the description. Its answer "
        "always follows the output schema.",
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    temperature = forms.FloatField(
        min_value=0, max_value=2, initial=0, required=False, widget=NumberInput(step=0.1)
    )
    method = forms.ChoiceField(
        required=False, choices=[(name, name) for name in _METHODS], initial="POST"
    )
    url = forms.CharField(
        label="Address",
        max_length=2000,
        required=False,
        widget=forms.URLInput(attrs={"placeholder": "https://api.example.com/v1/sentiment"}),
    )
    headers = JsonField(required=False, widget=JsonTextarea(rows=2, placeholder="{}"))
    secret = forms.ChoiceField(required=False, help_text="Sent as a bearer token, never shown.")

    def __init__(self, *args: Any, context: StepContext, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ask_for(self, _ASKED_FOR)
        field = self.fields["secret"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - told to the type checker
        field.choices = [("", "None"), *((name, name) for name in context.secrets)]

    def clean(self) -> dict[str, Any]:
        """Ask for what the chosen way of doing it needs."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("kind") == "builtin" and not cleaned.get("operation"):
            self.add_error("operation", "Choose what the runtime does.")
        if cleaned.get("kind") == "http" and not cleaned.get("url") and "url" not in self.errors:
            self.add_error("url", "Give the address of the service.")
        return cleaned

    def to_request(self) -> dict[str, Any]:
        """Return the capability as the request has it, without the fields that are not valid."""
        data = self.cleaned_data
        request: dict[str, Any] = {name: data[name] for name in _DESCRIBING if name in data}
        whole = "input_schema" in data and "output_schema" in data
        # Whether examples fit can't be said of a schema that is being mended.
        request["examples"] = (data.get("examples") or []) if whole else []
        implementation = self._implementation()
        # Without instructions a model answers from the description.
        return {**request, "implementation": implementation} if implementation else request

    def _implementation(self) -> dict[str, Any] | None:
        data = self.cleaned_data
        if not _IMPLEMENTING.isdisjoint(self.errors):
            # Stands in for what is being mended, so that the rest can be checked.
            return {"kind": "builtin", "operation": BuiltinOperation.AGENT_DESCRIBE.value}
        if data["kind"] == "builtin":
            return {"kind": "builtin", "operation": data["operation"]}
        if data["kind"] == "prompt":
            if not data["instructions"]:
                return None
            return {
                "kind": "prompt",
                "instructions": data["instructions"],
                "temperature": data["temperature"] or 0,
            }
        return {
            "kind": "http",
            "method": data["method"] or "POST",
            "url": data["url"],
            "headers": data["headers"] or {},
            "secret": data["secret"] or None,
        }


class _CapabilityFormSet(BaseFormSet[CapabilityForm]):
    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        """Let no row be left as it came: Django would take it for one that nobody wanted."""
        return {**super().get_form_kwargs(index), "empty_permitted": False}

    def clean(self) -> None:
        """Want at least one capability, and each name once."""
        if not self.forms:
            raise forms.ValidationError("Add at least one capability.")
        names = [form.cleaned_data.get("name") for form in self.forms if form.is_valid()]
        for name in names:
            if names.count(name) > 1:
                raise forms.ValidationError(
                    f"The capability {name!r} is there twice. Rename or remove one of them."
                )


CapabilityFormSet = formset_factory(
    CapabilityForm,
    formset=_CapabilityFormSet,
    extra=0,
    max_num=MAX_ROWS,
    absolute_max=MAX_ROWS,
    validate_max=True,
)


def capability_initial(capability: Capability) -> dict[str, Any]:
    """Return a capability as the form shows it."""
    values = capability.model_dump(mode="json")
    implementation = values.pop("implementation")
    values.pop("label", None)
    return {**values, **implementation}


class CapabilitiesForm(StepForm):
    """Capabilities, tools, memory, and the template's own settings."""

    asked_for = MappingProxyType(
        {
            "kind": "Choose how the agent remembers.",
            "ttl_hours": "Give the hours after which short-term memory forgets, as in 24.",
            "retention_days": "Give the days that long-term memory is kept, as in 30.",
            "capacity_items": "Give the most contexts that are kept, as in 100000.",
            "max_context_size": "Give the most characters that a summary reads, as in 10000.",
        }
    )

    kind = forms.ChoiceField(label="Memory", choices=[(k.value, v) for k, v in _MEMORY_KINDS])
    ttl_hours = forms.FloatField(
        label="Short-term memory forgets after (hours)",
        min_value=60 / _SECONDS_PER_HOUR,
        max_value=8760,
        widget=NumberInput(step=0.5),
        error_messages={"min_value": "Choose 0.02 or more, which is about a minute."},
    )
    retention_days = forms.IntegerField(
        label="Long-term memory is kept for (days)", min_value=1, max_value=3650
    )
    capacity_items = forms.IntegerField(
        label="Capacity (contexts)", min_value=1, max_value=10_000_000
    )
    max_context_size = forms.IntegerField(
        label="One summary reads at most (characters)", min_value=100, max_value=1_000_000
    )
    config = JsonField(
        label="Template settings", required=False, widget=JsonTextarea(rows=4, placeholder="{}")
    )

    def __init__(
        self,
        data: Any = None,
        files: Any = None,
        *,
        prefix: str | None = None,
        initial: dict[str, Any] | None = None,
        context: StepContext,
    ) -> None:
        super().__init__(data, files, prefix=prefix, initial=initial, context=context)
        definition = context.definition
        defaults = definition.defaults if definition is not None else None
        memory = defaults.memory if defaults is not None else Memory()
        for name, value in memory.model_dump(mode="json").items():
            self.initial.setdefault(name, value)
        self.initial.setdefault("ttl_hours", round(memory.ttl_seconds / _SECONDS_PER_HOUR, 2))
        own = self._own_settings()
        if own:
            values = defaults.config if defaults is not None else {}
            self.initial.setdefault("config", {key: values[key] for key in own if key in values})
        else:
            del self.fields["config"]
        self.skills = CapabilityFormSet(
            data,
            prefix=f"{prefix}-skills",
            initial=[capability_initial(c) for c in defaults.capabilities] if defaults else [],
            form_kwargs={"context": context},
        )
        self.tools = ToolFormSet(
            data,
            prefix=f"{prefix}-tools",
            initial=[tool_initial(t) for t in defaults.tools] if defaults else [],
            form_kwargs={"context": context},
        )

    def _own_settings(self) -> Sequence[str]:
        # A setting that is another name of a field of this form is not asked for twice.
        definition = self.context.definition
        if definition is None:
            return ()
        known = definition.config_schema.get("properties", {})
        names = list(known) if isinstance(known, dict) else []
        return [name for name in names if name not in definition.spec_fields]

    def parts_valid(self) -> bool:
        """Whether the memory, every capability and every tool are valid."""
        parts = (super().parts_valid(), self.skills.is_valid(), self.tools.is_valid())
        return all(parts)

    def rows(self) -> Sequence[tuple[str, str, forms.Form]]:
        """Return the capabilities and the tools: title, anchor and form."""
        skills = [
            (str(form["name"].value() or "The new capability"), f"skill-{place}", form)
            for place, form in enumerate(self.skills.forms)
        ]
        tools = [(form.title, f"tool-{place}", form) for place, form in enumerate(self.tools.forms)]
        return [*skills, *tools]

    @property
    def fields_in_error(self) -> list[FieldInError]:
        """What needs attention, with the lists as a whole."""
        whole = (("Capabilities", "skills", self.skills), ("Tools", "tools", self.tools))
        lists = [FieldInError(name, at) for name, at, part in whole if part.non_form_errors()]
        return [*lists, *super().fields_in_error]

    def place(self, problem: FieldProblem) -> None:
        """Put a problem beside the field of the capability or tool that it is about."""
        part, *path = problem.attr.split(".")
        rows: list[forms.Form] = []
        if part == "capabilities":
            rows.extend(self.skills.forms)
        elif part == "tools":
            rows.extend(self.tools.forms)
        if path and path[0].isdigit() and int(path[0]) < len(rows):
            row = rows[int(path[0])]
            names = [name for step in reversed(path[1:]) for name in (step, f"param_{step}")]
            name = next((n for n in names if n in row.fields), None)
            undescribed = (name, problem.code) == ("description", "missing")
            self.tell(row, name, _UNDESCRIBED if undescribed else problem.detail)
        elif problem.attr == "memory.ttl_seconds":
            self.tell(self, "ttl_hours", problem.detail)
        else:
            super().place(problem)

    def forgive(self) -> None:
        """Show what was typed without its errors."""
        super().forgive()
        for formset in (self.skills, self.tools):
            formset.full_clean()
            vars(formset)["_non_form_errors"] = ErrorList()
        for form in (*self.skills.forms, *self.tools.forms):
            forgive_form(form)

    @property
    def optional_capabilities(self) -> list[str]:
        """Names of the template's capabilities that are not there yet."""
        definition = self.context.definition
        if definition is None:
            return []
        here = {str(form["name"].value() or "") for form in self.skills.forms}
        everything = (*definition.defaults.capabilities, *definition.optional_capabilities)
        return [c.name for c in everything if c.name not in here]

    def to_request(self) -> dict[str, Any]:
        """Return this step's part of the request, without the fields that are not valid."""
        data = self.cleaned_data
        names = ("kind", "retention_days", "capacity_items", "max_context_size")
        memory = {name: data[name] for name in names if name in data}
        if "ttl_hours" in data:
            memory["ttl_seconds"] = round(data["ttl_hours"] * _SECONDS_PER_HOUR)
        request: dict[str, Any] = {
            "capabilities": [form.to_request() for form in self.skills.forms],
            "tools": [form.to_request() for form in self.tools.forms],
            "memory": memory,
        }
        if data.get("config"):
            request["config"] = data["config"]
        return request
