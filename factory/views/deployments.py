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
from factory.forms import DeploymentFilterForm
from factory.models import Blueprint
from factory.services.blueprints import save_draft
from factory.wizard import steps
from factory.wizard.deploying import ATTEMPT
from ledger import events
from ledger.errors import DomainError, InvalidInput
from provisioning.enums import ACTIVE, TERMINAL, DeploymentStatus
from provisioning.models import Deployment
from provisioning.services import (
    cancel_deployment,
    deployment_for,
    describe_deployment,
    discard_agent,
    retry_deployment,
)

PAGE_SIZE: Final = 30
STEP_TITLES: Final = {
    "build_image": "Building the release image",
    "create_container": "Creating Docker container",
    "provision_queues": "Provisioning message queues",
    "setup_memory_store": "Setting up memory store",
    "register_agent": "Registering agent",
    "health_check": "Running health check",
}


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


def deployment_context(deployment: Deployment, caller_may: bool) -> dict[str, Any]:  # noqa: FBT001 - one fact of the page
    """Return what the page and its live part show."""
    told = describe_deployment(deployment)
    for step in told["steps"]:
        step["title"] = _title(step["step"], deployment.driver)
    failed = next((step for step in told["steps"] if step["status"] == "failed"), None)
    return {
        "deployment": deployment,
        "agent": deployment.agent,
        "told": told,
        "failed_step": failed or _undone_because_of(deployment, told),
        "is_active": deployment.status in ACTIVE,
        "is_created": deployment.status == DeploymentStatus.RUNNING,
        "is_over": deployment.status in TERMINAL,
        "is_stuck": deployment.status == DeploymentStatus.ROLLBACK_FAILED,
        "may_deploy": caller_may,
        "last_seq": events.last_seq("deployment", deployment.pk),
    }


def _title(name: str, driver: str) -> str:
    if name == "create_container" and driver == "process":
        return "Starting the local process"
    return STEP_TITLES.get(name, name.replace("_", " ").capitalize())


def _undone_because_of(deployment: Deployment, told: dict[str, Any]) -> dict[str, Any] | None:
    """Return the step that failed, after it was undone: the one that kept its error."""
    if deployment.status in (DeploymentStatus.RUNNING, *ACTIVE - {DeploymentStatus.ROLLING_BACK}):
        return None
    wrong = deployment.steps.exclude(error="").order_by("position").values_list("name", flat=True)
    names = set(wrong)
    return next((step for step in told["steps"] if step["step"] in names), None)


class DeploymentView(PortalMixin, TemplateView):
    """One deployment, followed live; its steps alone for whoever asks for these."""

    template_name = "factory/deployment.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the deployment."""
        deployment = deployment_for(self.caller, kwargs["deployment_id"])
        may_deploy = self.caller.may(Action.DEPLOY_AGENTS)
        return super().get_context_data(**kwargs, **deployment_context(deployment, may_deploy))

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
        draft = (
            Blueprint.objects.of(self.caller.organization)
            .filter(agent=deployment.agent, created_by=self.caller.user)
            .exclude(wizard_state={})
            .first()
        )
        if draft is None:
            raise InvalidInput(
                "no_draft",
                "This agent was not made in the wizard by you, so there is no draft to edit. "
                "Discard it and start a new one.",
            )
        discard_agent(caller=self.caller, agent=deployment.agent)
        Blueprint.objects.filter(pk=draft.pk).update(agent=None)
        draft.agent = None
        extra = draft.wizard_state.get("extra_data", {})
        # What is deployed from here on is another attempt, though it may ask for the same.
        extra = {**extra, ATTEMPT: int(extra.get(ATTEMPT, 0)) + 1}
        save_draft(
            caller=self.caller,
            request=draft.request,
            wizard_state={**draft.wizard_state, "step": steps.REVIEW, "extra_data": extra},
            blueprint=draft,
        )
        return redirect("wizard", draft_id=draft.pk)
