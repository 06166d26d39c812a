"""An agent's page: how it is, what it can be asked, and what can be done with it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.generic import TemplateView

from accounts.callers import Caller
from accounts.portal import PortalMixin
from accounts.roles import Action
from factory.agent_page import (
    dependency_lines,
    deployment_note,
    invoke_addresses,
    queue_names,
    release_lines,
)
from factory.services.revision import deploy_newest
from factory.wizard.fields import JsonField, format_json
from factory.wizard.pages import cost_of
from gateway.services import invoke_agent
from ledger.errors import Conflict, DomainError, FieldProblem, InvalidInput, NotFound
from provisioning.enums import TERMINAL, DeploymentStatus
from provisioning.models import Deployment
from provisioning.services import (
    discard_agent,
    latest_deployment,
    undeploy_agent,
)
from registry.enums import AgentStatus
from registry.models import Agent, Release
from registry.services.agents import agent_for
from registry.services.lifecycle import (
    activate_agent,
    deprecate_agent,
    pause_agent,
    resume_agent,
)
from registry.spec import AgentSpec, Capability
from sandbox.synthesis import synthesise

_SHOWN_DEPLOYMENTS: Final = 5
_THE_VALUE: Final = "The value"
_REFUSED: Final = "The agent does not accept this input:"
_HOW_TO_TEST: Final = (
    "What was revised through the API is tested or skipped there too: see “A new release” in the "
    "API guide."
)


@dataclass(frozen=True)
class Trial:
    """A capability with what to send to it."""

    capability: Capability
    payload: str
    output: str = ""
    error: str = ""
    problems: tuple[str, ...] = ()
    request_id: str = ""
    duration_ms: float | None = None

    @property
    def is_answered(self) -> bool:
        """Whether it was tried just now."""
        return bool(self.output or self.error)


@dataclass(frozen=True)
class Button:
    """Something that can be done with an agent now."""

    verb: str
    label: str
    icon: str
    style: str = ""
    confirm: str = ""


def buttons(caller: Caller, agent: Agent, deployment: Deployment | None) -> list[Button]:
    """Return what the caller may do with the agent as it is now."""
    found: list[Button] = []
    running = deployment is not None and deployment.status == DeploymentStatus.RUNNING
    idle = deployment is None or deployment.status in TERMINAL
    if caller.may(Action.DEPLOY_AGENTS):
        if agent.status in (AgentStatus.DRAFT, AgentStatus.FAILED) and running:
            found.append(Button("activate", "Activate", "play_arrow", "btn-primary"))
        if agent.status == AgentStatus.ACTIVE:
            found.append(Button("pause", "Pause", "pause"))
        if agent.status == AgentStatus.PAUSED:
            found.append(Button("resume", "Resume", "play_arrow", "btn-primary"))
        if idle and agent.status != AgentStatus.DEPRECATED:
            found.append(Button("deploy", "Deploy", "rocket_launch", "btn-primary"))
        if agent.status in (AgentStatus.ACTIVE, AgentStatus.PAUSED):
            sentence = "Deprecate this agent? It can't be activated again."
            found.append(Button("deprecate", "Deprecate", "archive", "", sentence))
        if running:
            sentence = (
                "Undeploy this agent? It stops, and what it remembers is deleted, also when you "
                "deploy a newer release next."
            )
            if agent.status != AgentStatus.DEPRECATED:
                sentence += (
                    " It goes back to draft: nobody can call it until it is deployed and "
                    "activated again."
                )
            found.append(Button("undeploy", "Undeploy", "stop_circle", "btn-danger", sentence))
    if idle and caller.may(Action.CREATE_AGENTS):
        sentence = f"Delete {agent.agent_id}? Its name becomes free again."
        found.append(Button("discard", "Delete", "delete", "btn-danger", sentence))
    return found


class AgentPage(PortalMixin):
    """What the views of one agent share."""

    def page_context(
        self, agent: Agent, *, tried: Trial | None = None, status: str = ""
    ) -> dict[str, Any]:
        """Return everything that the page shows."""
        release = self._release(agent)
        spec = release.agent_spec() if release is not None else None
        deployment = latest_deployment(agent)
        return {
            "agent": agent,
            "release": release,
            "releases": release_lines(agent),
            "note": deployment_note(deployment),
            "dependencies": dependency_lines(agent),
            "queues": queue_names(agent),
            "addresses": invoke_addresses(agent, spec, settings.PUBLIC_URL) if spec else [],
            "may_see_logs": self.caller.may(Action.DEPLOY_AGENTS),
            "spec": spec,
            "deployment": deployment,
            "deployments": agent.deployments.select_related("release").defer(
                "release__files", "release__spec"
            )[:_SHOWN_DEPLOYMENTS],
            "is_running": deployment is not None and deployment.status == DeploymentStatus.RUNNING,
            "is_idle": deployment is None or deployment.status in TERMINAL,
            "buttons": buttons(self.caller, agent, deployment),
            "trials": _trials(spec, tried) if spec is not None else [],
            "may_try": self._may_try(agent),
            "readme": release.files.get("README.md", "") if release is not None else "",
            "cost": cost_of(spec) if spec is not None else None,
            "opened": status,
        }

    def _may_try(self, agent: Agent) -> bool:
        action = (
            Action.INVOKE_AGENTS if agent.status == AgentStatus.ACTIVE else Action.DEPLOY_AGENTS
        )
        return self.caller.may(action)

    def _release(self, agent: Agent) -> Release | None:
        return agent.current_release or agent.releases.order_by("-number").first()


class AgentView(AgentPage, TemplateView):
    """The page."""

    template_name = "factory/agent.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the agent."""
        agent = agent_for(self.caller, kwargs["agent_id"])
        return super().get_context_data(**kwargs, **self.page_context(agent))


