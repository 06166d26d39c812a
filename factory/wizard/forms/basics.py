"""Step 2: who the agent is."""

from types import MappingProxyType
from typing import Any, Final

from django import forms

from factory.compilation import compile_with
from factory.naming import agent_id_for
from factory.wizard.fields import ListField
from factory.wizard.forms.base import StepForm
from ledger.errors import InvalidInput

_FIELDS: Final = (
    "agent_id", "name", "display_name", "description", "goal", "tier", "tags", "industry",
    "domain", "languages",
)  # fmt: skip
_TIERS: Final = [(str(number), f"Tier {number}") for number in range(1, 6)]


class BasicsForm(StepForm):
    """Name, id, description, tier and labels."""

    asked_for = MappingProxyType({"name": "Give the agent a name.", "tier": "Choose a tier."})

    name = forms.CharField(
        label="Agent name",
        max_length=100,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "placeholder": "Customer Context Agent"}
        ),
    )
    agent_id = forms.CharField(
        label="Agent ID",
        max_length=64,
        required=False,
        help_text="Made from the name. Letters, digits, hyphens and underscores.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}
        ),
    )
    display_name = forms.CharField(
        label="Display name",
        max_length=100,
        required=False,
        help_text="What people see. The name, if you leave it empty.",
    )
    description = forms.CharField(
        max_length=200,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "data-counter": "200"}),
    )
    goal = forms.CharField(
        max_length=2000,
        required=False,
        help_text="What it is to achieve, in your words.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    tier = forms.ChoiceField(choices=_TIERS, widget=forms.RadioSelect)
    tags = ListField(required=False, help_text="Separated by commas.")
    industry = forms.CharField(max_length=80, required=False)
    domain = forms.CharField(max_length=80, required=False)
    languages = ListField(required=False, help_text="Codes separated by commas, as in en, hi, de.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        definition = self.context.definition
        if definition is not None:
            self.initial.setdefault("tier", str(definition.tier_recommendation))
            self.initial.setdefault("goal", definition.defaults.goal)
            self.initial.setdefault("tags", list(definition.defaults.tags))
            self.initial.setdefault("languages", list(definition.defaults.languages))

    def clean(self) -> dict[str, Any]:
        """Fill what follows from the name."""
        cleaned: dict[str, Any] = super().clean() or {}
        name = cleaned.get("name", "")
        for derived, value in (("agent_id", agent_id_for(name)), ("display_name", name)):
            if name:
                cleaned[derived] = cleaned.get(derived) or value
            elif not cleaned.get(derived):
                # Follows from the name, which is asked for.
                cleaned.pop(derived, None)
        cleaned["languages"] = cleaned.get("languages") or ["en"]
        if "tier" in cleaned:
            cleaned["tier"] = int(cleaned["tier"])
        return cleaned

    def to_request(self) -> dict[str, Any]:
        """Return this step's part of the request, without the fields that are not valid."""
        return {name: self.cleaned_data[name] for name in _FIELDS if name in self.cleaned_data}

    def suggested_id(self, name: str) -> str:
        """Return the id that the name leads to; nothing for no name."""
        return agent_id_for(name) if name else ""

    def problem_with_id(self, agent_id: str) -> str:
        """Return what is wrong with the id's spelling, if anything."""
        return self._problem_with("agent_id", {"name": "Sample", "agent_id": agent_id})

    def problem_with_name(self, name: str) -> str:
        """Return what is wrong with the name, if anything."""
        return self._problem_with("name", {"name": name, "agent_id": "WowSample"})

    def _problem_with(self, attr: str, request: dict[str, Any]) -> str:
        if self.context.definition is None:
            return ""
        try:
            compile_with(request, definition=self.context.definition)
        except InvalidInput as error:
            return next((p.detail for p in error.problems if p.attr == attr), "")
        return ""
