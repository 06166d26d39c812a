"""What happens between signing in and every page."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from accounts.outages import is_for_programs

_TIME_ZONE_COOKIE: Final = "timezone"
_LONGEST_ZONE: Final = 64


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


class TimeZoneMiddleware:
    """Writes and reads times where the person is, as their browser says; UTC where it does not."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request in that zone; programs get UTC."""
        if is_for_programs(request):
            return self.get_response(request)
        zone = _zone(request.COOKIES.get(_TIME_ZONE_COOKIE, "")[: 2 * _LONGEST_ZONE])
        with timezone.override(zone):
            return self.get_response(request)


@lru_cache(maxsize=600)
def _zone(named: str) -> ZoneInfo | None:
    """Return the zone of this name, or nothing for what is none."""
    name = unquote(named)
    if not name or len(name) > _LONGEST_ZONE:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, or no name of a zone at all
        return None
