"""The agents of the caller's organisation, and what can be done with each."""

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.documentation import answers
from accounts.api.pagination import CreatedCursorPagination
from accounts.api.views import CallerMixin
from accounts.callers import Caller
from accounts.roles import Action
from factory.api.bodies import json_object
from factory.api.documentation import AGENT_EXAMPLE, IDEMPOTENCY_KEY
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
from factory.services.revision import edit_agent, revise_agent
from provisioning.api.serializers import AcceptedDeploymentSerializer
from provisioning.services import (
    discard_agent,
)
from registry.models import Agent
from registry.services.agents import (
    agent_for,
)

_TAGS = ["agents"]


class AgentListView(CallerMixin, APIView):
    """The agents of the caller's organisation."""

    required_actions: ClassVar[dict[str, Action]] = {
        "GET": Action.VIEW,
        "POST": Action.DEPLOY_AGENTS,
    }

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

    required_actions: ClassVar[dict[str, Action]] = {
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
