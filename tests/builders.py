"""Typed functions that make the rows and documents that tests are about."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from accounts.callers import Caller
from accounts.models import Membership, Organization, User
from accounts.roles import Role
from factory.services.defaults import load_defaults
from registry.spec import AgentSpec
from templates_lib.models import AgentTemplate, TemplateVersion
from templates_lib.services import load_library

_numbers = itertools.count(1)
_library: list[list[Any]] = []
PASSWORD = "a-long-enough-passphrase"


def make_organization(slug: str = "") -> Organization:
    """Make an organisation."""
    slug = slug or f"team-{next(_numbers)}"
    return Organization.objects.create(slug=slug, name=slug.replace("-", " ").title())


def make_user(username: str = "", **fields: Any) -> User:
    """Make a person whose password is ``PASSWORD``."""
    username = username or f"person-{next(_numbers)}"
    return User.objects.create_user(username, password=PASSWORD, **fields)


def make_caller(role: str = Role.ADMIN, organization: Organization | None = None) -> Caller:
    """Make a person with a role in an organisation (a new one unless given)."""
    organization = organization or make_organization()
    user = make_user()
    Membership.objects.create(user=user, organization=organization, role=role)
    return Caller(user=user, organization=organization, role=role)


def make_spec(**changes: Any) -> AgentSpec:
    """Make a small valid specification: one capability, no memory."""
    fields: dict[str, Any] = {
        "agent_id": f"WowTest{next(_numbers)}",
        "name": "Test Agent",
        "display_name": "Test Agent",
        "tier": 1,
        "template": {"slug": "blank", "version": "1.0.0"},
        "capabilities": [
            {
                "name": "describe_agent",
                "description": "Say what the agent is.",
                "input_schema": {"type": "object"},
                "output_schema": {"type": "object"},
                "implementation": {"kind": "builtin", "operation": "agent.describe"},
            }
        ],
    }
    return AgentSpec.model_validate(fields | changes)


def install() -> None:
    """Load what a new installation starts with: templates, tools, tiers and prices."""
    if _library:
        # Loading checks every template's code, which takes a second; once is enough.
        for rows in _library:
            type(rows[0])._default_manager.bulk_create(copy.deepcopy(rows))  # noqa: SLF001 - Django's documented model API
    else:
        load_library()
        _library.extend((list(AgentTemplate.objects.all()), list(TemplateVersion.objects.all())))
    load_defaults()


def make_request(**changes: Any) -> dict[str, Any]:
    """Make what an operator sends to create a memory agent with a capability of its own."""
    return {
        "template_id": "memory-agent",
        "name": f"Customer Context {next(_numbers)} Agent",
        "display_name": "Customer Context Manager",
        "description": "Stores customer conversation history",
        "tier": 3,
        "capabilities": [
            "store_context",
            "retrieve_context",
            "search_context",
            "summarize_context",
            {
                "name": "analyze_sentiment",
                "description": "Analyze customer sentiment from conversation",
                "input_schema": {"text": "string", "customer_id": "string"},
                "output_schema": {
                    "sentiment": "positive|neutral|negative",
                    "confidence": "float",
                },
                "timeout_seconds": 30,
            },
        ],
        "tools": ["Redis", "VectorDB", "Embeddings"],
        "resources": {"cpu_cores": 1, "memory_mb": 4096, "storage_gb": 10},
        **changes,
    }
