"""What happens between signing in and every page."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse


class PasswordChangeMiddleware:
    """Leads a person who must choose a new password to the page for it, whatever they asked for.

    Programs do not come here with a session, and signing in by API says the same in words.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request or lead to the password page."""
        if getattr(request.user, "must_change_password", False):
            allowed = {reverse("password-change"), reverse("sign-out")}
            if request.path not in allowed and not request.path.startswith("/static/"):
                return redirect("password-change")
        return self.get_response(request)
