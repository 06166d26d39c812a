"""The role matrix, spelled out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accounts.roles import Action, Role, may

ROOT = Path(__file__).parents[2]
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
    Role.APPROVER: {Action.VIEW, Action.INVOKE_AGENTS},
    Role.ADMIN: set(Action),
}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_do_just_this(role: Role) -> None:
    assert {action for action in Action if may(role, action)} == TABLE[role]


def test_an_unknown_role_may_do_nothing() -> None:
    assert not any(may("intern", action) for action in Action)


@pytest.mark.parametrize("action", list(Action))
def test_each_action_is_asked_for_somewhere(action: Action) -> None:
    name = f"Action.{action.name}"
    rooms = ("config", "factory", "gateway", "sandbox", "provisioning", "templates_lib", "registry")
    files = [path for room in (*rooms, "accounts") for path in (ROOT / room).rglob("*.py")]
    assert any(
        re.search(rf"{name}\b", path.read_text()) for path in files if path.name != "roles.py"
    )
