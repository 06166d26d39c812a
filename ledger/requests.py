"""Where a request comes from, as far as that can be believed.

A client can write anything into ``X-Forwarded-For``. Only the last ``TRUSTED_PROXIES`` entries were
written by proxies of ours; with 0 the header says nothing.
"""

import re
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Final

from auditlog.middleware import AuditlogMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

CORRELATION_HEADER: Final = "X-Correlation-ID"
_CORRELATION_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MAX_PORT: Final = 65_535
_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)


def client_address(request: HttpRequest) -> str | None:
    """Return the IP address that the request came from, ``None`` if there is none to be known."""
    proxies: int = settings.TRUSTED_PROXIES
    forwarded = request.headers.get("X-Forwarded-For", "")
    if proxies and forwarded:
        entries = forwarded.split(",")
        found = _address(entries[-min(proxies, len(entries))])
        if found is not None:
            return found
    return _address(str(request.META.get("REMOTE_ADDR") or ""))


def client_port(request: HttpRequest) -> int | None:
    """Return the port that a trusted proxy names, else ``None``."""
    text = request.headers.get("X-Forwarded-Port", "") if settings.TRUSTED_PROXIES else ""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PORT))):
        return None
    return int(text) if 0 < int(text) <= _MAX_PORT else None


def correlation_id() -> str | None:
    """Return what the caller named its request, if that was a short plain word."""
    return _correlation_id.get()


class AuditMiddleware(AuditlogMiddleware):  # type: ignore[misc]  # auditlog ships no types
    """Gives audit entries the person and the address of the request, believing no client."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        named = request.headers.get(CORRELATION_HEADER, "")
        token = _correlation_id.set(named if _CORRELATION_ID.fullmatch(named) else None)
        try:
            response: HttpResponseBase = super().__call__(request)
        finally:
            _correlation_id.reset(token)
        return response

    @staticmethod
    def _get_remote_addr(request: HttpRequest) -> str | None:
        return client_address(request)

    @staticmethod
    def _get_remote_port(request: HttpRequest) -> int | None:
        return client_port(request)


def _address(text: str) -> str | None:
    text = text.strip()
    if text.startswith("["):  # [IPv6]:port
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # IPv4:port
        text = text.partition(":")[0]
    try:
        # A zone (fe80::1%eth0) is of no use elsewhere, and the database's type has no room for it.
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None
