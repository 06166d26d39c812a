"""What the forms of the steps share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.forms.utils import ErrorDict

from accounts.callers import Caller
from factory.compilation import compile_with
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

    def to_request(self) -> dict[str, Any]:
        """Return this step's part of the request; asked only of a valid form."""
        raise NotImplementedError

    def parts_valid(self) -> bool:
        """Whether the fields, each by itself, are valid."""
        return super().is_valid()

    def is_valid(self) -> bool:
        """Whether every field is valid and an agent can be made of them."""
        if not self.parts_valid():
            return False
        if not self._compiled:
            self._compiled = True
            for problem in self._problems():
                self.place(problem)
        return self.parts_valid()

    def place(self, problem: FieldProblem) -> None:
        """Put a problem of the request beside the field that it is about."""
        names = reversed(problem.attr.split("."))
        name = next((name for name in names if name in self.fields), None)
        self.add_error(name, problem.detail)

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


def ask_for(form: forms.BaseForm, messages: Mapping[str, str]) -> None:
    """Let each field say what to do when it was left empty: field → sentence."""
    for name, sentence in messages.items():
        form.fields[name].error_messages["required"] = sentence


def forgive_form(form: forms.BaseForm) -> None:
    """Take the errors from a form that was left unfinished; what was typed stays."""
    form.full_clean()
    # Django has no other way to show a bound form that nobody asked to be checked.
    vars(form)["_errors"] = ErrorDict()
