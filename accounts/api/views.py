"""Sign-in for programs, and what other rooms' views are made of."""

from typing import ClassVar

from django.contrib.auth import authenticate
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings

from accounts.api.authentication import AccessTokenAuthentication
from accounts.api.documentation import answers
from accounts.api.serializers import RefreshSerializer, SignInSerializer, TokensSerializer
from accounts.callers import Caller
from accounts.models import User
from accounts.roles import Action
from accounts.throttles import AddressThrottle, SignInThrottle
from accounts.tokens import RefreshToken
from ledger.errors import DomainError


class CallerMixin:
    """A view whose permission check left the caller on it."""

    caller: Caller
    required_actions: ClassVar[dict[str, Action]] = {}


class NotSignedIn(DomainError):
    """User name, password or token are not (or no longer) good."""

    status = 401


class _SignInView(APIView):
    permission_classes = (AllowAny,)
    authentication_classes = ()
    throttle_classes = (AddressThrottle, SignInThrottle)


class TokenView(_SignInView):
    """Signs a person in."""

    @extend_schema(
        request=SignInSerializer,
        responses=answers(200, TokensSerializer, 401, 429, public=True),
        tags=["auth"],
    )
    def post(self, request: Request) -> Response:
        """Exchange a user name and password for an access and a refresh token."""
        serializer = SignInSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        user = authenticate(request._request, **serializer.validated_data)  # noqa: SLF001 - DRF's way to Django's request
        if not isinstance(user, User):
            raise NotSignedIn("wrong_credentials", "The user name or the password is wrong.")
        _refuse_first_password(user)
        return Response(_tokens(RefreshToken.for_user(user)))


class TokenRefreshView(_SignInView):
    """Gives the next access token."""

    @extend_schema(
        request=RefreshSerializer,
        responses=answers(200, TokensSerializer, 401, 429, public=True),
        tags=["auth"],
    )
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for a new access token."""
        token, user = _refresh_token(request)
        _refuse_first_password(user)
        return Response(_tokens(token))


class TokenRevokeView(_SignInView):
    """Ends a sign-in."""

    @extend_schema(
        request=RefreshSerializer,
        responses=answers(204, None, 401, 429, public=True),
        tags=["auth"],
    )
    def post(self, request: Request) -> Response:
        """Make a refresh token useless from now on."""
        token, _ = _refresh_token(request)
        token.blacklist()
        return Response(status=status.HTTP_204_NO_CONTENT)


def _refuse_first_password(user: User) -> None:
    if user.must_change_password:
        raise NotSignedIn(
            "password_change_required",
            "Sign in on the web page once and choose a new password first.",
        )


def _refresh_token(request: Request) -> tuple[RefreshToken, User]:
    serializer = RefreshSerializer(data=request.data)
    serializer.is_valid(raise_exception=True)
    try:
        token = RefreshToken(serializer.validated_data["refresh"])
        # The same checks as for an access token: still active, the password still the same.
        user = AccessTokenAuthentication().get_user(token)
    except (TokenError, AuthenticationFailed, ValueError, RecursionError):
        user = None
    if not isinstance(user, User):
        raise NotSignedIn("token_not_valid", "This token is no longer good. Sign in again.")
    return token, user


def _tokens(refresh: RefreshToken) -> dict[str, object]:
    return {
        "access": str(refresh.access_token),
        "refresh": str(refresh),
        "expires_in": int(api_settings.ACCESS_TOKEN_LIFETIME.total_seconds()),
    }
