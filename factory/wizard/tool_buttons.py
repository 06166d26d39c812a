"""Buttons of step 3 that reach outside: testing a tool's connection, keeping a secret."""

from typing import Any, Final

from django.contrib import messages
from django.utils import timezone

from factory.wizard import steps
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
        return _test(argument, storage, context)
    if verb == "secret-add":
        entry = put_secret(
            caller=context.caller,
            name=request.POST.get("secret_name", ""),
            value=request.POST.get("secret_value", ""),
        )
        messages.success(request, f"The secret “{entry.name}” is kept. Choose it by its name.")
        return "#tools"
    return None


def _test(argument: str, storage: DraftStorage, context: StepContext) -> str:
    formset = ToolFormSet(
        storage.get_step_data(steps.CAPABILITIES), prefix=TOOLS, form_kwargs={"context": context}
    )
    place = int(argument) if argument.isascii() and argument.isdigit() else -1
    if not 0 <= place < len(formset.forms):
        return "#tools"
    form = formset.forms[place]
    slug = str(form["tool"].value() or "")
    checks: dict[str, Any] = dict(storage.extra_data.get(CHECKS, {}))
    checks[slug] = {
        "at": timezone.now().isoformat(),
        "of": fingerprint(form),
        **_result(form, context),
    }
    storage.extra_data = {**storage.extra_data, CHECKS: checks}
    return f"?open=tool-{place}#tool-{place}"


def _result(form: Any, context: StepContext) -> dict[str, Any]:
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
