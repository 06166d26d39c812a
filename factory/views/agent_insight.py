"""What a running agent counts and writes, shown beside its page and on pages of their own."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView

from accounts.portal import PortalMixin
from accounts.roles import Action
from factory.agent_page import log_lines
from ledger.errors import Conflict, DomainError
from provisioning.observation import MAX_LOG_LINES, read_figures, read_logs
from provisioning.services import latest_deployment
from registry.models import Agent
from registry.services.agents import agent_for


class _InsightView(PortalMixin, TemplateView):
    """A page that scripts ask for a part of."""

    part: str

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page, or the part that changes."""
        if request.headers.get("HX-Request"):
            self.template_name = self.part
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the agent and what it says, or why it says nothing."""
        agent = agent_for(self.caller, kwargs["agent_id"])
        try:
            found = self.read(agent)
        except DomainError as error:
            found = {"problem": error.message}
        return super().get_context_data(**kwargs, agent=agent, **found)

    def read(self, agent: Agent) -> dict[str, Any]:
        """Return what is shown."""
        raise NotImplementedError


class AgentFiguresView(_InsightView):
    """Calls, errors, durations and memory, as the agent counts them."""

    template_name = "factory/agent_figures.html"
    part = "factory/parts/agent_figures.html"

    def read(self, agent: Agent) -> dict[str, Any]:
        """Ask the agent."""
        deployment = latest_deployment(agent)
        if deployment is None:
            raise Conflict("agent_not_running", "The agent was never deployed.")
        spec = deployment.release.agent_spec()
        return {"figures": read_figures(deployment), "limit_mb": spec.resources.memory_mb}


class AgentLogsView(_InsightView):
    """The last lines that the agent wrote."""

    template_name = "factory/agent_logs.html"
    part = "factory/parts/agent_logs.html"
    required_action = Action.DEPLOY_AGENTS

    def read(self, agent: Agent) -> dict[str, Any]:
        """Ask the runtime."""
        deployment = latest_deployment(agent)
        raw = read_logs(deployment) if deployment is not None else []
        return {"lines": log_lines(raw), "limit": MAX_LOG_LINES}
