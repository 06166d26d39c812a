"""What is done to one agent by POST: its deployment and its lifecycle."""

from collections.abc import Callable
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.api.documentation import answers
from accounts.api.views import CallerMixin
from accounts.roles import Action
from factory.api.bodies import DeployRequest, EmptyRequest, parse
from factory.api.serializers import AgentDetailSerializer
from factory.services.revision import deploy_newest
from ledger.errors import NotFound
from provisioning.api.serializers import AcceptedDeploymentSerializer, ProvisioningSerializer
from provisioning.models import Deployment
from provisioning.services import (
    cancel_deployment,
    describe_accepted,
    describe_deployment,
    latest_deployment,
    retry_deployment,
    undeploy_agent,
)
from registry.models import Agent
from registry.services.agents import (
    activate_agent,
    agent_for,
    deprecate_agent,
    pause_agent,
    resume_agent,
)

_Method = Callable[..., Response]


def _documented(
    name: str, code: int, serializer: Any, *errors: int, request: Any = EmptyRequest
) -> Callable[[_Method], _Method]:
    return extend_schema(
        operation_id=f"agents_{name}",
        request=request,
        responses=answers(code, serializer, *errors),
        tags=["agents"],
    )


class AgentActions(CallerMixin, ViewSet):
    """One method for each ``POST /api/agents/{agent_id}/…``."""

    required_actions: ClassVar[dict[str, Action]] = {"POST": Action.DEPLOY_AGENTS}

    # --- Its deployment -----------------------------------------------------------------------

    @_documented("deploy", 202, AcceptedDeploymentSerializer, 409, 503, request=DeployRequest)
    def deploy(self, request: Request, agent_id: str) -> Response:
        """Deploy the agent's newest release."""
        reason = parse(DeployRequest, request.data).skip_test_reason
        agent = agent_for(self.caller, agent_id)
        deployment = deploy_newest(caller=self.caller, agent=agent, skip_test_reason=reason)
        return Response(describe_accepted(deployment), status=status.HTTP_202_ACCEPTED)

    @_documented("retry", 202, AcceptedDeploymentSerializer, 409, 503)
    def retry(self, request: Request, agent_id: str) -> Response:
        """Deploy the release of the newest deployment once more."""
        parse(EmptyRequest, request.data)
        deployment = self._newest_deployment(agent_id)
        again = retry_deployment(caller=self.caller, deployment=deployment)
        return Response(describe_accepted(again), status=status.HTTP_202_ACCEPTED)

    @_documented("cancel", 202, ProvisioningSerializer, 409, 503)
    def cancel(self, request: Request, agent_id: str) -> Response:
        """Stop deploying; what was made is undone."""
        parse(EmptyRequest, request.data)
        deployment = self._newest_deployment(agent_id)
        cancelled = cancel_deployment(caller=self.caller, deployment=deployment)
        return Response(describe_deployment(cancelled), status=status.HTTP_202_ACCEPTED)

    @_documented("undeploy", 202, ProvisioningSerializer, 409, 503)
    def undeploy(self, request: Request, agent_id: str) -> Response:
        """Stop the agent and take away what its deployment made, its memory included."""
        parse(EmptyRequest, request.data)
        agent = agent_for(self.caller, agent_id)
        deployment = undeploy_agent(caller=self.caller, agent=agent)
        return Response(describe_deployment(deployment), status=status.HTTP_202_ACCEPTED)

    # --- Its status ---------------------------------------------------------------------------

    @_documented("activate", 200, AgentDetailSerializer, 409)
    def activate(self, request: Request, agent_id: str) -> Response:
        """Let a deployed agent be called."""
        return self._change(request, agent_id, activate_agent)

    @_documented("pause", 200, AgentDetailSerializer, 409)
    def pause(self, request: Request, agent_id: str) -> Response:
        """Keep the agent from being called; it goes on running."""
        return self._change(request, agent_id, pause_agent)

    @_documented("resume", 200, AgentDetailSerializer, 409)
    def resume(self, request: Request, agent_id: str) -> Response:
        """Let a paused agent be called again."""
        return self._change(request, agent_id, resume_agent)

    @_documented("deprecate", 200, AgentDetailSerializer, 409)
    def deprecate(self, request: Request, agent_id: str) -> Response:
        """Retire the agent for good; it counts in its tier's quota until it is undeployed."""
        return self._change(request, agent_id, deprecate_agent)

    # --- Parts --------------------------------------------------------------------------------

    def _change(self, request: Request, agent_id: str, service: Callable[..., Agent]) -> Response:
        parse(EmptyRequest, request.data)
        agent = service(caller=self.caller, agent=agent_for(self.caller, agent_id))
        return Response(AgentDetailSerializer(agent).data)

    def _newest_deployment(self, agent_id: str) -> Deployment:
        deployment = latest_deployment(agent_for(self.caller, agent_id))
        if deployment is None:
            raise NotFound(
                "deployment_not_found", "This agent was never deployed. Deploy it first."
            )
        return deployment
