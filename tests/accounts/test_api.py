"""Signing in by API, and the shape of every refusal."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache
from rest_framework_simplejwt.tokens import RefreshToken

from accounts.models import ApiToken
from accounts.services import create_api_token, revoke_api_token
from ledger.errors import NotFound
from tests.builders import PASSWORD, make_caller, make_user

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

AGENTS = "/api/agents"


@pytest.fixture(autouse=True)
def _no_earlier_guesses() -> None:
    """How often this address has tried to sign in is counted in Redis, across tests."""
    cache.clear()


def post(client: Client, path: str, body: Any, **extra: Any) -> Any:
    return client.post(path, body, content_type="application/json", **extra)


def sign_in(client: Client, username: str, password: str = PASSWORD) -> Any:
    return post(client, "/api/auth/token", {"username": username, "password": password})


def test_user_name_and_password_give_tokens_that_open_the_api(client: Client) -> None:
    caller = make_caller()
    assert caller.user is not None

    tokens = sign_in(client, caller.user.username).json()

    assert set(tokens) == {"access", "refresh", "expires_in"}
    assert tokens["expires_in"] == 900
    answer = client.get(AGENTS, headers={"Authorization": f"Bearer {tokens['access']}"})
    assert answer.status_code == 200


def test_a_wrong_password_and_an_unknown_person_look_the_same(client: Client) -> None:
    make_user("known")

    wrong = sign_in(client, "known", "not-this-one")
    unknown = sign_in(client, "unknown")

    assert wrong.status_code == unknown.status_code == 401
    assert wrong["Content-Type"] == "application/problem+json"
    assert wrong.json() == unknown.json()
    assert wrong.json()["code"] == "wrong_credentials"


def test_a_password_made_by_the_platform_has_to_be_replaced_first(client: Client) -> None:
    make_user("fresh", must_change_password=True)

    answer = sign_in(client, "fresh")

    assert (answer.status_code, answer.json()["code"]) == (401, "password_change_required")


def test_a_refresh_token_gives_the_next_access_token_until_it_is_revoked(client: Client) -> None:
    caller = make_caller()
    assert caller.user is not None
    tokens = sign_in(client, caller.user.username).json()
    refresh = {"refresh": tokens["refresh"]}

    renewed = post(client, "/api/auth/refresh", refresh)
    assert renewed.status_code == 200
    opened = client.get(AGENTS, headers={"Authorization": f"Bearer {renewed.json()['access']}"})
    assert opened.status_code == 200

    assert post(client, "/api/auth/revoke", refresh).status_code == 204
    again = post(client, "/api/auth/refresh", refresh)
    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")


def test_a_refresh_token_of_somebody_who_was_shut_out_is_no_longer_good(client: Client) -> None:
    caller = make_caller()
    user = caller.user
    assert user is not None
    refresh = str(RefreshToken.for_user(user))
    user.is_active = False
    user.save()

    assert post(client, "/api/auth/refresh", {"refresh": refresh}).status_code == 401


@pytest.mark.parametrize(
    ("body", "attr", "code"),
    [
        ({"username": "a"}, "password", "required"),
        ({"username": "a", "password": ""}, "password", "blank"),
        ({"username": "a" * 151, "password": "b"}, "username", "max_length"),
        ({"username": 1.5, "password": ["b"]}, "password", "invalid"),
        ({"username": "a", "password": "b", "otp": "1"}, "otp", "unknown_field"),
        ([], None, "invalid"),
        (b'"text"', None, "invalid"),
    ],
)
def test_a_bad_body_names_the_field(client: Client, body: Any, attr: str | None, code: str) -> None:
    answer = client.post("/api/auth/token", body, content_type="application/json")

    assert answer.status_code == 400
    problem = answer.json()
    if attr is None:
        assert problem["code"] in (code, "invalid_input")
    else:
        assert {"attr": attr, "code": code} in [
            {"attr": e["attr"], "code": e["code"]} for e in problem["errors"]
        ]


def test_too_large_too_deep_and_not_json_are_told_apart(client: Client) -> None:
    large = client.post(
        "/api/auth/token", b'"' + b"x" * 2_000_000 + b'"', content_type="application/json"
    )
    deep = client.post("/api/auth/token", b"[" * 5000, content_type="application/json")
    other = client.post("/api/auth/token", b"a=b", content_type="text/plain")

    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    assert (deep.status_code, deep.json()["code"]) == (400, "too_deep")
    assert other.status_code == 415


def test_without_signing_in_the_answer_is_401_with_a_way_to_sign_in(client: Client) -> None:
    answer = client.get(AGENTS)

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "not_authenticated"


def test_an_api_token_opens_the_api_until_it_is_revoked(client: Client) -> None:
    caller = make_caller()
    token, text = create_api_token(caller=caller, name="CI")
    headers = {"Authorization": f"Token {text}"}

    assert text not in str(ApiToken.objects.values())
    assert client.get(AGENTS, headers=headers).status_code == 200

    revoke_api_token(caller=caller, token_key=token.token_key)
    assert client.get(AGENTS, headers=headers).status_code == 401


def test_somebody_elses_token_cannot_be_revoked() -> None:
    token, _ = create_api_token(caller=make_caller(), name="CI")

    with pytest.raises(NotFound):
        revoke_api_token(caller=make_caller(), token_key=token.token_key)
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_guessing_passwords_is_slowed_down(client: Client) -> None:
    answers = [sign_in(client, "victim", f"guess-{number}") for number in range(40)]

    assert answers[-1].status_code == 429
    assert int(answers[-1]["Retry-After"]) > 0
    assert answers[-1].json()["code"] == "throttled"


@pytest.mark.parametrize("kind", ["Token", "Bearer"])
@pytest.mark.parametrize(
    "token",
    [
        "\xff",
        "\x00",
        "a" * 5000,
        # A header that nests without end: what reads it recurses.
        base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.AAAA",
    ],
)
def test_a_token_that_is_none_is_refused_in_words(client: Client, kind: str, token: str) -> None:
    answer = client.get(AGENTS, headers={"Authorization": f"{kind} {token}"})

    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("cursor", ["p=abc", "p=%00", "p=2026-13-45", "o=x", "r=" + "9" * 5000])
@pytest.mark.parametrize("ordering", ["-created_at", "name"])
def test_a_cursor_that_no_page_gave_out_is_refused(
    client: Client, cursor: str, ordering: str
) -> None:
    _, text = create_api_token(caller=make_caller(), name="CI")
    wanted = {"cursor": base64.b64encode(cursor.encode()).decode(), "ordering": ordering}

    answer = client.get(AGENTS, wanted, headers={"Authorization": f"Token {text}"})

    if ordering == "name" and cursor in ("p=abc", "p=2026-13-45"):
        assert answer.status_code == 200  # a name like any other
    else:
        assert (answer.status_code, answer.json()["code"]) in [
            (404, "not_found"),
            (400, "invalid_input"),
        ]


def test_refreshing_waits_for_the_new_password_too(client: Client) -> None:
    user = make_user("fresh-again")
    refresh = str(RefreshToken.for_user(user))
    user.must_change_password = True
    user.save()

    answer = post(client, "/api/auth/refresh", {"refresh": refresh})

    assert (answer.status_code, answer.json()["code"]) == (401, "password_change_required")


def test_a_new_password_ends_the_tokens_given_out_for_the_old_one(client: Client) -> None:
    caller = make_caller()
    assert caller.user is not None
    tokens = sign_in(client, caller.user.username).json()
    caller.user.set_password("quite-another-passphrase")
    caller.user.save()

    opened = client.get(AGENTS, headers={"Authorization": f"Bearer {tokens['access']}"})
    renewed = post(client, "/api/auth/refresh", {"refresh": tokens["refresh"]})

    assert opened.status_code == 401
    assert (renewed.status_code, renewed.json()["code"]) == (401, "token_not_valid")


def test_another_forwarded_address_each_time_does_not_help_guessing(client: Client) -> None:
    answers = [
        post(
            client,
            "/api/auth/token",
            {"username": "victim", "password": "guess"},
            headers={"X-Forwarded-For": f"203.0.113.{number}"},
        )
        for number in range(31)
    ]

    assert answers[-1].status_code == 429


def test_another_user_name_each_time_does_not_help_guessing(client: Client) -> None:
    answers = [sign_in(client, f"victim-{number}", "guess") for number in range(121)]

    assert answers[-1].status_code == 429


@pytest.mark.parametrize("path", ["/sign-in", "/admin/login/"])
def test_pages_and_api_count_guesses_together(client: Client, path: str) -> None:
    user = make_user("Victim", is_staff=True)
    for number in range(30):
        sign_in(client, "victim", f"guess-{number}")

    answer = client.post(path, {"username": user.username, "password": PASSWORD})

    assert answer.status_code == 200
    assert "Too many attempts to sign in. Try again in " in answer.content.decode()
    other = client.post(path, {"username": "somebody-else", "password": PASSWORD})
    assert "Too many attempts" not in other.content.decode()


@pytest.mark.parametrize("path", ["/sign-in", "/admin/login/"])
def test_who_does_not_guess_signs_in(client: Client, path: str) -> None:
    user = make_user("staff", is_staff=True)

    answer = client.post(path, {"username": user.username, "password": PASSWORD})

    assert answer.status_code == 302


def test_nobody_signs_in_while_guesses_cannot_be_counted(
    client: Client, settings: Settings
) -> None:
    user = make_user("patient")
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }

    answer = client.post("/sign-in", {"username": user.username, "password": PASSWORD})

    assert answer.status_code == 200
    assert "Signing in is not possible right now." in answer.content.decode()
