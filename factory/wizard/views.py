"""The wizard's pages: which step is shown, what a button does, and the one call at the end."""

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.datastructures import MultiValueDict
from django.views.generic import TemplateView
from formtools.wizard.views import NamedUrlSessionWizardView

from accounts.portal import PortalMixin
from accounts.roles import Action
from factory.models import Blueprint
from factory.wizard import drafts, pages, row_buttons, steps, testing, tool_buttons
from factory.wizard.checking import check_step
from factory.wizard.compose import Composition, compose
from factory.wizard.deploying import deploy_draft
from factory.wizard.forms.base import StepContext, StepForm
from factory.wizard.forms.basics import BasicsForm
from factory.wizard.forms.capabilities import CapabilitiesForm
from factory.wizard.forms.resources import ResourcesForm
from factory.wizard.forms.review import ReviewForm
from factory.wizard.forms.template import TemplateForm
from factory.wizard.forms.testing import TestForm
from factory.wizard.storage import DraftStorage, WizardRequest
from ledger.errors import DomainError, NotFound
from registry.services.secrets import list_secrets
from registry.services.tools import active_tools
from templates_lib.enums import VersionStatus
from templates_lib.services import definition_of, template_for

FORMS: Final = (
    (steps.TEMPLATE, TemplateForm),
    (steps.BASICS, BasicsForm),
    (steps.CAPABILITIES, CapabilitiesForm),
    (steps.RESOURCES, ResourcesForm),
    (steps.TEST, TestForm),
    (steps.REVIEW, ReviewForm),
)


class WizardStartView(PortalMixin, TemplateView):
    """Step 1 before there is a draft: choosing a template opens one."""

    required_action = Action.CREATE_AGENTS
    template_name = "factory/wizard/template.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the cards and the progress indicator of a wizard that has not begun."""
        return super().get_context_data(
            **kwargs,
            **pages.template_page(self.request, self.caller),
            progress=pages.progress(steps.TEMPLATE, draft=None),
            choosing=True,
            current=steps.TEMPLATE,
            drafts=drafts.wizard_drafts(self.caller)[:3],
        )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the cards; the search as one types asks for these alone."""
        if request.headers.get("HX-Target") == "template-cards":
            self.template_name = "factory/parts/template_cards.html"
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Open a draft of the chosen template."""
        slug = request.POST.get("template-template", "")[:63]
        try:
            draft = drafts.start_draft(caller=self.caller, template=slug)
        except DomainError as error:
            self.say(error)
            return redirect("wizard-start")
        return redirect("wizard-step", draft_id=draft.id, step=steps.BASICS)


