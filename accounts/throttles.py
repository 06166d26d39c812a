"""Slowing down who guesses passwords, the same for the API, the portal and the admin."""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from ledger.requests import client_address


class AddressThrottle(SimpleRateThrottle):
    """Counts what comes from one address, whoever it names."""

    rate = "120/min"
    scope = "sign-in-address"

    def get_cache_key(self, request: Any, view: Any) -> str | None:
        """Return the name of the counter."""
        del view
        return f"throttle:{self.scope}:{client_address(_plain(request))}"


class SignInThrottle(AddressThrottle):
    """Counts the attempts from one address to sign in as one person."""

    rate = "30/min"
    scope = "sign-in"

    def get_cache_key(self, request: Any, view: Any) -> str | None:
        """Return the name of the counter; without a user name there is nothing to guess."""
        username = _username(request)
        if username is None:
            return None
        # Hashed: cache keys must be short and plain, user names need not be.
        name = hashlib.sha256(username[:150].casefold().encode(errors="replace")).hexdigest()
        return f"{super().get_cache_key(request, view)}:{name}"


def seconds_to_wait(request: HttpRequest) -> int:
    """Count one attempt to sign in; return after how many seconds it is allowed, 0 for now."""
    for throttle in (AddressThrottle(), SignInThrottle()):
        # Neither looks at the view.
        if not throttle.allow_request(request, None):  # type: ignore[arg-type]  # the throttle looks at no view
            return max(1, round(throttle.wait() or 60))
    return 0


def _plain(request: Any) -> HttpRequest:
    return request._request if isinstance(request, Request) else request  # noqa: SLF001 - DRF's way to Django's request


def _username(request: Any) -> str | None:
    data = request.data if isinstance(request, Request) else request.POST
    value = data.get("username") if isinstance(data, Mapping) else None
    return value.strip() if isinstance(value, str) and value.strip() else None
