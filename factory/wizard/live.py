"""Fragments of the wizard's pages that follow what is typed, and the sandbox's progress."""

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.portal import PortalMixin
from accounts.roles import Action
from factory.wizard import pages, steps, testing
from factory.wizard.fields import SchemaField
from factory.wizard.views import AgentWizardView
from ledger.errors import NotFound

_MAX_PROPERTIES: Final = 50


class WizardLiveView(AgentWizardView):
    """``checks`` of step 2, ``cost`` of step 4, ``panel`` of step 5. Only read."""

    http_method_names = ("get", "head", "options")

    def get(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer with the fragment."""
        name = kwargs["fragment"]
        if name == "checks":
            form = self.get_form(steps.BASICS, data=self.request.GET)
            context = pages.basics_checks(self.caller, form)
        elif name == "cost":
            form = self.get_form(steps.RESOURCES, data=self.request.GET)
            context = pages.resources_page(self.caller, self.compose(), form)
        elif name == "panel":
            form = self.get_form(steps.TEST, data=self.storage.get_step_data(steps.TEST))
            composition = self.compose()
            context = testing.test_page(self.caller, composition, form, self.step_context())
            context["spec_errors"] = pages.specification_errors(
                self.caller, composition, self.draft
            )
        else:
            raise NotFound("fragment_not_found", "There is no such part of the wizard.")
        context |= {"draft": self.draft, "step_url": self.get_step_url(steps.TEST)}
        return render(self.request, f"factory/wizard/parts/{name}.html", context)


class SchemaCheckView(PortalMixin):
    """Says, while a schema is typed, whether it is one."""

    required_action = Action.CREATE_AGENTS

    def post(self, request: HttpRequest) -> HttpResponse:
        """Read the schema whose field asks."""
        text = request.POST.get(request.headers.get("HX-Trigger-Name", ""), "")
        if not text.strip():
            return HttpResponse("")
        context: dict[str, Any]
        try:
            schema = SchemaField().clean(text)
        except ValidationError as error:
            context = {"tone": "bad", "text": " ".join(error.messages)}
        else:
            names = list(schema.get("properties", {}))[:_MAX_PROPERTIES]
            fields = ", ".join(names) if names else "any fields"
            context = {"tone": "ok", "text": f"Valid schema: {fields}."}
        return render(request, "factory/wizard/parts/check.html", context)
