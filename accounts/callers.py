"""Who is asking, for which organisation, in which role.

A ``Caller`` is made once per request and handed to services, which ask it for permission and scope
their queries with its organisation.
"""

from dataclasses import dataclass
from typing import Self

from django.http import HttpRequest

from accounts.models import ApiToken, Membership, Organization, User
from accounts.roles import Action, may
from ledger.errors import NotAllowed, NotFound

ORGANIZATION_HEADER = "X-Organization"
ORGANIZATION_SESSION_KEY = "organization"


@dataclass(frozen=True)
class Caller:
    """A person acting in an organisation; ``user`` is ``None`` for the platform itself."""

    user: User | None
    organization: Organization
    role: str

    @classmethod
    def platform(cls, organization: Organization) -> Self:
        """Return the platform acting by itself, as the reconciler does."""
        return cls(user=None, organization=organization, role="admin")

    def may(self, action: Action) -> bool:
        """Whether the caller's role includes ``action``."""
        return may(self.role, action)

    def require(self, action: Action) -> None:
        """Do nothing if the caller may do ``action``.

        Raises:
            NotAllowed: the role does not include it.

        """
        if not self.may(action):
            raise NotAllowed(
                "not_allowed",
                f"Your role in {self.organization.name} ({self.role}) does not allow this. "
                "Ask an admin of the organisation for a role that does.",
            )


def caller_of(request: HttpRequest) -> Caller:
    """Return who is asking, for the organisation that the request names.

    An API token names it by itself; else the ``X-Organization`` header, the session, or the
    person's first organisation. The request must be authenticated.

    Raises:
        NotFound: the organisation does not exist or the person is not in it.
        NotAllowed: the person is in no organisation.

    """
    token = getattr(request, "auth", None)
    wanted = request.headers.get(ORGANIZATION_HEADER, "")
    memberships = (
        Membership.objects.filter(user=request.user, organization__is_active=True)  # type: ignore[misc]  # authenticated, so a User
        .select_related("organization", "user")
        .order_by("organization__name", "id")
    )
    if isinstance(token, ApiToken):
        memberships = memberships.filter(organization_id=token.organization_id)
    if wanted:
        membership = memberships.filter(organization__slug=wanted[:40]).first()
        if membership is None:
            raise NotFound("organization_not_found", "You are not in such an organisation.")
    else:
        session = getattr(request, "session", None)
        chosen = session.get(ORGANIZATION_SESSION_KEY) if session is not None else None
        membership = next(
            (m for m in memberships if chosen and m.organization.slug == chosen), None
        ) or (memberships.first())
    if membership is None:
        raise NotAllowed(
            "no_organization",
            "You are in no organisation yet. Ask an admin to add you to one.",
        )
    return Caller(user=membership.user, organization=membership.organization, role=membership.role)
