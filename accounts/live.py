"""Who is on the other end of a WebSocket, and what they may look at.

People come with their session, from our own pages only. Programs come with the same
``Authorization`` header as for the API; it is not sent by browsers by themselves, so it needs no
check of the page that it came from.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.auth.models import AnonymousUser
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.exceptions import TokenError

from accounts.api.authentication import AccessTokenAuthentication, ApiTokenAuthentication
from accounts.models import ApiToken, Membership
from accounts.roles import Action, may

_MAX_HEADER = 4096

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class SignedIn:
    """Puts ``user`` (and ``auth``, for programs) into the scope of each connection."""

    def __init__(self, application: Application) -> None:
        self._programs = application
        self._people = AllowedHostsOriginValidator(AuthMiddlewareStack(application))

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one connection."""
        header = dict(scope["headers"]).get(b"authorization")
        if header is None:
            await self._people(scope, receive, send)
            return
        user, auth = await database_sync_to_async(_signed_in)(header)
        await self._programs({**scope, "user": user, "auth": auth}, receive, send)


def _signed_in(header: bytes) -> tuple[Any, Any]:
    kind, _, token = header[:_MAX_HEADER].partition(b" ")
    try:
        if kind.lower() == b"bearer":
            authentication = AccessTokenAuthentication()
            validated = authentication.get_validated_token(token)
            return authentication.get_user(validated), validated
        if kind.lower() == b"token":
            user, auth = ApiTokenAuthentication().authenticate_credentials(token)
            return user, auth
    except (AuthenticationFailed, TokenError):
        pass
    return AnonymousUser(), None


def may_view(scope: Mapping[str, Any], **organization: Any) -> bool:
    """Whether the one in ``scope`` may look at things of the organisation that matches.

    ``organization`` are lookups on it, as in ``deployments=deployment_id``. An API token opens its
    own organisation only.
    """
    memberships = Membership.objects.filter(
        user=scope["user"],
        organization__is_active=True,
        **{f"organization__{name}": value for name, value in organization.items()},
    )
    token = scope.get("auth")
    if isinstance(token, ApiToken):
        memberships = memberships.filter(organization_id=token.organization_id)
    return any(may(role, Action.VIEW) for role in memberships.values_list("role", flat=True))
