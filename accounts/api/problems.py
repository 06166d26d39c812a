"""Every error of the API as ``application/problem+json`` (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import structlog
from django.db import DataError
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import exception_handler as standard_handler
from drf_standardized_errors.types import ErrorResponse, ExceptionHandlerContext
from rest_framework.response import Response

from accounts.outages import OUTAGES, outage_error
from ledger.errors import DomainError, FieldProblem
from ledger.problems import PROBLEM_TYPE, problem, problem_of

log = structlog.get_logger(__name__)


class ProblemFormatter(ExceptionFormatter):
    """Gives DRF's own errors the shape of a problem."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        """Return the body of the answer."""
        first = error_response.errors[0]
        fields = [
            FieldProblem(error.attr, str(error.code), str(error.detail))
            for error in error_response.errors
            if error.attr
        ]
        code = "invalid_input" if fields else first.code
        detail = (
            "Some fields need attention. Each one says what to do."
            if len(fields) > 1
            else first.detail
        )
        return problem(self._status(), str(code), str(detail), fields)

    def _status(self) -> int:
        return int(getattr(self.exc, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR))


def exception_handler(exc: Exception, context: ExceptionHandlerContext) -> Response | None:
    """Return the answer for ``exc``, or ``None`` for what is a bug and must be seen as one."""
    if isinstance(exc, DomainError):
        response = _domain_response(exc)
    elif isinstance(exc, OUTAGES):
        log.error("a backing service does not answer", error=str(exc))
        response = _domain_response(outage_error())
    elif isinstance(exc, DataError):
        # What PostgreSQL can't hold, such as a null character in a text.
        response = _domain_response(
            DomainError(
                "invalid_input", "A value has characters that can't be stored. Remove them."
            )
        )
    else:
        found: Response | None = standard_handler(exc, context)
        if found is None:
            return None
        response = found
    response.content_type = PROBLEM_TYPE
    return response


def _domain_response(error: DomainError) -> Response:
    response = Response(problem_of(error), status=error.status)
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    return response
