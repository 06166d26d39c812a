"""Where the wizard keeps what was typed while it answers: in the draft, not in the session."""

from typing import Any

from django.http import HttpRequest
from formtools.wizard.storage.base import BaseStorage

from factory.models import Blueprint
from factory.wizard import steps
from factory.wizard.drafts import empty_state
from factory.wizard.forms.base import StepContext


class WizardRequest(HttpRequest):
    """A request whose draft was found."""

    wizard_draft: Blueprint
    tool_test: tuple[Any, StepContext]
    """The tool's form whose connection is to be tested once the draft is let go; often not set."""


class DraftStorage(BaseStorage):  # type: ignore[misc]  # formtools ships no types
    """formtools' storage on a draft's ``wizard_state``; the view writes it back."""

    def __init__(
        self, prefix: str, request: WizardRequest, file_storage: object | None = None
    ) -> None:
        super().__init__(prefix, request, file_storage)
        self.draft = request.wizard_draft
        self.data = {**empty_state(), **self.draft.wizard_state}
        if self.data["step"] not in steps.TITLES:
            self.data["step"] = steps.TEMPLATE
