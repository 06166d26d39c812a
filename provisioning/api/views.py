"""Views about an agent's deployments."""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.documentation import answers
from accounts.api.views import CallerMixin
from accounts.roles import Action
from ledger.errors import NotFound
from provisioning.api.serializers import AgentDeploymentStatusSerializer, ProvisioningSerializer
from provisioning.services import describe_deployment, latest_deployment
from registry.services.agents import agent_for


class ProvisioningView(CallerMixin, APIView):
    """The newest deployment of an agent."""

    required_actions: ClassVar[dict[str, Action]] = {"GET": Action.VIEW}

    @extend_schema(
        responses=answers(200, ProvisioningSerializer, body=False), tags=["provisioning"]
    )
    def get(self, request: Request, agent_id: str) -> Response:
        """Return the steps with state, seconds and details, and what to do next."""
        deployment = latest_deployment(agent_for(self.caller, agent_id))
        if deployment is None:
            raise NotFound(
                "deployment_not_found", "This agent was never deployed. Deploy it first."
            )
        return Response(describe_deployment(deployment))


class AgentDeploymentStatusView(CallerMixin, APIView):
    """An agent's state in one look."""

    required_actions: ClassVar[dict[str, Action]] = {"GET": Action.VIEW}

    @extend_schema(
        responses=answers(200, AgentDeploymentStatusSerializer, body=False),
        tags=["provisioning"],
    )
    def get(self, request: Request, agent_id: str) -> Response:
        """Return where the agent is in its life, its health, and how its deployment stands."""
        agent = agent_for(self.caller, agent_id)
        deployment = latest_deployment(agent)
        described = describe_deployment(deployment) if deployment else None
        answer = {
            "agent_id": agent.agent_id,
            "status": agent.status,
            "health": agent.health,
            "health_checked_at": agent.health_checked_at,
            "release": agent.current_release.number if agent.current_release else None,
            "registered_at": agent.registered_at,
            "deployment_id": described["deployment_id"] if described else None,
            "deployment_status": described["status"] if described else None,
            "progress_percent": described["progress_percent"] if described else None,
        }
        return Response(AgentDeploymentStatusSerializer(answer).data)