class DraftMixin:
    """Finds the draft that the address names; while something is written, nobody else writes it."""

    def dispatch(self, request: WizardRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Find the draft, then answer."""
        draft_id: UUID = kwargs["draft_id"]
        if request.method != "POST":
            request.wizard_draft = drafts.draft_for(self.caller, draft_id)  # type: ignore[attr-defined]  # PortalMixin's
            return super().dispatch(request, *args, **kwargs)  # type: ignore[misc,no-any-return]  # the view's
        with transaction.atomic():
            request.wizard_draft = drafts.draft_for(self.caller, draft_id, lock=True)  # type: ignore[attr-defined]  # PortalMixin's
            response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]  # the view's
        # May take seconds: nobody waits for the draft meanwhile.
        return self.after_commit(response)

    def after_commit(self, response: HttpResponseBase) -> HttpResponseBase:
        """Do what needs nothing held; return the answer, another one perhaps."""
        return response


class AgentWizardView(PortalMixin, DraftMixin, NamedUrlSessionWizardView):  # type: ignore[misc]  # formtools ships no types
    """A draft's steps. A GET changes nothing but the step that the draft is on."""

    required_action = Action.CREATE_AGENTS
    form_list = FORMS
    storage_name = "factory.wizard.storage.DraftStorage"
    url_name = "wizard-step"
    storage: DraftStorage
    request: WizardRequest
    _to_deploy: tuple[StepForm, Composition, tuple[str, ...]] | None = None
    """What is to be deployed once the draft is let go, with the form that says so."""

    # --- What the steps are made of -----------------------------------------------------------

    @property
    def draft(self) -> Blueprint:
        """The draft that is being filled in."""
        return self.storage.draft

    def get_step_url(self, step: str) -> str:
        """Return the address of a step of this draft."""
        return reverse("wizard-step", kwargs={"draft_id": self.draft.id, "step": step})

    def step_context(self) -> StepContext:
        """Return what the forms need to know; read once per request."""
        if not hasattr(self, "_step_context"):
            version = self.draft.template_version
            self._step_context = StepContext(
                caller=self.caller,
                definition=definition_of(version) if version is not None else None,
                tools=tuple(active_tools()),
                secrets=tuple(entry.name for entry in list_secrets(caller=self.caller)),
            )
        return self._step_context

    def get_form_kwargs(self, step: str | None = None) -> dict[str, Any]:
        """Give each form its context."""
        return {"context": self.step_context()}

    def compose(self) -> Composition:
        """Return the request that the steps make together, as far as they are complete."""
        return compose(
            {
                step: self.kept_form(step)
                for step in (steps.TEMPLATE, steps.BASICS, steps.CAPABILITIES, steps.RESOURCES)
            },
            version=self.draft.template_version,
        )

    def kept_form(self, step: str) -> StepForm:
        """Return the form of a step as it was kept; made once while nothing is typed into it."""
        data = self.storage.get_step_data(step)
        forms: dict[str, tuple[Any, StepForm]] = self.__dict__.setdefault("_kept_forms", {})
        if step not in forms or forms[step][0] != data:
            forms[step] = (data, self.get_form(step, data=data))
        return forms[step][1]

    # --- Showing ------------------------------------------------------------------------------

    def get(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show a step, if the steps before it are complete."""
        if self.draft.agent is not None:
            return redirect("agent", agent_id=self.draft.agent.agent_id)
        step = kwargs.get("step") or self.storage.current_step or steps.TEMPLATE
        if step not in steps.TITLES:
            return redirect(self.get_step_url(self.storage.current_step or steps.TEMPLATE))
        if kwargs.get("step") is None:
            return redirect(self.get_step_url(step))
        barrier = self._barrier(step)
        if barrier is not None:
            messages.warning(self.request, f"Finish “{steps.TITLES[barrier]}” first.")
            return redirect(f"{self.get_step_url(barrier)}?check=1")
        self.storage.current_step = step
        form = self.get_form(step, data=self.storage.get_step_data(step))
        if form.is_bound and "check" in self.request.GET:
            self._passes(step, form)
        elif form.is_bound:
            form.forgive()
        return self._shown(form)

    def _shown(self, form: StepForm, **context: Any) -> HttpResponse:
        response: HttpResponse = self.render(form, **context)
        return response

    def _passes(self, step: str, form: StepForm) -> bool:
        """Return whether nothing of the step keeps one there; what does stands beside its field."""
        if step not in (steps.BASICS, steps.CAPABILITIES, steps.RESOURCES):
            return form.is_valid()
        return check_step(form, self.compose(), caller=self.caller)

    def _barrier(self, step: str) -> str | None:
        """Return the first step before ``step`` that is not complete, if there is one."""
        version = self.draft.template_version
        names = list(steps.TITLES)
        if step == steps.TEMPLATE:
            return None
        if version is None or version.status != VersionStatus.PUBLISHED:
            if version is not None:
                messages.error(
                    self.request,
                    f"{version.template} {version.version} was withdrawn. Choose a template again; "
                    "the basics that you filled in are kept.",
                )
            return steps.TEMPLATE
        for name in names[1 : names.index(step)]:
            if name == steps.TEST:
                continue
            if not self.kept_form(name).is_valid():
                return name
        return None

    def get_template_names(self) -> list[str]:
        """Return the step's own template; the search as one types asks for the cards alone."""
        if self.request.headers.get("HX-Target") == "template-cards":
            return ["factory/parts/template_cards.html"]
        return [f"factory/wizard/{self.storage.current_step}.html"]

    def get_context_data(self, form: StepForm, **kwargs: Any) -> dict[str, Any]:
        """Add the progress indicator and what the step shows."""
        current = self.storage.current_step or steps.TEMPLATE
        context: dict[str, Any] = super().get_context_data(form=form, **kwargs)
        context.update(
            form=form,
            draft=self.draft,
            current=current,
            definition=self.step_context().definition,
            progress=pages.progress(current, draft=self.draft),
            step_url=self.get_step_url(current),
            opened=self.request.GET.get("open", "")[:80],
        )
        if current == steps.TEMPLATE:
            context.update(pages.template_page(self.request, self.caller), choosing=True)
        elif current == steps.BASICS:
            context.update(pages.basics_page(self.caller, form))
        elif current == steps.CAPABILITIES:
            context.update(
                pages.capabilities_page(self.step_context(), form, self.storage.extra_data)
            )
        elif current == steps.RESOURCES:
            context.update(pages.resources_page(self.caller, self.compose(), form))
        elif current == steps.TEST:
            context.update(
                testing.test_page(self.caller, self.compose(), form, self.step_context()),
                spec_errors=pages.specification_errors(self.caller, self.compose(), self.draft),
            )
        elif current == steps.REVIEW:
            composition = self.compose()
            names = self._scenario_names(composition)
            context.update(pages.review_page(self.caller, composition, self.draft, names))
        return context

    # --- Buttons ------------------------------------------------------------------------------

    def post(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Keep what was typed, then do what the button says."""
        step = kwargs.get("step", "")
        if step not in steps.TITLES:
            raise NotFound("step_not_found", "The wizard has no such step.")
        if self.draft.agent is not None:
            return redirect("agent", agent_id=self.draft.agent.agent_id)
        self.storage.current_step = step
        verb, _, argument = self.request.POST.get("do", "next")[:200].partition(":")
        data = self._kept(self.request.POST, step)
        self.storage.set_step_data(step, data)
        response = self._press(step, verb, argument, data)
        if step != steps.REVIEW:
            drafts.keep_draft(caller=self.caller, draft=self.draft, state=self.storage.data)
        return response

    def _press(
        self, step: str, verb: str, argument: str, data: MultiValueDict[str, str]
    ) -> HttpResponse:
        if verb == "autosave":
            return HttpResponse(status=204)
        if verb == "save":
            messages.success(self.request, "Draft saved. Come back to it from the agents page.")
            return redirect(self.get_step_url(step))
        if verb == "cancel":
            messages.info(self.request, "Your draft is kept. Discard it here if it is not needed.")
            return redirect("home")
        if verb == "goto" and argument in steps.TITLES:
            return redirect(self.get_step_url(argument))
        return self._press_inside(step, verb, argument, data) or self._advance(step, data)

    def _press_inside(
        self, step: str, verb: str, argument: str, data: MultiValueDict[str, str]
    ) -> HttpResponse | None:
        try:
            target = self._press_row(step, verb, argument, data)
        except DomainError as error:
            self.say(error)
            return redirect(self.get_step_url(step))
        if target is None:
            return None
        self.storage.set_step_data(step, data)
        return redirect(f"{self.get_step_url(step)}{target}")

    def _press_row(
        self, step: str, verb: str, argument: str, data: MultiValueDict[str, str]
    ) -> str | None:
        """Do what a button inside a step says; ``None`` if it is none of those."""
        if step == steps.CAPABILITIES:
            return row_buttons.press(
                verb, argument, data, context=self.step_context(), post=self.request.POST
            ) or tool_buttons.press(
                verb, argument, self.request, self.storage, context=self.step_context()
            )
        if step == steps.TEST:
            return row_buttons.press_scenarios(
                verb,
                argument,
                data,
                new_row=lambda: testing.new_scenario(argument, self.compose(), data),
            ) or testing.press(
                verb,
                argument,
                self.request,
                composition=self.compose(),
                form=self.get_form(step, data=data),
                context=self.step_context(),
            )
        return None

    def _advance(self, step: str, data: MultiValueDict[str, str]) -> HttpResponse:
        form = self.get_form(step, data=data)
        if not self._passes(step, form):
            return self._shown(form)
        if step == steps.TEMPLATE:
            _, version = template_for(form.cleaned_data["template"])
            drafts.choose_template(self.draft, self.storage.data, version)
        if step == steps.REVIEW:
            return self._deploy(form)
        names = list(steps.TITLES)
        following = names[names.index(step) + 1]
        self.storage.current_step = following
        return redirect(self.get_step_url(following))

    def _deploy(self, form: StepForm) -> HttpResponse:
        """Take down what is to be deployed, as the draft is now."""
        barrier = self._barrier(steps.REVIEW)
        if barrier is not None:
            return redirect(f"{self.get_step_url(barrier)}?check=1")
        composition = self.compose()
        self._to_deploy = (form, composition, self._scenario_names(composition))
        return redirect(self.get_step_url(steps.REVIEW))

    def after_commit(self, response: HttpResponseBase) -> HttpResponseBase:
        """Test the tool or deploy the draft, if that button was pressed."""
        tool_buttons.test_asked_for(self.request)
        if self._to_deploy is None:
            return response
        form, composition, scenarios = self._to_deploy
        try:
            deployment = deploy_draft(
                caller=self.caller, draft=self.draft, composition=composition, scenarios=scenarios
            )
        except DomainError as error:
            form.add_error(None, error.message)
            return self._shown(form, problems=pages.located(error, self.draft))
        return redirect("deployment", deployment_id=deployment.id)

    def _scenario_names(self, composition: Composition) -> tuple[str, ...]:
        form = self.kept_form(steps.TEST)
        return testing.scenario_names(composition, form, self.step_context())

    # --- The draft ----------------------------------------------------------------------------

    def _kept(self, posted: QueryDict, step: str) -> MultiValueDict[str, str]:
        """Return the step's own fields; nothing else, and no secret's value, enters the draft."""
        return MultiValueDict(
            {
                key: [value.replace("\x00", "") for value in values]
                for key, values in posted.lists()
                if key.startswith(f"{step}-")
            }
        )
