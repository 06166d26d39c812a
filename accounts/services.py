"""Writing accounts: the first admin, members, API tokens."""

from django.db import transaction

from accounts.callers import Caller
from accounts.models import ApiToken, Membership, Organization, User
from accounts.roles import Action, Role
from ledger import audit
from ledger.errors import NotAllowed, NotFound

DEFAULT_ORGANIZATION = ("default", "My organisation")


@transaction.atomic
def ensure_first_admin(*, username: str, password: str, must_change: bool) -> User | None:
    """Make the first admin and the first organisation; do nothing if anybody can sign in already.

    Returns the new user, or ``None`` if there was somebody.
    """
    if User.objects.exists():
        return None
    user = User.objects.create_superuser(username, email="", password=password)
    user.must_change_password = must_change
    user.save(update_fields=["must_change_password"])
    slug, name = DEFAULT_ORGANIZATION
    organization, _ = Organization.objects.get_or_create(slug=slug, defaults={"name": name})
    Membership.objects.create(user=user, organization=organization, role=Role.ADMIN)
    return user


@transaction.atomic
def create_api_token(*, caller: Caller, name: str) -> tuple[ApiToken, str]:
    """Make a long-lived token for the caller; its text is returned this once and kept nowhere.

    Raises:
        NotAllowed: the caller is the platform itself.

    """
    caller.require(Action.VIEW)
    token, text = ApiToken.objects.create(
        user=_person(caller), organization=caller.organization, name=name
    )
    audit.record("api_token.created", caller.organization, actor=caller.user, detail={"name": name})
    return token, text


def _person(caller: Caller) -> User:
    if caller.user is None:
        raise NotAllowed("no_person", "Tokens belong to people: sign in as one.")
    return caller.user


@transaction.atomic
def revoke_api_token(*, caller: Caller, token_key: str) -> None:
    """Make one of the caller's own tokens useless.

    Raises:
        NotFound: the caller has no such token.

    """
    deleted, _ = ApiToken.objects.filter(
        user=caller.user, organization=caller.organization, token_key=token_key
    ).delete()
    if not deleted:
        raise NotFound("token_not_found", "There is no such token any more.")
    audit.record("api_token.revoked", caller.organization, actor=caller.user)
