"""What answers where no view could: no such path, middleware that found a server away, and bugs.

Django turns an exception of a middleware into this answer before an outer middleware could see it,
so this is the one place for both.
"""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views import defaults

from accounts.outages import OUTAGES, is_for_programs, outage_response
from ledger.problems import PROBLEM_TYPE, problem


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 when PostgreSQL or Redis is away, else 500; Django has logged the cause."""
    if isinstance(sys.exception(), OUTAGES):
        return outage_response(request)
    if is_for_programs(request):
        detail = "Something went wrong on our side. Try again, and tell an admin if it stays so."
        return _problem(500, "internal_error", detail)
    return HttpResponse(render_to_string("500.html"), status=500)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404 for a path that nobody serves."""
    if is_for_programs(request):
        return _problem(404, "not_found", "Nothing is served here. Look at /api/docs for what is.")
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 for a request that Django itself refuses, such as one for another host."""
    if is_for_programs(request):
        return _problem(400, "bad_request", "This request can't be read. Check its headers.")
    return defaults.bad_request(request, exception)


def _problem(status: int, code: str, detail: str) -> HttpResponse:
    body = problem(status, code, detail)
    return JsonResponse(body, status=status, content_type=PROBLEM_TYPE)
