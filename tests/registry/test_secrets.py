"""Secrets: written and used, never read back."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet

from accounts.roles import Role
from ledger.errors import Conflict, InvalidInput, NotAllowed, NotFound, Unavailable
from ledger.models import AuditEntry
from registry import secrets
from registry.models import Secret
from registry.services import secrets as services
from registry.services.secrets import delete_secret, list_secrets, put_secret, reveal_for_use
from tests.builders import make_caller

pytestmark = pytest.mark.django_db
CANARY = "canary-5f2c1d-value"


def test_a_key_is_rotated_by_putting_a_new_one_in_front(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.SECRETS_KEYS = [old]
    sealed = secrets.encrypt(b"kept")

    settings.SECRETS_KEYS = [new, old]
    assert secrets.decrypt(sealed) == b"kept"
    assert secrets.decrypt(memoryview(secrets.encrypt(b"newer"))) == b"newer"

    settings.SECRETS_KEYS = [new]
    with pytest.raises(Unavailable) as caught:
        secrets.decrypt(sealed)
    assert caught.value.code == "secret_unreadable"


def test_a_secret_is_used_and_listed_but_its_value_is_nowhere_to_be_read() -> None:
    caller = make_caller()

    entry = put_secret(caller=caller, name="openai", value=CANARY)

    assert reveal_for_use(organization=caller.organization, name="openai") == CANARY
    assert list_secrets(caller=caller) == [entry]
    assert CANARY not in repr(entry)
    row = Secret.objects.get()
    assert CANARY.encode() not in bytes(row.ciphertext)
    trail = AuditEntry.objects.values_list("changes", "additional_data", "object_repr")
    assert trail
    assert CANARY not in str(list(trail))


def test_writing_again_replaces_the_value() -> None:
    caller = make_caller()
    first = put_secret(caller=caller, name="openai", value="one")
    second = put_secret(caller=caller, name="openai", value="two")

    assert first.rotated_at is None
    assert second.rotated_at is not None
    assert reveal_for_use(organization=caller.organization, name="openai") == "two"
    assert Secret.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "value", "attr"),
    [
        ("", "x", "name"),
        ("-a", "x", "name"),
        ("a b", "x", "name"),
        ("a\n", "x", "name"),
        ("a" * 101, "x", "name"),
        ("é", "x", "name"),
        ("a", "", "value"),
        ("a", "x" * 8193, "value"),
        ("a", "x\x00", "value"),
        ("a", "\ud800", "value"),
    ],
)
def test_out_of_bounds_is_refused(name: str, value: str, attr: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        put_secret(caller=make_caller(), name=name, value=value)

    assert [problem.attr for problem in caught.value.problems] == [attr]
    assert not Secret.objects.exists()


@pytest.mark.parametrize(("name", "value"), [("a", "x"), ("A" * 100, "x" * 8192), ("a.b-c_1", "é")])
def test_at_the_bounds_is_accepted(name: str, value: str) -> None:
    caller = make_caller()
    put_secret(caller=caller, name=name, value=value)
    assert reveal_for_use(organization=caller.organization, name=name) == value


def test_an_organisation_has_a_bounded_number_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_SECRETS", 1)
    caller = make_caller()
    put_secret(caller=caller, name="one", value="x")
    put_secret(caller=caller, name="one", value="y")

    with pytest.raises(Conflict) as caught:
        put_secret(caller=caller, name="two", value="x")

    assert caught.value.code == "too_many_secrets"


def test_deleting() -> None:
    caller = make_caller()
    put_secret(caller=caller, name="one", value="x")

    delete_secret(caller=caller, name="one")

    with pytest.raises(NotFound) as caught:
        delete_secret(caller=caller, name="one")
    assert caught.value.code == "secret_not_found"


@pytest.mark.parametrize("name", ["", "nobody", "a\x00", "x" * 500])
def test_what_is_not_there_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        reveal_for_use(organization=make_caller().organization, name=name)


def test_another_organisation_sees_nothing() -> None:
    owner, stranger = make_caller(), make_caller()
    put_secret(caller=owner, name="one", value="theirs")

    assert list_secrets(caller=stranger) == []
    with pytest.raises(NotFound):
        delete_secret(caller=stranger, name="one")
    with pytest.raises(NotFound):
        reveal_for_use(organization=stranger.organization, name="one")
    put_secret(caller=stranger, name="one", value="mine")
    assert reveal_for_use(organization=owner.organization, name="one") == "theirs"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_writing_needs_a_role_and_listing_does_not(role: str) -> None:
    owner = make_caller()
    put_secret(caller=owner, name="one", value="x")
    caller = make_caller(role, owner.organization)

    assert [entry.name for entry in list_secrets(caller=caller)] == ["one"]
    with pytest.raises(NotAllowed):
        put_secret(caller=caller, name="one", value="y")
    with pytest.raises(NotAllowed):
        delete_secret(caller=caller, name="one")
