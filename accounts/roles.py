"""Which role may do what: the one table of permissions.

Every page, API route and service asks here, and a test runs every route against every role.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from django.db import models


class Role(models.TextChoices):
    """What a person is in an organisation."""

    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    CURATOR = "curator", "Curator"
    APPROVER = "approver", "Approver"
    ADMIN = "admin", "Admin"


class Action(StrEnum):
    """What a caller may want to do in an organisation."""

    VIEW = "view"
    """See agents, deployments, tests, templates, tools and the names of secrets."""
    CREATE_AGENTS = "create_agents"
    """Draft, test, validate, edit and discard agents."""
    DEPLOY_AGENTS = "deploy_agents"
    """Deploy, undeploy, activate, pause, resume and deprecate."""
    INVOKE_AGENTS = "invoke_agents"
    """Call an agent's capabilities."""
    MANAGE_SECRETS = "manage_secrets"
    """Write and remove secrets; nobody can read one."""
    CURATE = "curate"
    """Edit and publish templates, tools and rules."""


_VIEWER: Final = frozenset({Action.VIEW})
_OPERATOR: Final = _VIEWER | {
    Action.CREATE_AGENTS,
    Action.DEPLOY_AGENTS,
    Action.INVOKE_AGENTS,
    Action.MANAGE_SECRETS,
}

PERMISSIONS: Final[Mapping[str, frozenset[Action]]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.CURATOR: _OPERATOR | {Action.CURATE},
    Role.APPROVER: _VIEWER | {Action.INVOKE_AGENTS},
    Role.ADMIN: frozenset(Action),
}


def may(role: str, action: Action) -> bool:
    """Whether ``role`` includes ``action``; an unknown role includes nothing."""
    return action in PERMISSIONS.get(role, frozenset())
