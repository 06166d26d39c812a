"""Who is asking, for which organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.test import RequestFactory

from accounts.callers import Caller, caller_of
from accounts.models import Membership, User
from accounts.roles import Action, Role
from accounts.services import create_api_token
from ledger.errors import NotAllowed, NotFound
from tests.builders import make_caller, make_organization, make_user

if TYPE_CHECKING:
    from django.http import HttpRequest

pytestmark = pytest.mark.django_db


def request_of(user: User, **headers: str) -> HttpRequest:
    request: Any = RequestFactory().get("/", headers=headers)
    request.user = user
    request.session = SessionStore()
    return cast("HttpRequest", request)


def test_the_first_organisation_by_name_is_the_default() -> None:
    user = make_user()
    for slug in ("zebra", "aardvark"):
        Membership.objects.create(
            user=user, organization=make_organization(slug), role=Role.OPERATOR
        )

    assert caller_of(request_of(user)).organization.slug == "aardvark"


def test_the_header_and_the_session_choose() -> None:
    user = make_user()
    for slug in ("zebra", "aardvark"):
        Membership.objects.create(user=user, organization=make_organization(slug), role=Role.VIEWER)
    request = request_of(user)
    request.session["organization"] = "zebra"

    assert caller_of(request).organization.slug == "zebra"
    named = request_of(user, **{"X-Organization": "aardvark"})
    assert caller_of(named).organization.slug == "aardvark"


def test_an_organisation_that_one_is_not_in_looks_as_if_it_did_not_exist() -> None:
    make_organization("other")
    user = make_caller().user
    assert user is not None

    for slug in ("other", "nowhere"):
        with pytest.raises(NotFound) as error:
            caller_of(request_of(user, **{"X-Organization": slug}))
        assert error.value.message == "You are not in such an organisation."


def test_without_an_organisation_the_person_is_told_whom_to_ask() -> None:
    with pytest.raises(NotAllowed, match="Ask an admin"):
        caller_of(request_of(make_user()))


def test_a_closed_organisation_is_left_out() -> None:
    caller = make_caller()
    assert caller.user is not None
    caller.organization.is_active = False
    caller.organization.save()

    with pytest.raises(NotAllowed):
        caller_of(request_of(caller.user))


def test_an_api_token_holds_for_its_own_organisation_only() -> None:
    caller = make_caller(Role.OPERATOR)
    assert caller.user is not None
    Membership.objects.create(
        user=caller.user, organization=make_organization("aaa"), role=Role.ADMIN
    )
    token, _ = create_api_token(caller=caller, name="CI")
    request = request_of(caller.user)
    request.auth = token  # type: ignore[attr-defined]  # DRF adds it

    assert caller_of(request).organization == caller.organization
    request = request_of(caller.user, **{"X-Organization": "aaa"})
    request.auth = token  # type: ignore[attr-defined]  # DRF adds it
    with pytest.raises(NotFound):
        caller_of(request)


def test_require_says_which_role_is_not_enough() -> None:
    caller = make_caller(Role.VIEWER)

    caller.require(Action.VIEW)
    with pytest.raises(NotAllowed, match=r"\(viewer\) does not allow this"):
        caller.require(Action.DEPLOY_AGENTS)


def test_the_platform_may_do_everything() -> None:
    platform = Caller.platform(make_organization())

    assert platform.user is None
    assert all(platform.may(action) for action in Action)
