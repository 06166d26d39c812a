"""Validate, price, test and create agents."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from accounts.api.documentation import answers
from accounts.api.views import CallerMixin
from accounts.callers import Caller
from accounts.roles import Action
from factory import cost
from factory.api.bodies import (
    CostRequest,
    DeployRequest,
    ScenarioRequest,
    TestRequest,
    json_object,
    parse,
    under,
)
from factory.api.documentation import (
    AGENT_EXAMPLE,
    COST_EXAMPLES,
    IDEMPOTENCY_KEY,
    TEST_EXAMPLE,
    VALIDATION_EXAMPLE,
)
from factory.api.serializers import (
    AgentRequestSerializer,
    CostSerializer,
    CreateAgentRequestSerializer,
    ReportSerializer,
    StartedTestSerializer,
)
from factory.compilation import compile_request
from factory.services.creation import create_agent
from factory.validation import validate
from factory.validation.validator import requested_template
from ledger.errors import InvalidInput, NotFound
from provisioning.api.serializers import AcceptedDeploymentSerializer
from provisioning.services import describe_accepted
from sandbox.scenarios import scenarios_for
from sandbox.services import ScenarioInput, SetupCall, describe_test, start_test
from templates_lib.services import definition_of


class ValidateView(CallerMixin, APIView):
    """Judges a configuration."""

    required_actions: ClassVar[dict[str, Action]] = {"POST": Action.CREATE_AGENTS}

    @extend_schema(
        operation_id="agent_validate",
        request=AgentRequestSerializer,
        responses=answers(200, ReportSerializer, 503),
        examples=[AGENT_EXAMPLE, VALIDATION_EXAMPLE],
        tags=["factory"],
    )
    def post(self, request: Request) -> Response:
        """Return what speaks for or against creating this agent; nothing is kept."""
        report = validate(caller=self.caller, request=json_object(request.data))
        return Response(report.to_json_dict())


class EstimateCostView(CallerMixin, APIView):
    """Prices a configuration."""

    required_actions: ClassVar[dict[str, Action]] = {"POST": Action.VIEW}

    @extend_schema(
        request=CostRequest,
        responses=answers(200, CostSerializer, 503),
        examples=COST_EXAMPLES,
        tags=["factory"],
    )
    def post(self, request: Request) -> Response:
        """Return what an agent costs a month, here and at the neighbouring tiers."""
        body = parse(CostRequest, request.data)
        usage = cost.Usage(
            requests_per_month=body.usage_estimates.requests_per_month,
            avg_duration_seconds=Decimal(str(body.usage_estimates.avg_duration_seconds)),
        )
        estimate = cost.estimate(tier=body.tier, resources=body.resources, usage=usage)
        return Response(estimate.to_json_dict())


@extend_schema_view(post=extend_schema(operation_id="agent_cost_estimate"))
class CostEstimateView(EstimateCostView):
    """The same under its other name."""


class StartTestView(CallerMixin, APIView):
    """Tests a configuration in the sandbox."""

    required_actions: ClassVar[dict[str, Action]] = {"POST": Action.CREATE_AGENTS}

    @extend_schema(
        operation_id="sandbox_test_start",
        request=TestRequest,
        responses=answers(202, StartedTestSerializer, 409, 429, 503),
        examples=[TEST_EXAMPLE],
        tags=["sandbox"],
    )
    def post(self, request: Request) -> Response:
        """Start a throw-away copy of the agent and run the scenarios against it."""
        body = parse(TestRequest, request.data)
        try:
            version = requested_template(body.agent_config)
            spec = compile_request(body.agent_config, template_version=version)
        except InvalidInput as error:
            raise under("agent_config", error) from None
        except NotFound as error:
            raise InvalidInput.of_field(
                "agent_config.template_id", error.code, error.message
            ) from None
        scenarios = (
            scenarios_for(spec, definition_of(version))
            if body.test_scenarios is None
            else [_scenario(item) for item in body.test_scenarios]
        )
        test = describe_test(start_test(caller=self.caller, spec=spec, scenarios=scenarios))
        answer = {name: test[name] for name in ("test_id", "status", "container_id")}
        results = reverse("sandbox-test-results", args=[test["test_id"]])
        return Response(answer, status=status.HTTP_202_ACCEPTED, headers={"Location": results})


def _scenario(sent: ScenarioRequest) -> ScenarioInput:
    made = ScenarioInput(
        name=sent.name,
        capability=sent.capability,
        input=sent.input,
        expected_output=sent.expected_output,
    )
    calls = [SetupCall(capability=call.capability, input=call.input) for call in sent.setup]
    return replace(made, setup=tuple(calls))


class CreateAgentView(CallerMixin, APIView):
    """Creates an agent and begins to deploy it."""

    required_actions: ClassVar[dict[str, Action]] = {"POST": Action.DEPLOY_AGENTS}

    @extend_schema(
        operation_id="agent_create",
        request=CreateAgentRequestSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses=answers(202, AcceptedDeploymentSerializer, 409, 429, 503),
        examples=[AGENT_EXAMPLE],
        tags=["factory"],
    )
    def post(self, request: Request) -> Response:
        """Create an agent whose configuration passed its sandbox test, and begin to deploy it."""
        return accept_agent(self.caller, request)


def accept_agent(caller: Caller, request: Request) -> Response:
    """Create the agent that the request describes; answer where its deployment can be watched."""
    body: dict[str, Any] = json_object(request.data)
    skip = {key: body.pop(key) for key in ("skip_test_reason",) if key in body}
    reason = parse(DeployRequest, skip).skip_test_reason
    headers: Mapping[str, str] = request.headers
    agent, deployment = create_agent(
        caller=caller,
        request=body,
        idempotency_key=headers.get("Idempotency-Key"),
        skip_test_reason=reason,
    )
    return Response(
        describe_accepted(deployment),
        status=status.HTTP_202_ACCEPTED,
        headers={"Location": reverse("api-agent-provisioning", args=[agent.agent_id])},
    )
