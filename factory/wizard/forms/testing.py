"""Step 5: the operator's own scenarios, and the reason for skipping the test."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.forms import BaseFormSet, formset_factory

from factory.wizard.fields import JsonField, JsonTextarea
from factory.wizard.forms.base import StepForm, ask_for, forgive_form

MAX_SCENARIOS = 30


class ScenarioForm(forms.Form):
    """One scenario of the operator's own."""

    name = forms.CharField(max_length=100)
    capability = forms.CharField(max_length=64, required=False)
    input = JsonField(widget=JsonTextarea(rows=4, placeholder='{"text": "…"}'))
    expected_output = JsonField(
        label="Expected output",
        required=False,
        help_text="The part of the answer that matters. Empty: any answer that fits the schema.",
        widget=JsonTextarea(rows=3, placeholder='{"status": "stored"}'),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ask_for(
            self,
            {
                "name": "Give the scenario a name.",
                "input": "Give an input, as in {} for an empty one.",
            },
        )


class _ScenarioFormSet(BaseFormSet[ScenarioForm]):
    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        """Let no row be left as it came: Django would take it for one that nobody wanted."""
        return {**super().get_form_kwargs(index), "empty_permitted": False}


ScenarioFormSet = formset_factory(
    ScenarioForm,
    formset=_ScenarioFormSet,
    extra=0,
    max_num=MAX_SCENARIOS,
    absolute_max=MAX_SCENARIOS,
    validate_max=True,
)


class TestForm(StepForm):
    """Own scenarios, and why the test may be skipped."""

    skip_reason = forms.CharField(
        label="Skip the test because",
        max_length=500,
        required=False,
        help_text="Stays on record with your name.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(
        self, data: Any = None, *args: Any, prefix: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data, *args, prefix=prefix, **kwargs)
        self.scenarios = ScenarioFormSet(data, prefix=f"{prefix}-scenarios")

    def parts_valid(self) -> bool:
        """Whether the reason and every scenario are valid."""
        parts = (super().parts_valid(), self.scenarios.is_valid())
        return all(parts)

    def rows(self) -> Sequence[tuple[str, str, forms.Form]]:
        """Return the scenarios: title, anchor and form."""
        return [
            (str(form["name"].value() or "The new scenario"), f"scenario-{place}", form)
            for place, form in enumerate(self.scenarios.forms)
        ]

    def forgive(self) -> None:
        """Show what was typed without its errors."""
        super().forgive()
        self.scenarios.full_clean()
        for form in self.scenarios.forms:
            forgive_form(form)

    def to_request(self) -> dict[str, Any]:
        """Nothing of a test belongs to the agent."""
        return {}
