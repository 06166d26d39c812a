"""Who walks through the portal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import Client

    from accounts.callers import Caller
    from tests.pages import Visitor


@pytest.fixture
def caller(db: None) -> Caller:
    """An operator of a new installation."""
    # Imported late: Django is set up after this file is read.
    from accounts.roles import Role
    from tests.builders import install, make_caller

    install()
    return make_caller(Role.OPERATOR)


@pytest.fixture
def visitor(client: Client, caller: Caller) -> Visitor:
    """The operator, signed in, with scripts switched off."""
    from tests.pages import Visitor

    assert caller.user is not None
    client.force_login(caller.user)
    return Visitor(client)
