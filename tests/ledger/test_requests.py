"""Audit entries name the address that a request came from, and believe no client about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.models import AuditEntry
from ledger.requests import client_address, client_port
from tests.builders import PASSWORD, make_user

if TYPE_CHECKING:
    from django.test import Client, RequestFactory
    from pytest_django import Settings

NEW_PASSWORD = "quite-another-passphrase"


def change_password(client: Client, **headers: str) -> AuditEntry:
    user = make_user("auditee")
    client.force_login(user)
    fields = {
        "old_password": PASSWORD,
        "new_password1": NEW_PASSWORD,
        "new_password2": NEW_PASSWORD,
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    assert client.post("/account/password", fields, headers=named).status_code == 302
    entry: AuditEntry | None = AuditEntry.objects.filter(actor=user).order_by("-id").first()
    assert entry is not None
    return entry


@pytest.mark.django_db
@pytest.mark.parametrize("forwarded", ["203.0.113.9", "no address at all", "\x00", "1" * 5000])
def test_a_client_cannot_choose_the_address_in_the_audit_trail(
    client: Client, forwarded: str
) -> None:
    entry = change_password(
        client,
        X_Forwarded_For=forwarded,
        X_Forwarded_Port="99999999999999",
        X_Correlation_ID="x" * 5000,
    )

    assert (entry.remote_addr, entry.remote_port, entry.cid) == ("127.0.0.1", None, None)


@pytest.mark.django_db
def test_a_trusted_proxy_is_believed(client: Client, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 1

    entry = change_password(
        client,
        X_Forwarded_For="198.51.100.1, 203.0.113.9",
        X_Forwarded_Port="40000",
        X_Correlation_ID="job-17",
    )

    assert (entry.remote_addr, entry.remote_port) == ("203.0.113.9", 40000)
    assert entry.cid == "job-17"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "", "127.0.0.1"),
        (1, "203.0.113.9:4711", "203.0.113.9"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "unknown", "127.0.0.1"),
        (2, "10.0.0.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (9, "203.0.113.9, 10.0.0.2", "203.0.113.9"),
    ],
)
def test_as_many_entries_are_believed_as_there_are_proxies(
    rf: RequestFactory, settings: Settings, proxies: int, forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies

    assert client_address(rf.get("/", headers={"X-Forwarded-For": forwarded})) == address


def test_a_socket_without_an_address_has_none(rf: RequestFactory) -> None:
    assert client_address(rf.get("/", REMOTE_ADDR="")) is None


@pytest.mark.parametrize(
    ("text", "port"),
    [("443", 443), ("0", None), ("65536", None), ("-1", None), ("", None), ("9" * 5000, None)],
)
def test_only_a_port_is_a_port(
    rf: RequestFactory, settings: Settings, text: str, port: int | None
) -> None:
    settings.TRUSTED_PROXIES = 1

    assert client_port(rf.get("/", headers={"X-Forwarded-Port": text})) == port
