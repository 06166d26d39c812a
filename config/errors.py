"""What answers where no view could: middleware that found a server away, and bugs.

Django turns an exception of a middleware into this answer before an outer middleware could see it,
so this is the one place for both.
"""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

from accounts.api.problems import PROBLEM_TYPE, problem
from accounts.outages import OUTAGES, is_for_programs, outage_response


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 when PostgreSQL or Redis is away, else 500; Django has logged the cause."""
    if isinstance(sys.exception(), OUTAGES):
        return outage_response(request)
    if is_for_programs(request):
        detail = "Something went wrong on our side. Try again, and tell an admin if it stays so."
        body = problem(500, "internal_error", detail)
        return JsonResponse(body, status=500, content_type=PROBLEM_TYPE)
    return HttpResponse(render_to_string("500.html"), status=500)
