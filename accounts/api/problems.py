"""Every error of the API as ``application/problem+json`` (RFC 9457)."""

import http
from typing import Any, Final

import structlog
from django.db import DataError, InterfaceError, OperationalError
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import exception_handler as standard_handler
from drf_standardized_errors.types import ErrorResponse, ExceptionHandlerContext
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rest_framework.response import Response

from ledger.errors import DomainError, Unavailable

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"
OUTAGES: Final = (OperationalError, InterfaceError, RedisConnectionError, RedisTimeoutError)
"""What is raised when PostgreSQL or Redis does not answer, or broke off while it did."""


class ProblemFormatter(ExceptionFormatter):
    """Gives DRF's own errors the shape of a problem."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        """Return the body of the answer."""
        errors = [
            {"attr": error.attr, "code": error.code, "detail": error.detail}
            for error in error_response.errors
        ]
        first = errors[0]
        fields = [error for error in errors if error["attr"]]
        code = "invalid_input" if fields else first["code"]
        detail = (
            "Some fields need attention. Each one says what to do."
            if len(fields) > 1
            else first["detail"]
        )
        return problem(self._status(), str(code), str(detail), fields)

    def _status(self) -> int:
        return int(getattr(self.exc, "status_code", http.HTTPStatus.INTERNAL_SERVER_ERROR))


def problem(
    status: int, code: str, detail: str, errors: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the body of a problem answer."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    return body


def exception_handler(exc: Exception, context: ExceptionHandlerContext) -> Response | None:
    """Return the answer for ``exc``, or ``None`` for what is a bug and must be seen as one."""
    if isinstance(exc, DomainError):
        response = _domain_response(exc)
    elif isinstance(exc, OUTAGES):
        log.error("a backing service does not answer", error=str(exc))
        response = _domain_response(
            Unavailable("unavailable", "The database or queue does not answer. Try again soon.")
        )
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
    errors = [
        {"attr": item.attr, "code": item.code, "detail": item.detail} for item in error.problems
    ]
    response = Response(
        problem(error.status, error.code, error.message, errors), status=error.status
    )
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    return response
