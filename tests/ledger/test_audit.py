"""The audit trail: who did what to which thing, with the values before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger import audit
from ledger.models import AuditEntry
from tests.builders import PASSWORD, make_caller, make_organization, make_user

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def test_a_domain_event_names_actor_thing_and_organisation() -> None:
    caller = make_caller()

    audit.record("api_token.created", caller.organization, actor=caller.user, detail={"name": "CI"})

    entry = AuditEntry.objects.get(event="api_token.created")
    assert entry.actor == caller.user
    assert entry.organization_id == caller.organization.pk
    assert entry.additional_data == {"name": "CI"}


def test_a_change_is_kept_with_the_values_before_and_after() -> None:
    organization = make_organization("before")
    organization.name = "After"
    organization.save()

    entry = AuditEntry.objects.filter(
        object_pk=str(organization.pk), action=AuditEntry.Action.UPDATE
    ).get()
    assert entry.changes == {"name": ["Before", "After"]}
    assert entry.organization_id == organization.pk


def test_a_password_never_reaches_the_trail() -> None:
    user = make_user("secretive")
    user.set_password("another-long-passphrase")
    user.save()

    text = str(list(AuditEntry.objects.values()))
    assert user.password not in text
    assert "another-long-passphrase" not in text


def test_a_change_in_the_admin_names_the_person_and_the_address(client: Client) -> None:
    admin = make_user("boss", is_staff=True, is_superuser=True)
    organization = make_organization("visited")
    client.login(username="boss", password=PASSWORD)

    answer = client.post(
        f"/admin/accounts/organization/{organization.pk}/change/",
        {
            "name": "Renamed",
            "slug": "visited",
            "is_active": "on",
            "memberships-TOTAL_FORMS": "0",
            "memberships-INITIAL_FORMS": "0",
        },
        REMOTE_ADDR="192.0.2.7",
    )

    assert answer.status_code == 302
    entry = AuditEntry.objects.get(object_pk=str(organization.pk), action=AuditEntry.Action.UPDATE)
    assert (entry.actor, entry.remote_addr) == (admin, "192.0.2.7")


def test_nobody_can_change_the_trail(client: Client) -> None:
    make_user("boss", is_staff=True, is_superuser=True)
    caller = make_caller()
    audit.record("agent.activated", caller.organization, actor=caller.user)
    entry = AuditEntry.objects.get(event="agent.activated")
    client.login(username="boss", password=PASSWORD)

    assert client.get("/admin/ledger/auditentry/").status_code == 200
    assert client.get(f"/admin/ledger/auditentry/{entry.pk}/change/").status_code == 200
    assert client.get("/admin/ledger/auditentry/add/").status_code == 403
    assert client.post(f"/admin/ledger/auditentry/{entry.pk}/delete/").status_code == 403
    assert client.post(f"/admin/ledger/auditentry/{entry.pk}/change/", {}).status_code == 403
