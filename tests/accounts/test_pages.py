"""Signing in on the page, one's password, one's tokens, one's organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts.models import ApiToken, Membership, Organization, User
from accounts.portal import PortalMixin
from accounts.roles import Role
from accounts.services import create_api_token
from tests.builders import PASSWORD, make_caller, make_organization, make_user

if TYPE_CHECKING:
    from django.test import Client, RequestFactory

    from accounts.callers import Caller

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "quite-another-passphrase"


@pytest.fixture
def caller(client: Client) -> Caller:
    caller = make_caller()
    assert caller.user is not None
    client.force_login(caller.user)
    return caller


def test_a_page_asks_to_sign_in_and_leads_back(client: Client) -> None:
    caller = make_caller()
    assert caller.user is not None

    answer = client.get("/account")
    assert (answer.status_code, answer["Location"]) == (302, "/sign-in?next=/account")

    answer = client.post(
        "/sign-in?next=/account", {"username": caller.user.username, "password": PASSWORD}
    )
    assert (answer.status_code, answer["Location"]) == (302, "/account")


def test_a_wrong_password_is_answered_beside_the_form(client: Client) -> None:
    make_user("known")

    answer = client.post("/sign-in", {"username": "known", "password": "wrong"})

    assert answer.status_code == 200
    assert "Please enter a correct username and password" in answer.content.decode()


def test_the_way_back_never_leads_to_another_site(client: Client) -> None:
    caller = make_caller()
    assert caller.user is not None

    answer = client.post(
        "/sign-in?next=https://evil.example/",
        {"username": caller.user.username, "password": PASSWORD},
    )

    assert answer["Location"] == "/"


def test_signing_out_ends_the_session(client: Client, caller: Caller) -> None:
    assert client.get("/account").status_code == 200
    client.post("/sign-out")
    assert client.get("/account").status_code == 302


def test_a_password_made_by_the_platform_leads_everywhere_to_the_page_for_a_new_one(
    client: Client,
) -> None:
    caller = make_caller()
    user = caller.user
    assert user is not None
    user.must_change_password = True
    user.save()
    client.force_login(user)

    for path in ("/", "/account", "/admin/"):
        assert client.get(path)["Location"] == "/account/password"

    fields = {
        "old_password": PASSWORD,
        "new_password1": NEW_PASSWORD,
        "new_password2": NEW_PASSWORD,
    }
    assert client.post("/account/password", fields)["Location"] == "/"
    user.refresh_from_db()
    assert user.check_password(NEW_PASSWORD)
    assert not user.must_change_password
    assert client.get("/account").status_code == 200


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"old_password": "wrong"}, "This is not your current password."),
        ({"new_password2": "different-from-it"}, "The two password fields didn"),
        ({"new_password1": "12345678", "new_password2": "12345678"}, "This password is too common"),
        (
            {"new_password1": PASSWORD, "new_password2": PASSWORD},
            "Choose a password that differs from the current one.",
        ),
    ],
)
def test_a_bad_new_password_is_explained(
    client: Client, caller: Caller, change: dict[str, str], sentence: str
) -> None:
    fields = {
        "old_password": PASSWORD,
        "new_password1": NEW_PASSWORD,
        "new_password2": NEW_PASSWORD,
    }

    answer = client.post("/account/password", fields | change)

    assert answer.status_code == 200
    assert sentence in answer.content.decode().replace("&#x27;", "'")
    assert caller.user is not None
    caller.user.refresh_from_db()
    assert caller.user.check_password(PASSWORD)


def test_a_token_is_shown_once(client: Client, caller: Caller) -> None:
    answer = client.post("/account/tokens", {"name": "nightly job"})

    token = ApiToken.objects.get(user=caller.user)
    page = answer.content.decode()
    assert answer["Cache-Control"] == "no-store, private"
    assert token.token_key in page
    assert token.organization == caller.organization
    again = client.get("/account").content.decode()
    assert "nightly job" in again
    assert page.count(token.token_key) > again.count(token.token_key)


def test_a_token_needs_a_name(client: Client, caller: Caller) -> None:
    create_api_token(caller=caller, name="kept")
    for name, sentence in (
        ("", "Say what the token is for"),
        ("   ", "Say what the token is for"),
        ("x" * 101, "at most 100 characters"),
    ):
        answer = client.post("/account/tokens", {"name": name})
        page = answer.content.decode()
        assert answer.status_code == 200
        # Beside the field, which keeps what was typed, on the page as it was.
        assert answer.context["token_form"].errors["name"] == [
            error
            for error in answer.context["token_form"].fields["name"].error_messages.values()
            if sentence in error
        ]
        assert 'aria-describedby="id_name_error"' in page
        assert f'value="{name}"' in page or not name.strip()
        assert "kept" in page
    assert ApiToken.objects.filter(user=caller.user).count() == 1


def test_a_token_can_be_revoked_only_by_its_owner(client: Client, caller: Caller) -> None:
    own, _ = create_api_token(caller=caller, name="own")
    other, _ = create_api_token(caller=make_caller(), name="other")

    assert client.post(f"/account/tokens/{own.token_key}/revoke").status_code == 302
    assert client.post(f"/account/tokens/{other.token_key}/revoke").status_code == 404
    assert list(ApiToken.objects.all()) == [other]


def test_the_organisation_can_be_switched_among_ones_own(client: Client, caller: Caller) -> None:
    second = make_organization("zzz")
    assert caller.user is not None
    Membership.objects.create(user=caller.user, organization=second, role=Role.VIEWER)
    make_organization("foreign")

    answer = client.post("/account/organization", {"organization": "zzz", "next": "/account"})
    assert answer["Location"] == "/account"
    assert client.session["organization"] == "zzz"

    client.post("/account/organization", {"organization": "foreign"})
    assert client.session["organization"] == "zzz"
    answer = client.post("/account/organization", {"organization": "zzz", "next": "//evil.example"})
    assert answer["Location"] == "/"


def test_the_first_admin_is_made_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FACTORY_ADMIN_PASSWORD", raising=False)
    call_command("bootstrap_admin")

    printed = capsys.readouterr().out
    admin = User.objects.get(username="admin")
    password = printed.split("password: ")[1].split(" ")[0]
    assert admin.check_password(password)
    assert admin.must_change_password
    assert Membership.objects.get(user=admin).role == Role.ADMIN

    call_command("bootstrap_admin")
    assert capsys.readouterr().out == ""
    assert User.objects.count() == Organization.objects.count() == 1


def test_an_unattended_first_admin_keeps_the_given_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACTORY_ADMIN_PASSWORD", NEW_PASSWORD)
    call_command("bootstrap_admin")

    admin = User.objects.get(username="admin")
    assert admin.check_password(NEW_PASSWORD)
    assert not admin.must_change_password
    assert NEW_PASSWORD not in capsys.readouterr().out


def test_a_weak_first_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_ADMIN_PASSWORD", "short")

    with pytest.raises(CommandError, match="FACTORY_ADMIN_PASSWORD: This password is too short"):
        call_command("bootstrap_admin")
    assert not User.objects.exists()


@pytest.mark.parametrize("slug", ["\x00", "zz\x00z", "a b", "\u202e", "%s" * 50])
def test_what_no_organisation_is_called_is_no_organisation(
    client: Client, caller: Caller, slug: str
) -> None:
    assert caller.user is not None

    answer = client.post("/account/organization", {"organization": slug}, follow=True)

    assert answer.status_code == 200
    assert "You are not in that organisation." in answer.content.decode()


def test_a_value_that_cannot_be_stored_is_answered_with_a_page(
    client: Client, caller: Caller
) -> None:
    assert caller.user is not None

    answer = client.post("/account/tokens/%00/revoke")

    assert answer.status_code == 400
    assert "characters that can&#x27;t be stored" in answer.content.decode()


@pytest.mark.parametrize("error", [OperationalError("gone"), RedisConnectionError("gone")])
def test_a_part_that_does_not_answer_is_answered_with_a_page(
    rf: RequestFactory, caller: Caller, error: Exception
) -> None:
    class Failing(PortalMixin):
        def get(self, request: HttpRequest) -> HttpResponse:
            del request
            raise error

    request = rf.get("/")
    assert caller.user is not None
    request.user = caller.user

    answer = Failing.as_view()(request)

    assert isinstance(answer, HttpResponse)
    assert answer.status_code == 503
    assert b"database or its queue does not answer" in answer.content
