"""What the forms of the steps share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from django import forms
from django.forms.utils import ErrorDict

from accounts.callers import Caller
from factory.compilation import compile_with
from factory.wizard.fields import SchemaField
from ledger.errors import FieldProblem, InvalidInput
from registry.models import Tool
from templates_lib.definition import TemplateDefinition


@dataclass(frozen=True)
class StepContext:
    """What a step needs to know beside what was typed."""

    caller: Caller
    definition: TemplateDefinition | None
    """``None`` until a template is chosen."""
    tools: tuple[Tool, ...] = ()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class FieldInError:
    """A field to mend, by its name, and where it stands on the page."""

    label: str
    anchor: str


class StepForm(forms.Form):
    """A step's form: its fields say what is typed, the compiler whether an agent can be made of it.

    Every step is checked by the rules that the whole request meets at the end, with the template's
    defaults in the place of the other steps, so no step lets through what a later one refuses.
    """

    asked_for: ClassVar[Mapping[str, str]] = {}
    """Field → what to do when it was left empty."""

    def __init__(self, *args: Any, context: StepContext, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ask_for(self, self.asked_for)
        self.context = context
        self._compiled = False
        self._broken: dict[int, frozenset[str]] = {}

    def to_request(self) -> dict[str, Any]:
        """Return this step's part of the request, without the fields that are not valid."""
        raise NotImplementedError

    def rows(self) -> Sequence[tuple[str, str, forms.Form]]:
        """Return the rows of the step's lists: title, anchor and form."""
        return ()

    def parts_valid(self) -> bool:
        """Whether the fields, each by itself, are valid."""
        return super().is_valid()

    def is_valid(self) -> bool:
        """Whether every field is valid and an agent can be made of them."""
        valid = self.parts_valid()
        if self.is_bound and not self._compiled:
            self._compiled = True
            # Of a form that is not valid too: all that is wrong is told at once.
            self.place_all(self._problems())
            valid = self.parts_valid()
        return valid

    def place_all(self, problems: Iterable[FieldProblem]) -> None:
        """Put problems beside their fields; a field that is wrong already says enough."""
        parts = (self, *(row for _, _, row in self.rows()))
        self._broken = {id(part): frozenset(part.errors) for part in parts if part.errors}
        for problem in problems:
            self.place(problem)

    def place(self, problem: FieldProblem) -> None:
        """Put a problem of the request beside the field that it is about."""
        names = reversed(problem.attr.split("."))
        name = next((name for name in names if name in self.fields), None)
        self.tell(self, name, problem.detail)

    def tell(self, part: forms.Form, name: str | None, detail: str) -> None:
        """Add an error to a field of this form or of a row, unless it was wrong before."""
        if name is None:
            # What is about a row as a whole follows from its fields: those come first.
            is_row = part is not self
            told = detail in part.non_field_errors() or (is_row and id(part) in self._broken)
        else:
            told = name in self._broken.get(id(part), ()) or detail in part.errors.get(name, ())
        if not told:
            part.add_error(name, detail)

    @property
    def fields_in_error(self) -> list[FieldInError]:
        """What needs attention, in the order of the page."""
        found = [_in_error(self[name]) for name in self.fields if name in self.errors]
        for title, anchor, row in self.rows():
            named = [name for name in row.fields if name in row.errors]
            found += [_in_error(row[name], title) for name in named]
            if row.non_field_errors():
                found.append(FieldInError(title, anchor))
        return found

    def _problems(self) -> tuple[FieldProblem, ...]:
        if self.context.definition is None:
            return ()
        request = {"name": "Sample", **self.to_request()}
        try:
            compile_with(request, definition=self.context.definition)
        except InvalidInput as error:
            return error.problems or (FieldProblem("", error.code, error.message),)
        return ()

    def forgive(self) -> None:
        """Show what was typed without its errors, as on a page that was left unfinished."""
        forgive_form(self)


def _in_error(field: forms.BoundField, title: str = "") -> FieldInError:
    label = f"{title}: {field.label}" if title else str(field.label)
    # The list of fields may hide a schema's text area, and a group of choices has no one control.
    beside = isinstance(field.field, SchemaField) or not field.id_for_label
    return FieldInError(label, f"{field.auto_id}_error" if beside else field.id_for_label)


_BOUNDS: Final = {
    "min_value": "Choose %(limit_value)s or more.",
    "max_value": "Choose %(limit_value)s or less.",
    "max_length": "Use at most %(limit_value)s characters. These are %(show_value)s.",
}


def ask_for(form: forms.BaseForm, messages: Mapping[str, str]) -> None:
    """Let each field say what to do: when left empty (field → sentence), beyond its bounds."""
    for field in form.fields.values():
        for code, sentence in _BOUNDS.items():
            field.error_messages.setdefault(code, sentence)
    for name, sentence in messages.items():
        form.fields[name].error_messages["required"] = sentence


def forgive_form(form: forms.BaseForm) -> None:
    """Take the errors from a form that was left unfinished; what was typed stays."""
    form.full_clean()
    # Django has no other way to show a bound form that nobody asked to be checked.
    vars(form)["_errors"] = ErrorDict()
