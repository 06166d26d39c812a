"""The admin as an administrator finds it: the index, the sidebar, each list and page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import reverse

from accounts.roles import Role
from factory.models import PriceBook, Tier
from factory.services.blueprints import create_agent
from provisioning.models import Deployment, DeploymentStep
from registry.models import Agent, Release
from templates_lib.models import TemplateVersion
from tests.builders import install, make_caller, make_request, make_user

if TYPE_CHECKING:
    from django.db import models
    from django.test import Client

    from accounts.models import User

pytestmark = pytest.mark.django_db
MODELS = (TemplateVersion, Tier, PriceBook, Agent, Release, Deployment, DeploymentStep)


@pytest.fixture
def administrator(client: Client) -> User:
    install()
    caller = make_caller(Role.ADMIN)
    create_agent(caller=caller, request=make_request(), skip_test_reason="Only looked at.")
    user = make_user(is_staff=True, is_superuser=True)
    client.force_login(user)
    return user


def url(model: type[models.Model], page: str, *args: object) -> str:
    name = admin.site.get_model_admin(model).opts.label_lower.replace(".", "_")
    return reverse(f"admin:{name}_{page}", args=args)


def some(model: type[models.Model]) -> models.Model:
    row = admin.site.get_model_admin(model).get_queryset(RequestFactory().get("/")).first()
    assert row is not None
    return row


def test_the_index_and_the_sidebar_show_the_products_own_things(
    client: Client, administrator: User
) -> None:
    answer = client.get("/admin/")
    groups = {
        app["name"]: [model["name"] for model in app["models"]]
        for app in answer.context["app_list"]
    }
    assert groups == {
        "Agents and deployments": [
            "Agents", "Releases", "Deployments", "Deployment steps", "Blueprints",
        ],
        "Library": ["Templates", "Template versions", "Tools"],
        "Tiers and prices": ["Tiers", "Price books"],
        "People and access": ["Organisations", "Users", "API tokens", "Secrets"],
        "Records": ["Audit trail", "Transitions"],
    }  # fmt: skip
    sidebar = answer.context["sidebar_navigation"]
    assert [group["title"] for group in sidebar] == ["Portal", *groups]
    for group in sidebar:
        for item in group["items"]:
            assert client.get(str(item["link"])).status_code in (200, 403), item["title"]
    html = answer.content.decode()
    for plumbing in ("celery", "Crontab", "Periodic", "Blacklisted", "Outstanding", "knox"):
        assert plumbing not in html


def test_a_member_of_staff_sees_only_what_they_may(client: Client, administrator: User) -> None:
    client.force_login(make_user(is_staff=True))
    answer = client.get("/admin/")
    assert answer.context["app_list"] == []
    assert [group["title"] for group in answer.context["sidebar_navigation"]] == ["Portal"]


@pytest.mark.parametrize("model", MODELS)
def test_each_list_and_page_opens_and_no_status_can_be_edited(
    client: Client, administrator: User, model: type[models.Model]
) -> None:
    row = some(model)
    listed = client.get(url(model, "changelist"))
    assert listed.status_code == 200
    active = [
        item["title"]
        for group in listed.context["sidebar_navigation"]
        for item in group["items"]
        if item["active"]
    ]
    assert active == [str(admin.site.get_model_admin(model).opts.verbose_name_plural).capitalize()]
    assert admin.site.get_model_admin(model).list_editable == ()
    page = client.get(url(model, "change", row.pk))
    assert page.status_code == 200
    html = page.content.decode()
    assert 'name="status"' not in html
    assert 'name="health"' not in html


@pytest.mark.parametrize("model", [Agent, Release, Deployment, DeploymentStep])
def test_what_services_write_is_nobodys_to_write(
    client: Client, administrator: User, model: type[models.Model]
) -> None:
    row = some(model)
    assert client.post(url(model, "change", row.pk), {"status": "active"}).status_code == 403
    assert client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert client.get(url(model, "add")).status_code == 403


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("", "UTC"),
        ("Asia%2FKolkata", "IST"),
        ("Europe/Berlin", "CE"),
        ("Nowhere/Land", "UTC"),
        ("..%2F..%2Fetc%2Fpasswd", "UTC"),
        ("%00", "UTC"),
        ("x" * 5000, "UTC"),
    ],
)
def test_times_are_written_one_way_and_where_the_person_is(
    client: Client, administrator: User, zone: str, shown: str
) -> None:
    client.cookies["timezone"] = zone
    html = client.get(url(Deployment, "changelist")).content.decode()
    assert re.search(rf">\s*\d+ \w+ \d{{4}}, \d\d:\d\d:\d\d {shown}", html)


def test_programs_get_utc_whatever_the_cookie_says(client: Client, administrator: User) -> None:
    caller = make_caller(Role.OPERATOR)
    agent, _ = create_agent(caller=caller, request=make_request(), skip_test_reason="Looked at.")
    assert caller.user is not None
    client.force_login(caller.user)
    client.cookies["timezone"] = "Asia/Kolkata"
    told = client.get(f"/api/agents/{agent.agent_id}").json()
    assert told["created_at"].endswith(("Z", "+00:00"))
