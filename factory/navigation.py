"""Where a person can go: the one list behind the portal's sidebar and the admin's."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property

from accounts.callers import Caller, caller_of
from accounts.models import Membership
from accounts.roles import Action
from ledger.errors import DomainError


@dataclass(frozen=True)
class NavigationItem:
    """One link of the sidebar."""

    title: str
    icon: str
    """Name of a Material Symbol."""
    url: str
    active: bool


_PAGES: Final = (
    ("Agents", "smart_toy", "home", ("home", "agent", "agent-")),
    ("Create agent", "add_circle", "wizard-start", ("wizard",)),
    ("Deployments", "rocket_launch", "deployments", ("deployment",)),
    ("Templates", "dashboard_customize", "templates", ("template",)),
    ("Account", "person", "account", ("account", "password-change")),
)


def _is_active(url_name: str, prefixes: Iterable[str]) -> bool:
    return any(
        url_name.startswith(prefix) if prefix not in ("home", "agent") else url_name == prefix
        for prefix in prefixes
    )


def portal_items(request: HttpRequest) -> list[NavigationItem]:
    """Return the portal's own links, the one that leads to this page marked."""
    match = request.resolver_match
    here = match.url_name or "" if match is not None and not match.namespaces else ""
    return [
        NavigationItem(title, icon, reverse(name), _is_active(here, prefixes))
        for title, icon, name, prefixes in _PAGES
    ]


class PortalNavigation:
    """The sidebar of one request: links, who is signed in, for which organisation."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def items(self) -> list[NavigationItem]:
        """Return the portal's links."""
        return portal_items(self._request)

    @cached_property
    def caller(self) -> Caller | None:
        """Return who is asking, or ``None`` if nobody signed in or they are in no organisation."""
        if not self._request.user.is_authenticated:
            return None
        try:
            return caller_of(self._request)
        except DomainError:
            return None

    @cached_property
    def memberships(self) -> list[Membership]:
        """Return the organisations that the person can switch to."""
        if self.caller is None:
            return []
        return list(
            Membership.objects.filter(
                user=self.caller.user, organization__is_active=True
            ).select_related("organization")
        )

    @property
    def may_create(self) -> bool:
        """Whether the person may make agents."""
        return self.caller is not None and self.caller.may(Action.CREATE_AGENTS)

    @property
    def may_administer(self) -> bool:
        """Whether the person gets the link to the admin."""
        return bool(getattr(self._request.user, "is_staff", False))
