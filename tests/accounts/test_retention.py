"""Sign-ins that have run out are let go of, those in use are not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken

from accounts.models import ApiToken
from accounts.tasks import delete_old_rows
from tests.builders import make_organization, make_user

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django import Settings

    from accounts.models import Organization, User

pytestmark = pytest.mark.django_db


def api_token(user: User, organization: Organization, name: str, days: int | None) -> None:
    ApiToken.objects.create(user=user, organization=organization, name=name)
    expiry = None if days is None else timezone.now() + timedelta(days=days)
    ApiToken.objects.filter(name=name).update(expiry=expiry)


def test_refresh_tokens_go_when_they_have_run_out_blacklisted_or_not() -> None:
    user = make_user()
    tokens = [RefreshToken.for_user(user) for _ in range(4)]
    for token in tokens[::2]:
        token.blacklist()
    over = [token["jti"] for token in tokens[:2]]
    OutstandingToken.objects.filter(jti__in=over).update(
        expires_at=timezone.now() - timedelta(minutes=1)
    )

    delete_old_rows()

    left = set(OutstandingToken.objects.values_list("jti", flat=True))
    assert left == {token["jti"] for token in tokens[2:]}
    assert BlacklistedToken.objects.get().token.jti == tokens[2]["jti"]


def test_api_tokens_are_still_listed_for_a_while(settings: Settings) -> None:
    settings.KEEP_EXPIRED_TOKENS_DAYS = 30
    user, organization = make_user(), make_organization()
    for name, days in (("old", -31), ("expired", -29), ("good", 1), ("endless", None)):
        api_token(user, organization, name, days)

    delete_old_rows()

    assert set(ApiToken.objects.values_list("name", flat=True)) == {"expired", "good", "endless"}


def test_sessions_go_when_they_have_run_out(client: Client) -> None:
    client.force_login(make_user())
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    client.cookies.clear()
    client.force_login(make_user())
    assert Session.objects.count() == 2

    delete_old_rows()

    assert Session.objects.get().expire_date > timezone.now()
