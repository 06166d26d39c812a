"""The form in which a curator edits a draft."""

import json
from typing import Any, ClassVar, Final

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from ledger.errors import DomainError
from templates_lib.models import TemplateVersion
from templates_lib.services import check_version

MAX_CHARACTERS: Final = 900_000
_MAX_SHOWN: Final = 20
_TEXTAREA: Final = {"rows": 28, "spellcheck": "false", "style": "font-family: monospace"}


class JsonObjectField(forms.CharField):
    """JSON text of an object; a fault is named with its line and column."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            max_length=MAX_CHARACTERS,
            strip=False,
            widget=UnfoldAdminTextareaWidget(attrs=_TEXTAREA),
            **options,
        )

    def prepare_value(self, value: Any) -> Any:
        """Show an object indented, and what was typed as it was typed."""
        if isinstance(value, str):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        """Return the object that the text describes."""
        text = super().clean(value)
        try:
            result = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValidationError(
                f"Line {error.lineno}, column {error.colno}: this is not JSON ({error.msg})."
            ) from None
        except (RecursionError, ValueError):
            raise ValidationError("The JSON is nested too deep or has a number too long.") from None
        if not isinstance(result, dict):
            raise ValidationError("Write an object, in braces.")
        return result


class DraftForm(forms.ModelForm[TemplateVersion]):
    """Definition and skeleton of a draft, checked as publishing would."""

    definition = JsonObjectField(
        help_text="Metadata, defaults, configuration schema and scenarios. The version's number "
        "and changelog stand in here too."
    )
    skeleton = JsonObjectField(
        help_text="Path → text. README.md.jinja, docs/<name>.md.jinja and support/<name>.py.",
    )

    class Meta:
        model = TemplateVersion
        fields: ClassVar[list[str]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["definition"].initial = self.instance.definition
        self.fields["skeleton"].initial = self.instance.files

    def clean_skeleton(self) -> dict[str, str]:
        """Return the files if each one is a text."""
        files: dict[str, str] = self.cleaned_data["skeleton"]
        for path, text in files.items():
            if not isinstance(text, str):
                raise ValidationError(f"{path[:100]}: write the file's text in quotes.")
        return files

    def clean(self) -> dict[str, Any]:
        """Add what keeps the draft from making a working agent, beside the field it is in."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if "definition" not in values or "skeleton" not in values:
            return values
        slug = self.instance.template.slug
        try:
            definition = check_version(
                slug=slug, definition=values["definition"], files=values["skeleton"]
            )
        except DomainError as error:
            self._add_problems(error)
            return values
        others = TemplateVersion.objects.filter(template=self.instance.template).exclude(
            pk=self.instance.pk
        )
        if others.filter(version=definition.version).exists():
            self.add_error(
                "definition",
                f"version: there is a version {definition.version} already. Raise the version.",
            )
        return values

    def _add_problems(self, error: DomainError) -> None:
        paths = tuple(self.cleaned_data["skeleton"])
        found = error.problems[:_MAX_SHOWN]
        for problem in found:
            field = "skeleton" if paths and problem.attr.startswith(paths) else "definition"
            where = f"{problem.attr}: " if problem.attr else ""
            self.add_error(field, f"{where}{problem.detail}")
        if not found:
            self.add_error("definition", error.message)
        elif len(error.problems) > _MAX_SHOWN:
            self.add_error("definition", f"{len(error.problems) - _MAX_SHOWN} more after these.")
