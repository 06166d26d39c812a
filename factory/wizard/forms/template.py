"""Step 1: choose a template."""

from typing import Any

from django import forms

from factory.wizard.forms.base import StepForm
from ledger.errors import NotFound
from templates_lib.services import template_for


class TemplateForm(StepForm):
    """The template's slug, which a card's button sends."""

    template = forms.SlugField(
        max_length=63, error_messages={"required": "Choose a template, or start from blank."}
    )

    def clean_template(self) -> str:
        """Accept published templates only."""
        slug: str = self.cleaned_data["template"]
        try:
            template, _ = template_for(slug)
        except NotFound as error:
            raise forms.ValidationError(error.message, code=error.code) from None
        return str(template.slug)

    def to_request(self) -> dict[str, Any]:
        """Return this step's part of the request."""
        slug = self.cleaned_data.get("template")
        return {"template_id": slug} if slug else {}
