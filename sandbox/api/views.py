"""A test's results, and cancelling it. Starting one needs a blueprint and lives in the factory."""

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.documentation import answers
from accounts.api.views import CallerMixin
from accounts.roles import Action
from sandbox.api.serializers import NoBodySerializer, TestSerializer
from sandbox.services import cancel_test, describe_test, test_for


class TestResultsView(CallerMixin, APIView):
    """A test and its results so far."""

    required_actions: ClassVar[dict[str, Action]] = {"GET": Action.VIEW}

    @extend_schema(
        operation_id="sandbox_test_results",
        responses=answers(200, TestSerializer, body=False),
        tags=["sandbox"],
    )
    def get(self, request: Request, test_id: UUID) -> Response:
        """Return the test's status and each scenario's result."""
        return Response(describe_test(test_for(self.caller, test_id)))


class TestCancelView(CallerMixin, APIView):
    """Ends a test early."""

    required_actions: ClassVar[dict[str, Action]] = {"POST": Action.CREATE_AGENTS}

    @extend_schema(
        operation_id="sandbox_test_cancel",
        request=NoBodySerializer,
        responses=answers(202, TestSerializer, 409, 503),
        tags=["sandbox"],
    )
    def post(self, request: Request, test_id: UUID) -> Response:
        """Ask for the test to end; a running one ends after its present scenario."""
        NoBodySerializer(data=request.data).is_valid(raise_exception=True)
        test = cancel_test(caller=self.caller, test=test_for(self.caller, test_id))
        return Response(describe_test(test), status=status.HTTP_202_ACCEPTED)
