"""The agents of the caller's organisation, and what can be done with each."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.pagination import CreatedCursorPagination
from accounts.api.views import CallerMixin
from accounts.callers import Caller
from accounts.roles import Action
from factory.api.bodies import DeployRequest, EmptyRequest, json_object, parse
from factory.api.documentation import AGENT_EXAMPLE, IDEMPOTENCY_KEY, answers
from factory.api.serializers import (
    ORDERINGS,
    AgentDetailSerializer,
    AgentPageSerializer,
    AgentPatchSerializer,
    AgentQuerySerializer,
    AgentRequestSerializer,
    AgentSerializer,
    CreateAgentRequestSerializer,
)
from factory.api.views import accept_agent
from factory.services.revision import deploy_newest, edit_agent, revise_agent
from ledger.errors import NotFound
from provisioning.api.serializers import AcceptedDeploymentSerializer, ProvisioningSerializer
from provisioning.models import Deployment
from provisioning.services import (
    cancel_deployment,
    describe_accepted,
    describe_deployment,
    discard_agent,
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

_TAGS = ["agents"]


class AgentListView(CallerMixin, APIView):
    """The agents of the caller's organisation."""

    action_map: ClassVar[dict[str, Action]] = {"GET": Action.VIEW, "POST": Action.DEPLOY_AGENTS}

    @extend_schema(
        operation_id="agents_list",
        parameters=[AgentQuerySerializer],
        responses=answers(200, AgentPageSerializer, body=False),
        tags=_TAGS,
    )
    def get(self, request: Request) -> Response:
        """List agents, newest first unless ordered otherwise; follow next to the next page."""
        query = AgentQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted = query.validated_data
        paginator = CreatedCursorPagination()
        paginator.ordering = ORDERINGS[wanted["ordering"]]
        page = paginator.paginate_queryset(_matching(self.caller, wanted), request, view=self)
        return paginator.get_paginated_response(AgentSerializer(page, many=True).data)

    @extend_schema(
        operation_id="agents_create",
        request=CreateAgentRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses=answers(202, AcceptedDeploymentSerializer, 409, 429, 503),
        examples=[AGENT_EXAMPLE],
        tags=_TAGS,
    )
    def post(self, request: Request) -> Response:
        """Create an agent and begin to deploy it, as under agent-factory."""
        return accept_agent(self.caller, request)


def _matching(caller: Caller, wanted: dict[str, Any]) -> QuerySet[Agent]:
    agents = (
        Agent.objects.of(caller.organization)
        .select_related("owner", "current_release")
        .defer("current_release__spec", "current_release__files", "health_detail")
    )
    if "status" in wanted:
        agents = agents.filter(status=wanted["status"])
    if "tier" in wanted:
        agents = agents.filter(tier=wanted["tier"])
    if "template" in wanted:
        agents = agents.filter(template_slug=wanted["template"])
    if "tag" in wanted:
        agents = agents.filter(tags__contains=[wanted["tag"]])
    for word in wanted.get("q", "").split():
        agents = agents.filter(
            Q(agent_id__icontains=word)
            | Q(name__icontains=word)
            | Q(display_name__icontains=word)
            | Q(description__icontains=word)
        )
    return agents


class AgentDetailView(CallerMixin, APIView):
    """One agent."""

    action_map: ClassVar[dict[str, Action]] = {
        "GET": Action.VIEW,
        "PATCH": Action.CREATE_AGENTS,
        "PUT": Action.CREATE_AGENTS,
        "DELETE": Action.CREATE_AGENTS,
    }

    @extend_schema(
        operation_id="agents_retrieve",
        responses=answers(200, AgentDetailSerializer, body=False),
        tags=_TAGS,
    )
    def get(self, request: Request, agent_id: str) -> Response:
        """Return an agent with its newest specification and its releases."""
        return self._answer(agent_for(self.caller, agent_id))

    @extend_schema(
        operation_id="agents_edit",
        request=AgentPatchSerializer,
        responses=answers(200, AgentDetailSerializer),
        tags=_TAGS,
    )
    def patch(self, request: Request, agent_id: str) -> Response:
        """Change how the agent is shown."""
        agent = agent_for(self.caller, agent_id)
        changes = json_object(request.data)
        return self._answer(edit_agent(caller=self.caller, agent=agent, changes=changes))

    @extend_schema(
        operation_id="agents_revise",
        request=AgentRequestSerializer,
        responses=answers(200, AgentDetailSerializer, 409, 429, 503),
        examples=[AGENT_EXAMPLE],
        tags=_TAGS,
    )
    def put(self, request: Request, agent_id: str) -> Response:
        """Configure the agent anew, as its next release; what runs goes on with the old one.

        A running agent has to be undeployed before the new release can be deployed. Undeploying
        deletes its memory; fetch what is needed from it first.
        """
        agent = agent_for(self.caller, agent_id)
        revise_agent(caller=self.caller, agent=agent, request=json_object(request.data))
        return self._answer(agent_for(self.caller, agent_id))

    @extend_schema(
        operation_id="agents_delete",
        responses=answers(204, None, 409, body=False),
        tags=_TAGS,
    )
    def delete(self, request: Request, agent_id: str) -> Response:
        """Delete an agent that is not deployed; its name is free at once."""
        discard_agent(caller=self.caller, agent=agent_for(self.caller, agent_id))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _answer(self, agent: Agent) -> Response:
        return Response(AgentDetailSerializer(agent).data)


