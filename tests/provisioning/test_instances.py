"""What an instance is told at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from provisioning.drivers import get_driver
from provisioning.drivers.process import ProcessDriver
from provisioning.instances import credentials_document
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore
from registry.services.agents import AgentSecrets
from tests.builders import make_spec

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

KEY = "some-agent-0a1b2c3d"
SECRETS = AgentSecrets(
    invoke_token="invoke", egress_token="egress", redis_password="r/1", database_password="d/1"
)
TOOLS = [
    {
        "tool": "embeddings-api",
        "parameters": {"base_url": "http://models/v1", "model": "small", "dimensions": 384},
        "secret": "models-key",
    },
    {"tool": "chat-model", "parameters": {"base_url": "http://models/v1", "model": "talker"}},
]


class Elsewhere(ProcessDriver):
    """Instances that see the host at another address on each network."""

    def services_host(self, network: str) -> str:
        return {"agents": "10.9.0.1", "sandbox": "fd00::1"}[network]


@pytest.fixture
def elsewhere(tmp_path: Any) -> Elsewhere:
    return Elsewhere("test", tmp_path)


def document(driver: ProcessDriver, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "key": KEY,
        "driver": driver,
        "network": "agents",
        "queue": QueueStore(KEY),
        "memory": MemoryStore(KEY),
        "secrets": SECRETS,
        "spec": make_spec(tools=TOOLS),
    }
    return credentials_document(**{**given, **changes})


def test_it_has_the_shape_that_the_agents_program_reads(
    elsewhere: Elsewhere, settings: Settings
) -> None:
    settings.AGENT_DATABASE_HOST = settings.AGENT_REDIS_HOST = ""
    made = document(elsewhere)
    redis, database = urlsplit(made.pop("redis_url")), urlsplit(made.pop("database_url"))
    assert (redis.hostname, redis.password) == ("10.9.0.1", "r%2F1")
    assert (database.hostname, database.password) == ("10.9.0.1", "d%2F1")
    assert made == {
        "agent_key": KEY,
        "invoke_token": "invoke",
        "key_prefix": f"agent.{KEY}.",
        "database_schema": MemoryStore(KEY).schema,
        "egress_url": f"http://10.9.0.1:{settings.EGRESS_PORT}/egress",
        "egress_token": "egress",
        "models": {
            "chat": {"model": "talker"},
            "embeddings": {"model": "small", "dimensions": 384},
        },
    }


def test_nothing_leaves_a_sandbox(elsewhere: Elsewhere, settings: Settings) -> None:
    # Those are addresses on the agents' network, which no sandbox reaches.
    settings.AGENT_DATABASE_HOST = settings.AGENT_REDIS_HOST = "10.9.0.1"
    made = document(elsewhere, network="sandbox")
    assert made["egress_url"] is None
    assert made["egress_token"] is None
    assert made["models"] == {"chat": None, "embeddings": None}
    assert urlsplit(made["redis_url"]).hostname == "fd00::1"
    assert urlsplit(made["database_url"]).hostname == "fd00::1"


def test_servers_elsewhere_are_reached_where_they_are(
    elsewhere: Elsewhere, settings: Settings
) -> None:
    settings.AGENT_DATABASE_URL = "postgresql://u:p@db.internal:6432/memory"
    settings.AGENT_REDIS_URL = "redis://u:p@redis.internal:6380/2"
    settings.AGENT_DATABASE_HOST = settings.AGENT_REDIS_HOST = ""
    made = document(elsewhere)
    assert urlsplit(made["database_url"]).netloc.endswith("@db.internal:6432")
    assert urlsplit(made["redis_url"]).netloc.endswith("@redis.internal:6380")
    settings.AGENT_DATABASE_HOST, settings.AGENT_REDIS_HOST = "10.1.1.1", "10.1.1.2"
    made = document(elsewhere)
    assert urlsplit(made["database_url"]).hostname == "10.1.1.1"
    assert urlsplit(made["redis_url"]).hostname == "10.1.1.2"


def test_what_an_agent_does_not_use_is_null(elsewhere: Elsewhere) -> None:
    made = document(elsewhere, queue=None, memory=None, spec=None)
    assert (made["redis_url"], made["database_url"], made["database_schema"]) == (None, None, None)
    assert made["models"] == {"chat": None, "embeddings": None}


@pytest.mark.parametrize(
    "parameters",
    [{}, {"model": "small"}, {"model": "", "dimensions": 3}, {"model": "small", "dimensions": 0}],
)
def test_an_embeddings_tool_that_is_not_connected_is_null(
    elsewhere: Elsewhere, parameters: dict[str, Any]
) -> None:
    spec = make_spec(tools=[{"tool": "embeddings-api", "parameters": parameters}])
    assert document(elsewhere, spec=spec)["models"] == {"chat": None, "embeddings": None}


def test_addresses_and_secrets_of_third_parties_are_not_in_it(elsewhere: Elsewhere) -> None:
    assert "http://models" not in str(document(elsewhere))
    assert "models-key" not in str(document(elsewhere))


def test_processes_reach_the_platform_on_loopback() -> None:
    made = document(get_driver("process"))  # type: ignore[arg-type]  # it is the process driver
    assert urlsplit(made["egress_url"]).hostname == "127.0.0.1"
