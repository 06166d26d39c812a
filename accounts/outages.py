"""The answer while PostgreSQL or Redis is away: one for people, one for programs.

Nothing here may ask the database or Redis: they are what does not answer.
"""

from typing import Final

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ledger.errors import Unavailable
from ledger.problems import PROBLEM_TYPE, problem_of

OUTAGES: Final = (OperationalError, InterfaceError, RedisConnectionError, RedisTimeoutError)
"""What is raised when PostgreSQL or Redis does not answer, or broke off while it did."""


class _Outage(Unavailable):
    retry_after = 10


def outage_error() -> _Outage:
    """Return what is wrong as an error of the product."""
    return _Outage("unavailable", "The database or queue does not answer. Try again soon.")


def is_for_programs(request: HttpRequest) -> bool:
    """Whether problem+json is expected rather than a page."""
    return request.path.startswith("/api/")


def outage_response(request: HttpRequest) -> HttpResponse:
    """Return the 503: problem+json below ``/api/``, else a page that looks nothing up."""
    error = outage_error()
    response: HttpResponse
    if is_for_programs(request):
        response = JsonResponse(problem_of(error), status=error.status, content_type=PROBLEM_TYPE)
    else:
        # Rendered without the request: who is signed in would have to be looked up.
        response = HttpResponse(render_to_string("503.html"), status=error.status)
    response["Retry-After"] = str(error.retry_after)
    response["Cache-Control"] = "no-store"
    return response
