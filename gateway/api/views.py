"""Invoke an agent."""

from typing import ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.documentation import answers
from accounts.api.views import CallerMixin
from accounts.roles import Action
from gateway.api.serializers import InvokeResultSerializer
from gateway.services import invoke_agent
from registry.services.agents import agent_for

REQUEST_ID_HEADER = "X-Request-ID"


class InvokeView(CallerMixin, APIView):
    """One call of one capability."""

    required_actions: ClassVar[dict[str, Action]] = {"POST": Action.INVOKE_AGENTS}

    @extend_schema(
        operation_id="agent_invoke",
        request=OpenApiTypes.OBJECT,
        responses=answers(200, InvokeResultSerializer, 409, 424, 429, 502, 503, 504),
        parameters=[
            OpenApiParameter(
                REQUEST_ID_HEADER,
                location=OpenApiParameter.HEADER,
                description="Follows the call through the logs; made up when missing.",
            )
        ],
        tags=["gateway"],
    )
    def post(self, request: Request, agent_id: str, capability: str) -> Response:
        """Call a capability; the body is its input, the answer holds its output."""
        result = invoke_agent(
            caller=self.caller,
            agent=agent_for(self.caller, agent_id),
            capability=capability,
            payload=request.data,
            request_id=request.headers.get(REQUEST_ID_HEADER),
        )
        return Response(
            {
                "output": result.output,
                "request_id": result.request_id,
                "duration_ms": result.duration_ms,
            },
            headers={REQUEST_ID_HEADER: result.request_id},
        )
