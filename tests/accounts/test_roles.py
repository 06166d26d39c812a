"""The role matrix, spelled out."""

from __future__ import annotations

import pytest

from accounts.roles import Action, Role, may

TABLE = {
    Role.VIEWER: {Action.VIEW},
    Role.OPERATOR: {
        Action.VIEW,
        Action.CREATE_AGENTS,
        Action.DEPLOY_AGENTS,
        Action.INVOKE_AGENTS,
        Action.MANAGE_SECRETS,
    },
    Role.CURATOR: {
        Action.VIEW,
        Action.CREATE_AGENTS,
        Action.DEPLOY_AGENTS,
        Action.INVOKE_AGENTS,
        Action.MANAGE_SECRETS,
        Action.CURATE,
    },
    Role.APPROVER: {Action.VIEW, Action.INVOKE_AGENTS, Action.APPROVE},
    Role.ADMIN: set(Action),
}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_do_just_this(role: Role) -> None:
    assert {action for action in Action if may(role, action)} == TABLE[role]


def test_an_unknown_role_may_do_nothing() -> None:
    assert not any(may("intern", action) for action in Action)
