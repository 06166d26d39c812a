"""The answer while PostgreSQL or Redis is away: one for people, one for programs.

Nothing here may ask the database or Redis: they are what does not answer.
"""

from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

from accounts.api.problems import OUTAGES, PROBLEM_TYPE, problem
from ledger.errors import Unavailable

__all__ = ["OUTAGES", "is_for_programs", "outage_error", "outage_response"]

_RETRY_SECONDS: Final = 10


def outage_error() -> Unavailable:
    """Return what is wrong as an error of the product."""
    return Unavailable("unavailable", "The database or queue does not answer. Try again soon.")


def is_for_programs(request: HttpRequest) -> bool:
    """Whether problem+json is expected rather than a page."""
    return request.path.startswith("/api/")


def outage_response(request: HttpRequest) -> HttpResponse:
    """Return the 503: problem+json below ``/api/``, else a page that looks nothing up."""
    error = outage_error()
    response: HttpResponse
    if is_for_programs(request):
        body = problem(error.status, error.code, error.message)
        response = JsonResponse(body, status=error.status, content_type=PROBLEM_TYPE)
    else:
        # Rendered without the request: who is signed in would have to be looked up.
        response = HttpResponse(render_to_string("503.html"), status=error.status)
    response["Retry-After"] = str(_RETRY_SECONDS)
    response["Cache-Control"] = "no-store"
    return response
