"""The agent's states and the ways between them."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from django.db import models


class AgentStatus(models.TextChoices):
    """Where an agent is in its life."""

    DRAFT = "draft", "Draft"
    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    DEPRECATED = "deprecated", "Deprecated"
    FAILED = "failed", "Failed"


AGENT_TRANSITIONS: Final[Mapping[str, AbstractSet[str]]] = {
    AgentStatus.DRAFT: {AgentStatus.ACTIVE, AgentStatus.FAILED},
    AgentStatus.ACTIVE: {
        AgentStatus.PAUSED,
        AgentStatus.DEPRECATED,
        AgentStatus.FAILED,
        # Undeployed: it has to be deployed and activated again before it can be called.
        AgentStatus.DRAFT,
    },
    AgentStatus.PAUSED: {
        AgentStatus.ACTIVE,
        AgentStatus.DEPRECATED,
        AgentStatus.FAILED,
        AgentStatus.DRAFT,
    },
    AgentStatus.DEPRECATED: {AgentStatus.FAILED},
    AgentStatus.FAILED: {AgentStatus.ACTIVE, AgentStatus.DRAFT},
}


class Health(models.TextChoices):
    """What the last check of a running agent found."""

    UNKNOWN = "unknown", "Not checked"
    HEALTHY = "healthy", "Healthy"
    DEGRADED = "degraded", "Degraded"
    UNREACHABLE = "unreachable", "Unreachable"


class ToolKind(models.TextChoices):
    """What a tool is made of, which decides how it is connected and tested."""

    REDIS = "redis", "Redis"
    POSTGRESQL = "postgresql", "PostgreSQL"
    VECTOR_STORE = "vector_store", "Vector store"
    EMBEDDINGS = "embeddings", "Embeddings (OpenAI-compatible)"
    CHAT_MODEL = "chat_model", "Chat model (OpenAI-compatible)"
    HTTP = "http", "HTTP service"