class AgentTryView(AgentPage):
    """Asks the agent one of its capabilities."""

    required_action = Action.INVOKE_AGENTS
    http_method_names = ["post"]

    def post(self, request: HttpRequest, agent_id: str, capability: str) -> HttpResponse:
        """Call it and show what came."""
        agent = agent_for(self.caller, agent_id)
        release = self._release(agent)
        found = release.agent_spec().capability(capability) if release is not None else None
        if found is None:
            raise NotFound("capability_not_found", "The agent has no such capability.")
        trial = self._try(agent, found, request.POST.get("payload", ""))
        if request.headers.get("HX-Request"):
            return render(
                request, "factory/parts/trial.html", {"agent": agent, "trial": trial, "opened": 1}
            )
        return render(request, "factory/agent.html", self.page_context(agent, tried=trial))

    def _try(self, agent: Agent, capability: Capability, text: str) -> Trial:
        field = JsonField()
        try:
            payload = field.clean(text)
        except ValidationError as error:
            return Trial(capability, text, error=" ".join(error.messages))
        try:
            result = invoke_agent(
                caller=self.caller,
                agent=agent,
                capability=capability.name,
                payload=payload,
                trial=True,
            )
        except DomainError as error:
            problems = tuple(finding_line(item) for item in error.problems)
            message = _REFUSED if problems else error.message
            return Trial(capability, text, error=message, problems=problems)
        return Trial(
            capability,
            text,
            output=format_json(result.output),
            request_id=result.request_id,
            duration_ms=result.duration_ms,
        )


def finding_line(problem: FieldProblem) -> str:
    """Return a finding as a line; one on the input as a whole has no field's name before it."""
    if problem.attr:
        return f"{problem.attr}: {problem.detail}"
    if problem.detail.startswith(_THE_VALUE):
        return f"The input{problem.detail.removeprefix(_THE_VALUE)}"
    return f"The input: {problem.detail}"


def _trials(spec: AgentSpec, tried: Trial | None) -> list[Trial]:
    return [
        tried
        if tried is not None and tried.capability.name == capability.name
        else Trial(capability, _sample(capability))
        for capability in spec.capabilities
    ]


def _sample(capability: Capability) -> str:
    if capability.examples:
        return format_json(capability.examples[0].input)
    return json.dumps(synthesise(capability.input_schema) or {}, indent=2, ensure_ascii=False)


class AgentActionView(PortalMixin):
    """Does what a button of the page says."""

    required_action = Action.DEPLOY_AGENTS
    http_method_names = ["post"]

    def post(self, request: HttpRequest, agent_id: str) -> HttpResponse:
        """Do it, and say what became of it."""
        agent = agent_for(self.caller, agent_id)
        verb = request.POST.get("do", "")
        action = _ACTIONS.get(verb)
        if action is None:
            raise InvalidInput("unknown_action", "There is no such button. Reload the page.")
        try:
            return action(request, self.caller, agent)
        except DomainError as error:
            self.say(error)
            return redirect("agent", agent_id=agent.agent_id)


_Doing = Callable[[HttpRequest, Caller, Agent], HttpResponse]


def _lifecycle(service: Callable[..., object], sentence: str) -> _Doing:
    def do(request: HttpRequest, caller: Caller, agent: Agent) -> HttpResponse:
        service(caller=caller, agent=agent)
        messages.success(request, sentence.format(agent=agent.agent_id))
        return redirect("agent", agent_id=agent.agent_id)

    return do


def _deploy(request: HttpRequest, caller: Caller, agent: Agent) -> HttpResponse:
    try:
        deployment = deploy_newest(caller=caller, agent=agent)
    except Conflict as error:
        if error.code != "sandbox_test_required":
            raise
        # The wizard makes new agents only: it can't test what an agent was revised to.
        raise Conflict(error.code, f"{error.message} {_HOW_TO_TEST}") from None
    return redirect("deployment", deployment_id=deployment.id)


def _undeploy(request: HttpRequest, caller: Caller, agent: Agent) -> HttpResponse:
    deployment = undeploy_agent(caller=caller, agent=agent)
    return redirect("deployment", deployment_id=deployment.id)


def _discard(request: HttpRequest, caller: Caller, agent: Agent) -> HttpResponse:
    discard_agent(caller=caller, agent=agent)
    messages.success(request, f"{agent.agent_id} is deleted. Its name is free again.")
    return redirect("home")


_ACTIONS: Final[dict[str, _Doing]] = {
    "activate": _lifecycle(activate_agent, "{agent} is active. It can be called now."),
    "pause": _lifecycle(pause_agent, "{agent} is paused. It answers nobody until it is resumed."),
    "resume": _lifecycle(resume_agent, "{agent} is active again."),
    "deprecate": _lifecycle(deprecate_agent, "{agent} is deprecated."),
    "deploy": _deploy,
    "undeploy": _undeploy,
    "discard": _discard,
}
