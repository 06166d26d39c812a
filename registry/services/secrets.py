"""Credentials of an organisation: written and used, never read back."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from accounts.callers import Caller
from accounts.models import Organization
from accounts.roles import Action
from ledger import audit
from ledger.errors import Conflict, InvalidInput, NotFound
from registry.json_bounds import is_storable
from registry.models import Secret
from registry.secrets import decrypt, encrypt
from registry.spec import SECRET_NAME_PATTERN

MAX_SECRET_LENGTH: Final = 8192
MAX_SECRETS: Final = 200


@dataclass(frozen=True)
class SecretEntry:
    """What may be known of a secret."""

    name: str
    created_at: datetime
    rotated_at: datetime | None


def put_secret(*, caller: Caller, name: str, value: str) -> SecretEntry:
    """Write a secret, new or in place of the one of that name.

    Raises:
        NotAllowed: the role does not include managing secrets.
        InvalidInput: the name or the value is out of bounds.
        Conflict: ``too_many_secrets``.

    """
    caller.require(Action.MANAGE_SECRETS)
    if not re.fullmatch(SECRET_NAME_PATTERN, name):
        raise InvalidInput.of_field(
            "name",
            "invalid",
            "Begin the name with a letter or digit and use letters, digits, dots, hyphens and "
            "underscores, 100 at most.",
        )
    if not 1 <= len(value) <= MAX_SECRET_LENGTH or not is_storable(value):
        raise InvalidInput.of_field(
            "value", "invalid", f"Give a value of 1 to {MAX_SECRET_LENGTH} characters of text."
        )
    with transaction.atomic():
        # The organisation's row makes writers of one organisation take turns.
        Organization.objects.select_for_update().get(pk=caller.organization.pk)
        secret = Secret.objects.filter(organization=caller.organization, name=name).first()
        if secret is None:
            if Secret.objects.filter(organization=caller.organization).count() >= MAX_SECRETS:
                raise Conflict(
                    "too_many_secrets",
                    f"There are {MAX_SECRETS} secrets already. Remove one that is not used.",
                )
            secret = Secret(organization=caller.organization, name=name, created_by=caller.user)
        else:
            secret.rotated_at = timezone.now()
        secret.ciphertext = encrypt(value.encode())
        secret.save()
        audit.record("secret.written", secret, actor=caller.user, detail={"name": name})
    return SecretEntry(secret.name, secret.created_at, secret.rotated_at)


def list_secrets(*, caller: Caller) -> list[SecretEntry]:
    """Return the names of the organisation's secrets, in order.

    Raises:
        NotAllowed: the role does not include viewing.

    """
    caller.require(Action.VIEW)
    rows = Secret.objects.filter(organization=caller.organization).order_by("name")
    return [SecretEntry(*row) for row in rows.values_list("name", "created_at", "rotated_at")]


def delete_secret(*, caller: Caller, name: str) -> None:
    """Remove a secret. Agents that use it fail from their next call on.

    Raises:
        NotAllowed: the role does not include managing secrets.
        NotFound: ``secret_not_found``.

    """
    caller.require(Action.MANAGE_SECRETS)
    with transaction.atomic():
        secret = _find(caller.organization, name)
        audit.record("secret.deleted", secret, actor=caller.user, detail={"name": name})
        secret.delete()


def reveal_for_use(*, organization: Organization, name: str) -> str:
    """Return a secret's value, to be sent to the service that it is for and nowhere else.

    Raises:
        NotFound: ``secret_not_found``.
        Unavailable: it can't be decrypted with the present keys.

    """
    return decrypt(_find(organization, name).ciphertext).decode()


def _find(organization: Organization, name: str) -> Secret:
    secret = None
    if re.fullmatch(SECRET_NAME_PATTERN, name):
        secret = Secret.objects.filter(organization=organization, name=name).first()
    if secret is None:
        raise NotFound("secret_not_found", "There is no secret of that name. Add it first.")
    return secret