class _ActionView(CallerMixin, APIView):
    """Base of what is done to an agent by POST."""

    action_map: ClassVar[dict[str, Action]] = {"POST": Action.DEPLOY_AGENTS}

    def _agent(self, agent_id: str) -> Agent:
        return agent_for(self.caller, agent_id)

    def _newest_deployment(self, agent_id: str) -> Deployment:
        deployment = latest_deployment(self._agent(agent_id))
        if deployment is None:
            raise NotFound(
                "deployment_not_found", "This agent was never deployed. Deploy it first."
            )
        return deployment


class DeployView(_ActionView):
    """Deploys the newest release."""

    @extend_schema(
        operation_id="agents_deploy",
        request=DeployRequest,
        responses=answers(202, AcceptedDeploymentSerializer, 409, 503),
        tags=_TAGS,
    )
    def post(self, request: Request, agent_id: str) -> Response:
        """Deploy the agent's newest release."""
        reason = parse(DeployRequest, request.data).skip_test_reason
        deployment = deploy_newest(
            caller=self.caller, agent=self._agent(agent_id), skip_test_reason=reason
        )
        return Response(describe_accepted(deployment), status=status.HTTP_202_ACCEPTED)


class RetryView(_ActionView):
    """Deploys again what failed."""

    @extend_schema(
        operation_id="agents_retry",
        request=EmptyRequest,
        responses=answers(202, AcceptedDeploymentSerializer, 409, 503),
        tags=_TAGS,
    )
    def post(self, request: Request, agent_id: str) -> Response:
        """Deploy the release of the newest deployment once more."""
        parse(EmptyRequest, request.data)
        deployment = self._newest_deployment(agent_id)
        again = retry_deployment(caller=self.caller, deployment=deployment)
        return Response(describe_accepted(again), status=status.HTTP_202_ACCEPTED)


class CancelView(_ActionView):
    """Ends a deployment early."""

    @extend_schema(
        operation_id="agents_cancel",
        request=EmptyRequest,
        responses=answers(202, ProvisioningSerializer, 409, 503),
        tags=_TAGS,
    )
    def post(self, request: Request, agent_id: str) -> Response:
        """Stop deploying; what was made is undone."""
        parse(EmptyRequest, request.data)
        deployment = self._newest_deployment(agent_id)
        cancelled = cancel_deployment(caller=self.caller, deployment=deployment)
        return Response(describe_deployment(cancelled), status=status.HTTP_202_ACCEPTED)


class UndeployView(_ActionView):
    """Stops an agent."""

    @extend_schema(
        operation_id="agents_undeploy",
        request=EmptyRequest,
        responses=answers(202, ProvisioningSerializer, 409, 503),
        tags=_TAGS,
    )
    def post(self, request: Request, agent_id: str) -> Response:
        """Stop the agent and take away what its deployment made, its memory included."""
        parse(EmptyRequest, request.data)
        deployment = undeploy_agent(caller=self.caller, agent=self._agent(agent_id))
        return Response(describe_deployment(deployment), status=status.HTTP_202_ACCEPTED)


class _LifecycleView(_ActionView):
    """Base of what changes only the agent's status."""

    service: ClassVar[Callable[..., Agent]]

    def _change(self, request: Request, agent_id: str) -> Response:
        parse(EmptyRequest, request.data)
        agent = type(self).service(caller=self.caller, agent=self._agent(agent_id))
        return Response(AgentDetailSerializer(agent).data)


def _lifecycle_schema(name: str) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    return extend_schema(
        operation_id=f"agents_{name}",
        request=EmptyRequest,
        responses=answers(200, AgentDetailSerializer, 409),
        tags=_TAGS,
    )


class ActivateView(_LifecycleView):
    """Lets an agent be called."""

    service = staticmethod(activate_agent)

    @_lifecycle_schema("activate")
    def post(self, request: Request, agent_id: str) -> Response:
        """Let a deployed agent be called."""
        return self._change(request, agent_id)


class PauseView(_LifecycleView):
    """Keeps an agent from being called."""

    service = staticmethod(pause_agent)

    @_lifecycle_schema("pause")
    def post(self, request: Request, agent_id: str) -> Response:
        """Keep the agent from being called; it goes on running."""
        return self._change(request, agent_id)


class ResumeView(_LifecycleView):
    """Lets a paused agent be called again."""

    service = staticmethod(resume_agent)

    @_lifecycle_schema("resume")
    def post(self, request: Request, agent_id: str) -> Response:
        """Let a paused agent be called again."""
        return self._change(request, agent_id)


class DeprecateView(_LifecycleView):
    """Retires an agent."""

    service = staticmethod(deprecate_agent)

    @_lifecycle_schema("deprecate")
    def post(self, request: Request, agent_id: str) -> Response:
        """Retire the agent for good; it counts in its tier's quota until it is undeployed."""
        return self._change(request, agent_id)
