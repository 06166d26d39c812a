"""Signing in by ``Authorization`` header, for headers that may hold anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication

MAX_TOKEN_BYTES: Final = 4096


class ApiTokenAuthentication(TokenAuthentication):  # type: ignore[misc]  # knox ships no types
    """An API token, as in ``Authorization: Token …``."""

    def authenticate_credentials(self, token: bytes) -> Any:
        """Return the person and the token.

        Raises:
            AuthenticationFailed: the token is unknown, or no text that could be a token.

        """
        with _only_refusals(token):
            return super().authenticate_credentials(token)


class AccessTokenAuthentication(JWTAuthentication):
    """An access token, as in ``Authorization: Bearer …``."""

    def get_validated_token(self, raw_token: bytes) -> Any:
        """Return the token that ``raw_token`` holds.

        Raises:
            AuthenticationFailed: it is no good token, or no text that could be one.

        """
        with _only_refusals(raw_token):
            return super().get_validated_token(raw_token)


@contextmanager
def _only_refusals(token: bytes) -> Iterator[None]:
    # Libraries decode before they check: bytes that are no text and JSON that nests without end
    # come out of them as errors of their own.
    refusal = AuthenticationFailed("This token is not good. Sign in or make a new one.")
    if len(token) > MAX_TOKEN_BYTES or b"\x00" in token:
        raise refusal
    try:
        yield
    except (ValueError, RecursionError):
        raise refusal from None


class ApiTokenScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]  # registers itself, untyped
    """Describes API tokens in the documentation."""

    target_class = "accounts.api.authentication.ApiTokenAuthentication"


class AccessTokenScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]  # registers itself, untyped
    """Describes access tokens in the documentation."""

    target_class = "accounts.api.authentication.AccessTokenAuthentication"
