"""Buttons of step 3 that reach outside: testing a tool's connection, keeping a secret."""

from typing import Any, Final

from django.contrib import messages
from django.db import transaction
from django.utils import timezone

from factory.wizard import drafts, steps
from factory.wizard.forms.base import StepContext
from factory.wizard.forms.tools import ToolFormSet
from factory.wizard.row_buttons import TOOLS
from factory.wizard.storage import DraftStorage, WizardRequest
from factory.wizard.tool_states import fingerprint
from ledger.errors import DomainError
from registry.services.secrets import put_secret
from registry.services.tools import test_tool

CHECKS: Final = "tool_checks"


def press(
    verb: str,
    argument: str,
    request: WizardRequest,
    storage: DraftStorage,
    *,
    context: StepContext,
) -> str | None:
    """Do what the button says; return where to look next, ``None`` if it is none of these."""
    if verb == "tools-test":
        return _ask_for_test(argument, request, storage, context)
    if verb == "secret-add":
        entry = put_secret(
            caller=context.caller,
            name=request.POST.get("secret_name", ""),
            value=request.POST.get("secret_value", ""),
        )
        messages.success(request, f"The secret “{entry.name}” is kept. Choose it by its name.")
        return "#tools"
    return None


def _ask_for_test(
    argument: str, request: WizardRequest, storage: DraftStorage, context: StepContext
) -> str:
    formset = ToolFormSet(
        storage.get_step_data(steps.CAPABILITIES), prefix=TOOLS, form_kwargs={"context": context}
    )
    place = int(argument) if argument.isascii() and argument.isdigit() else -1
    if not 0 <= place < len(formset.forms):
        return "#tools"
    request.tool_test = (formset.forms[place], context)
    return f"?open=tool-{place}#tool-{place}"


def test_asked_for(request: WizardRequest) -> None:
    """Test the tool whose button was pressed, and keep with the draft what came of it.

    Takes up to some ten seconds; call it with nothing held. A draft that was put away or deployed
    meanwhile stays as it is.
    """
    asked = getattr(request, "tool_test", None)
    if asked is None:
        return
    form, context = asked
    slug = str(form["tool"].value() or "")
    check = {"of": fingerprint(form), **_result(form, context)}
    with transaction.atomic():
        try:
            draft = drafts.draft_for(context.caller, request.wizard_draft.pk, lock=True)
        except DomainError:
            return
        if draft.agent is not None:
            return
        state = {**drafts.empty_state(), **draft.wizard_state}
        extra = state["extra_data"]
        checks = {**extra.get(CHECKS, {}), slug: {"at": timezone.now().isoformat(), **check}}
        state["extra_data"] = {**extra, CHECKS: checks}
        drafts.keep_draft(caller=context.caller, draft=draft, state=state)


# pytest collects what is called test_*; this is a button's work.
test_asked_for.__test__ = False  # type: ignore[attr-defined]  # a function takes attributes


def _result(form: Any, context: StepContext) -> dict[str, Any]:
    if form.also_needs:
        return {"ok": False, "detail": form.also_needs}
    if not form.is_valid():
        details = [str(error) for errors in form.errors.values() for error in errors]
        return {"ok": False, "detail": " ".join(details)}
    binding = form.to_request()
    try:
        check = test_tool(
            caller=context.caller,
            tool=binding["tool"],
            parameters=binding["parameters"],
            secret=binding["secret"],
        )
    except DomainError as error:
        return {"ok": False, "detail": error.message}
    return {"ok": check.ok, "detail": check.detail}
