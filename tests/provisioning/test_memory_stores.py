"""The agents' memory stores, on a real PostgreSQL."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from provisioning.stores import memory
from provisioning.stores.errors import PermanentStoreError, TransientStoreError
from provisioning.stores.memory import MemoryStore
from tests.provisioning.stores import (
    HOST,
    PASSWORD,
    connect,
    connect_admin,
    new_key,
    side_by_side,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    made = MemoryStore(new_key())
    yield made
    made.remove()


@pytest.fixture
def other_store() -> Iterator[MemoryStore]:
    made = MemoryStore(new_key())
    made.ensure("other")
    yield made
    made.remove()


def test_a_memory_store_is_made_once_and_found_again(store: MemoryStore) -> None:
    assert not store.exists()
    assert store.ensure(PASSWORD)
    assert store.exists()
    assert not store.ensure(PASSWORD)
    assert store.key in memory.list_owned()


def test_an_agent_works_in_its_own_schema(store: MemoryStore) -> None:
    store.ensure(PASSWORD)
    with connect(store) as agent:
        agent.execute("CREATE TABLE items (id int PRIMARY KEY, body text, place vector(3))")
        agent.execute("INSERT INTO items VALUES (1, 'x', '[1,2,3]')")
        row = agent.execute("SELECT body, place <-> '[1,2,3]' FROM items").fetchone()
        assert row == ("x", 0.0)
        table = agent.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'items'")
        assert table.fetchone() == (store.schema,)
        assert agent.execute("SHOW statement_timeout").fetchone() == ("30s",)


def test_ensure_keeps_what_is_remembered(store: MemoryStore) -> None:
    store.ensure(PASSWORD)
    with connect(store) as agent:
        agent.execute("CREATE TABLE items (id int)")
        store.ensure(PASSWORD)
        assert agent.execute("SELECT count(*) FROM items").fetchone() == (0,)


def test_a_role_has_no_rights_but_its_own_schema(
    store: MemoryStore, other_store: MemoryStore
) -> None:
    store.ensure(PASSWORD)
    with connect(other_store, "other") as other:
        other.execute("CREATE TABLE items (body text)")
    name = sql.Identifier(other_store.schema)
    forbidden: list[sql.SQL | sql.Composed] = [
        sql.SQL("SELECT * FROM {}.items").format(name),
        sql.SQL("CREATE TABLE {}.mine (id int)").format(name),
        sql.SQL("DROP SCHEMA {} CASCADE").format(name),
        sql.SQL("SET ROLE {}").format(name),
        sql.SQL("ALTER ROLE {} PASSWORD 'x'").format(name),
        sql.SQL("CREATE SCHEMA mine"),
        sql.SQL("CREATE TABLE public.mine (id int)"),
        sql.SQL("CREATE TEMP TABLE mine (id int)"),
        sql.SQL("CREATE ROLE mine"),
        sql.SQL("CREATE DATABASE mine"),
        sql.SQL("SELECT pg_read_file('/etc/passwd')"),
        sql.SQL("COPY (SELECT 1) TO PROGRAM 'true'"),
        sql.SQL("SELECT * FROM pg_authid"),
        sql.SQL("ALTER ROLE CURRENT_USER SUPERUSER"),
        sql.SQL("ALTER ROLE CURRENT_USER CONNECTION LIMIT -1"),
    ]
    with connect(store) as agent:
        for statement in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                agent.execute(statement)


def test_an_agent_cannot_connect_to_the_platforms_database(store: MemoryStore) -> None:
    store.ensure(PASSWORD)
    own = urlsplit(store.url(HOST, PASSWORD))
    for database in ("agent_factory", "postgres", "template1"):
        url = own._replace(path=f"/{database}").geturl()
        with pytest.raises(psycopg.OperationalError, match="denied"):
            psycopg.connect(url, connect_timeout=5)


def test_a_role_holds_a_limited_number_of_connections(store: MemoryStore) -> None:
    store.ensure(PASSWORD)
    held = [connect(store) for _ in range(memory.CONNECTION_LIMIT)]
    try:
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            connect(store)
    finally:
        for connection in held:
            connection.close()


def test_only_the_newest_password_opens_a_memory_store(store: MemoryStore) -> None:
    store.ensure("first")
    store.ensure(PASSWORD)
    connect(store).close()
    for wrong in ("first", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(store, wrong)


def test_removing_a_memory_store_leaves_nothing_and_ends_its_sessions(
    store: MemoryStore, other_store: MemoryStore
) -> None:
    store.ensure(PASSWORD)
    agent = connect(store)
    agent.execute("CREATE TABLE items (id int)")
    agent.execute("BEGIN")
    agent.execute("SELECT * FROM items")
    store.remove()
    with pytest.raises(psycopg.OperationalError), agent:
        agent.execute("SELECT 1")
    assert not store.exists()
    assert store.key not in memory.list_owned()
    assert other_store.exists()
    store.remove()


def test_half_made_memory_stores_are_mended_and_removed(store: MemoryStore) -> None:
    name = sql.Identifier(store.role)
    store.ensure(PASSWORD)
    with connect_admin() as admin:
        admin.execute(sql.SQL("DROP SCHEMA {}").format(name))
        assert not store.exists()
        assert not store.ensure(PASSWORD)
        assert store.exists()
        store.remove()
        admin.execute(sql.SQL("CREATE ROLE {}").format(name))
        store.remove()
        admin.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        assert store.key in memory.list_owned()
        with pytest.raises(PermanentStoreError, match="belongs to another role"):
            store.ensure(PASSWORD)
        store.remove()
    assert store.key not in memory.list_owned()


def test_the_servers_statements_hold_no_password(store: MemoryStore) -> None:
    store.ensure("a-canary-password")
    with connect_admin() as watcher:
        lock = watcher.execute("SELECT pg_advisory_lock(1634104943)")
        assert lock is not None
        worker = threading.Thread(target=lambda: store.ensure("a-canary-password"))
        worker.start()
        watcher.execute("SELECT pg_advisory_unlock(1634104943)")
        worker.join()
        with suppress(psycopg.errors.InsufficientPrivilege):
            seen = watcher.execute("SELECT query FROM pg_stat_activity").fetchall()
            assert "a-canary-password" not in str(seen)


def test_memory_stores_made_side_by_side_are_one(store: MemoryStore) -> None:
    failures = side_by_side(lambda: store.ensure(PASSWORD))
    assert failures == []
    assert store.exists()


def test_a_postgresql_that_does_not_answer_may_answer_later(
    store: MemoryStore, settings: Settings
) -> None:
    right = settings.AGENT_DATABASE_URL
    settings.AGENT_DATABASE_URL = "postgresql://u:p@127.0.0.1:1/none"
    for call in (lambda: store.ensure("x"), store.exists, store.remove, memory.list_owned):
        with pytest.raises(TransientStoreError, match="AGENT_DATABASE_URL"):
            call()
    settings.AGENT_DATABASE_URL = right


def test_a_postgresql_role_without_the_right_is_told_which(
    store: MemoryStore, other_store: MemoryStore, settings: Settings
) -> None:
    right = settings.AGENT_DATABASE_URL
    settings.AGENT_DATABASE_URL = other_store.url(HOST, "other")
    with pytest.raises(PermanentStoreError, match="needs CREATEROLE"):
        store.ensure("x")
    settings.AGENT_DATABASE_URL = right


def test_the_address_of_a_memory_store_keeps_the_servers_options(
    store: MemoryStore, settings: Settings
) -> None:
    right = settings.AGENT_DATABASE_URL
    settings.AGENT_DATABASE_URL = "postgres://u:p@db.internal/memory?sslmode=require"
    url = urlsplit(store.url("fd00::1", "a/b"))
    settings.AGENT_DATABASE_URL = right
    assert (url.scheme, url.hostname, url.port, url.path, url.query) == (
        "postgresql",
        "fd00::1",
        5432,
        "/memory",
        "sslmode=require",
    )
    assert url.password == "a%2Fb"
