"""Who can't follow a deployment live: each bad sign-in is refused by its close code."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.tokens import AccessToken
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from accounts.callers import Caller
from accounts.models import ApiToken, Membership
from accounts.roles import Role
from accounts.services import create_api_token, revoke_api_token
from accounts.tokens import RefreshToken
from ledger.consumers import CLOSE_NOT_FOUND, CLOSE_UNAUTHENTICATED
from provisioning.models import Deployment
from registry.services.agents import create_release, reserve_agent
from tests.builders import make_caller, make_spec

if TYPE_CHECKING:
    from accounts.models import User
    from tests.running import RunningPlatform

pytestmark = pytest.mark.worker


@pytest.fixture
def caller(platform: RunningPlatform) -> Caller:
    return make_caller(Role.VIEWER)


@pytest.fixture
def url(platform: RunningPlatform, caller: Caller) -> str:
    """Return where a deployment of the caller's organisation is followed."""
    admin = make_caller(Role.ADMIN, caller.organization)
    spec = make_spec()
    agent = reserve_agent(caller=admin, spec=spec)
    release = create_release(caller=admin, agent=agent, spec=spec, files={"main.py": ""})
    # A row alone: no worker carries it out.
    deployment = Deployment.objects.create(
        organization=caller.organization, agent=agent, release=release
    )
    return f"{platform.url.replace('http', 'ws', 1)}/ws/factory/deployment/{deployment.pk}"


def person(caller: Caller) -> User:
    assert caller.user is not None
    return caller.user


def bearer(token: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def page_of(url: str) -> str:
    return url.split("/ws/", maxsplit=1)[0].replace("ws", "http", 1)


def encoded(claims: dict[str, object], key: str) -> str:
    return str(TokenBackend("HS256", key).encode(claims))


def api_token(caller: Caller) -> dict[str, str]:
    return {"Authorization": f"Token {create_api_token(caller=caller, name='live')[1]}"}


def opens(url: str, headers: dict[str, str]) -> bool:
    with connect(url, additional_headers=headers) as socket:
        return '"type":"snapshot"' in str(socket.recv(timeout=30)).replace(" ", "")


def close_code(url: str, headers: dict[str, str]) -> int:
    with (
        connect(url, additional_headers=headers) as socket,
        pytest.raises(ConnectionClosedError) as closed,
    ):
        socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_good_tokens_open_it(url: str, caller: Caller) -> None:
    assert opens(url, api_token(caller))
    assert opens(url, bearer(AccessToken.for_user(person(caller))))


def test_a_missing_or_malformed_token(url: str, caller: Caller) -> None:
    good = str(AccessToken.for_user(person(caller)))
    head, body, _ = good.split(".")
    for header in (
        None, "", "Bearer", "Bearer ", "Token", "Token ", "Basic YTpi", good, "Bearer nonsense",
        "Token nonsense", f"Bearer {head}.{body}.", f"Bearer {good}x", f"Bearer {'a.' * 3000}a",
        f"Token {good}", f"Token {'f' * 64}", f"Bearer {good}, Bearer {good}",
    ):  # fmt: skip
        headers = {} if header is None else {"Authorization": header}
        if header is None:  # a page's own script sends where it comes from
            headers = {"Origin": page_of(url)}
        assert close_code(url, headers) == CLOSE_UNAUTHENTICATED, header


def test_a_token_of_the_wrong_kind_or_key(url: str, caller: Caller) -> None:
    claims = AccessToken.for_user(person(caller)).payload
    forged = encoded(claims, "another-key-that-is-long-enough-too")
    nothing = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    unsigned = f"{nothing}.{forged.split('.')[1]}."
    refresh = RefreshToken.for_user(person(caller))
    for token in (forged, unsigned, refresh):
        assert close_code(url, bearer(token)) == CLOSE_UNAUTHENTICATED
    # The claims are good: only the key was not.
    assert opens(url, bearer(encoded(claims, settings.SECRET_KEY)))


def test_an_expired_token(url: str, caller: Caller) -> None:
    token = AccessToken.for_user(person(caller))
    token.set_exp(lifetime=-timedelta(seconds=1))
    assert close_code(url, bearer(token)) == CLOSE_UNAUTHENTICATED

    headers = api_token(caller)
    ApiToken.objects.filter(user=caller.user).update(expiry=timezone.now())
    assert close_code(url, headers) == CLOSE_UNAUTHENTICATED


def test_a_revoked_token(url: str, caller: Caller) -> None:
    headers = api_token(caller)
    token = ApiToken.objects.get(user=caller.user)
    revoke_api_token(caller=caller, token_key=token.token_key)
    assert close_code(url, headers) == CLOSE_UNAUTHENTICATED

    access = bearer(AccessToken.for_user(person(caller)))
    person(caller).set_password("quite-another-passphrase")
    person(caller).save()
    assert close_code(url, access) == CLOSE_UNAUTHENTICATED


def test_a_deactivated_person(url: str, caller: Caller) -> None:
    headers = [api_token(caller), bearer(AccessToken.for_user(person(caller)))]
    person(caller).is_active = False
    person(caller).save()
    assert [close_code(url, one) for one in headers] == [CLOSE_UNAUTHENTICATED] * 2


def test_a_deleted_person(url: str, caller: Caller) -> None:
    headers = [api_token(caller), bearer(AccessToken.for_user(person(caller)))]
    person(caller).delete()
    assert [close_code(url, one) for one in headers] == [CLOSE_UNAUTHENTICATED] * 2


def test_a_token_of_another_organisation(url: str, caller: Caller) -> None:
    stranger = make_caller(Role.ADMIN)
    assert close_code(url, api_token(stranger)) == CLOSE_NOT_FOUND
    assert close_code(url, bearer(AccessToken.for_user(person(stranger)))) == CLOSE_NOT_FOUND
    # In both organisations, but with a token that is for the other one alone.
    Membership.objects.create(
        user=person(stranger), organization=caller.organization, role=Role.VIEWER
    )
    assert close_code(url, api_token(stranger)) == CLOSE_NOT_FOUND
    assert opens(url, bearer(AccessToken.for_user(person(stranger))))


def test_a_person_who_left_and_an_organisation_that_is_shut(url: str, caller: Caller) -> None:
    headers = [api_token(caller), bearer(AccessToken.for_user(person(caller)))]
    caller.organization.is_active = False
    caller.organization.save()
    shut = [close_code(url, one) for one in headers]
    caller.organization.is_active = True
    caller.organization.save()
    assert opens(url, headers[1])
    Membership.objects.filter(user=caller.user).delete()
    left = [close_code(url, one) for one in headers]
    assert shut == left == [CLOSE_NOT_FOUND] * 2


def test_a_session_serves_our_own_pages_until_it_ends(url: str, caller: Caller) -> None:
    client = Client()
    client.force_login(person(caller))
    cookie = {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}
    ours = {"Origin": page_of(url)}

    assert opens(url, {**cookie, **ours})
    for origin in ({"Origin": "https://evil.example"}, {}):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(url, additional_headers={**cookie, **origin}),
        ):
            pass
        assert refused.value.response.status_code == 403
    client.logout()
    assert close_code(url, {**cookie, **ours}) == CLOSE_UNAUTHENTICATED
