"""Real servers of the test run, with users and roles such as the platform gives to agents."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import pytest
import redis

from tests.agent_runtime.projects import REDIS_COMMANDS, Backing, make_role, new_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.embedded import EmbeddedServers


@pytest.fixture
def admin_redis(servers: EmbeddedServers) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(servers.urls.redis) as client:
        yield client


@pytest.fixture
def backing(servers: EmbeddedServers, admin_redis: redis.Redis) -> Iterator[Backing]:
    """One agent's user, keys, role and schema, with the streams and the group made."""
    name, password = new_name(), "a-pass/word"
    prefix = f"agent.{name}."
    admin_redis.acl_setuser(
        name,
        enabled=True,
        passwords=[f"+{password}"],
        keys=[f"{prefix}*"],
        commands=["-@all", *(f"+{command}" for command in REDIS_COMMANDS)],
    )
    admin_redis.xgroup_create(f"{prefix}commands", "agent", id="0", mkstream=True)
    with servers.postgres.connect("agent_memory") as connection:
        make_role(connection, name, password)
        database = connection.info.dbname
    where = urlsplit(servers.urls.redis)
    store = urlsplit(servers.urls.agent_database)
    signed = f"{name}:{quote(password, safe='')}"
    yield Backing(
        redis_url=f"redis://{signed}@{where.hostname}:{where.port}/0",
        key_prefix=prefix,
        database_url=f"postgresql://{signed}@{store.hostname}:{store.port}/{database}",
        schema=name,
    )
    admin_redis.acl_deluser(name)
    for key in admin_redis.scan_iter(f"{prefix}*"):
        admin_redis.delete(key)
    with servers.postgres.connect("agent_memory") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name]
        )
        connection.execute(f"DROP SCHEMA {name} CASCADE")
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")
