"""Refresh tokens whose text is nowhere but with the program that signed in."""

from typing import Any

from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.utils import datetime_from_epoch


class RefreshToken(tokens.RefreshToken):
    """A refresh token as the package makes it, but for its text, which the database never holds.

    The package would keep it beside the id, for whoever reads the table or its admin page to sign
    in with. To revoke it, the id is enough.
    """

    @classmethod
    def for_user(cls, user: Any) -> "RefreshToken":
        """Make a token for the person and note its id."""
        token: RefreshToken = super(tokens.BlacklistMixin, cls).for_user(user)
        OutstandingToken.objects.create(
            user=user,
            jti=token["jti"],
            token="",
            created_at=token.current_time,
            expires_at=datetime_from_epoch(token["exp"]),
        )
        return token
