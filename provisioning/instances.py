"""What an instance is told at its start: the contents of its ``credentials.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.drivers.base import Network, RuntimeDriver
    from provisioning.stores.memory import MemoryStore
    from provisioning.stores.queues import QueueStore
    from registry.services.agents import AgentSecrets
    from registry.spec import AgentSpec

_THIS_HOST: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_MODEL_LENGTH: Final = 200
_MOST_DIMENSIONS: Final = 16_000


def credentials_document(
    *,
    key: str,
    driver: RuntimeDriver,
    network: Network,
    queue: QueueStore | None,
    memory: MemoryStore | None,
    secrets: AgentSecrets,
    spec: AgentSpec | None = None,
) -> dict[str, Any]:
    """Return the document that the agent's program reads.

    Nothing of a third party is in it: of the spec's model tools it names the models only, and in a
    sandbox neither models nor the way out.

    Raises:
        DriverError: the driver cannot tell where instances reach the platform's host.

    """
    host = driver.services_host(network)
    live = network == "agents"
    return {
        "agent_key": key,
        "invoke_token": secrets.invoke_token,
        "redis_url": None
        if queue is None
        else queue.url(
            _host_of(settings.AGENT_REDIS_URL, settings.AGENT_REDIS_HOST, network, host),
            secrets.redis_password,
        ),
        "key_prefix": f"agent.{key}.",
        "database_url": None
        if memory is None
        else memory.url(
            _host_of(settings.AGENT_DATABASE_URL, settings.AGENT_DATABASE_HOST, network, host),
            secrets.database_password,
        ),
        "database_schema": None if memory is None else memory.schema,
        "egress_url": f"http://{_shown(host)}:{settings.EGRESS_PORT}/egress" if live else None,
        "egress_token": secrets.egress_token if live else None,
        "models": _models(spec)
        if live and spec is not None
        else {"chat": None, "embeddings": None},
    }


def _host_of(url: str, configured: str, network: Network, host: str) -> str:
    """Return where an instance reaches the server at ``url``, which is how the platform does."""
    own = urlsplit(url).hostname or ""
    if own in _THIS_HOST:
        # The configured host is one on the agents' network, which no sandbox reaches.
        return configured if configured and network == "agents" else host
    return configured or own


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _models(spec: AgentSpec) -> dict[str, Any]:
    bound = {binding.tool: binding.parameters for binding in spec.tools}
    chat = _name(bound.get("chat-model"))
    embeddings = _name(bound.get("embeddings-api"))
    dimensions = bound.get("embeddings-api", {}).get("dimensions")
    usable = type(dimensions) is int and 1 <= dimensions <= _MOST_DIMENSIONS
    return {
        "chat": {"model": chat} if chat else None,
        "embeddings": {"model": embeddings, "dimensions": dimensions}
        if embeddings and usable
        else None,
    }


def _name(parameters: Mapping[str, Any] | None) -> str | None:
    """Return the model's name, where the tool is connected."""
    model = (parameters or {}).get("model")
    return model[:_MODEL_LENGTH] if isinstance(model, str) and model else None
