"""Deployments: the list, and one of them live."""

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.generic import TemplateView

from accounts.portal import PortalMixin
from accounts.roles import Action
from factory.deployment_page import deployment_context, draft_of, taken_back
from factory.forms import DeploymentFilterForm
from factory.services.blueprints import reopen_draft
from factory.wizard import steps
from factory.wizard.deploying import ATTEMPT
from ledger.errors import DomainError, InvalidInput
from provisioning.models import Deployment
from provisioning.services import (
    cancel_deployment,
    deployment_for,
    discard_agent,
    retry_deployment,
)

PAGE_SIZE: Final = 30


class DeploymentListView(PortalMixin, TemplateView):
    """The organisation's deployments, newest first."""

    template_name = "factory/deployments.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the page of deployments that the filter leaves."""
        form = DeploymentFilterForm(self.request.GET or None)
        rows = (
            Deployment.objects.of(self.caller.organization)
            .select_related("agent", "release", "requested_by")
            .defer("release__files", "release__spec")
        )
        page = Paginator(form.narrow(rows), PAGE_SIZE).get_page(self.request.GET.get("page"))
        return super().get_context_data(**kwargs, filter_form=form, page=page)


class DeploymentView(PortalMixin, TemplateView):
    """One deployment, followed live; its steps alone for whoever asks for these."""

    template_name = "factory/deployment.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the deployment."""
        deployment = deployment_for(self.caller, kwargs["deployment_id"])
        may_deploy = self.caller.may(Action.DEPLOY_AGENTS)
        is_taken_back, draft = taken_back(deployment, self.caller.user)
        return super().get_context_data(
            **kwargs,
            **deployment_context(deployment, may_deploy=may_deploy),
            may_edit=draft_of(deployment, self.caller.user) is not None,
            is_taken_back=is_taken_back,
            draft=draft,
        )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page, or the part that changes."""
        if request.headers.get("HX-Target") == "deployment-live":
            context = self.get_context_data(**kwargs)
            return render(request, "factory/parts/deployment_live.html", context)
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, deployment_id: UUID) -> HttpResponse:
        """Retry, cancel, edit or discard, as the button says."""
        deployment = deployment_for(self.caller, deployment_id)
        verb = request.POST.get("do", "")
        try:
            if verb == "retry":
                again = retry_deployment(caller=self.caller, deployment=deployment)
                return redirect("deployment", deployment_id=again.id)
            if verb == "cancel":
                cancel_deployment(caller=self.caller, deployment=deployment)
                messages.info(request, "Cancelling: what was made so far is undone.")
            elif verb == "edit":
                return self._edit(deployment)
            elif verb == "discard":
                discard_agent(caller=self.caller, agent=deployment.agent)
                name = deployment.agent.agent_id
                messages.success(request, f"{name} is discarded. Its name is free again.")
                return redirect("home")
            else:
                raise InvalidInput("unknown_action", "There is no such button. Reload the page.")
        except DomainError as error:
            self.say(error)
        return redirect("deployment", deployment_id=deployment.id)

    def _edit(self, deployment: Deployment) -> HttpResponse:
        """Open the wizard on what the agent was made from; the failed agent gives its name back."""
        draft = draft_of(deployment, self.caller.user)
        if draft is None:
            raise InvalidInput(
                "no_draft",
                "This agent was not made in the wizard by you, so there is no draft to edit. "
                "Discard it and start a new one.",
            )
        extra = draft.wizard_state.get("extra_data", {})
        # What is deployed from here on is another attempt, though it may ask for the same.
        extra = {**extra, ATTEMPT: int(extra.get(ATTEMPT, 0)) + 1}
        reopen_draft(
            caller=self.caller,
            blueprint=draft,
            wizard_state={**draft.wizard_state, "step": steps.REVIEW, "extra_data": extra},
        )
        return redirect("wizard", draft_id=draft.pk)
