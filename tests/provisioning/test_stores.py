"""The agents' queues and memory stores, on real servers."""

from __future__ import annotations

import secrets
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from django.conf import settings
from psycopg import sql

from provisioning.names import checked_installation, checked_key
from provisioning.stores import memory, queues
from provisioning.stores.errors import PermanentStoreError, TransientStoreError
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

HOST = "127.0.0.1"
PASSWORD = "p@ss/word:%'\"\\ with ümlaut"


def new_key() -> str:
    return f"store-test-{secrets.token_hex(4)}"


@pytest.fixture
def queue() -> Iterator[QueueStore]:
    store = QueueStore(new_key())
    yield store
    store.remove()


@pytest.fixture
def other_queue() -> Iterator[QueueStore]:
    store = QueueStore(new_key())
    store.ensure("other")
    yield store
    store.remove()


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


def as_agent(queue: QueueStore, password: str = PASSWORD) -> redis.Redis:
    return redis.Redis.from_url(queue.url(HOST, password), decode_responses=True)


def as_admin() -> redis.Redis:
    return redis.Redis.from_url(settings.AGENT_REDIS_URL, decode_responses=True)


def connect(store: MemoryStore, password: str = PASSWORD) -> psycopg.Connection:
    return psycopg.connect(store.url(HOST, password), autocommit=True)


def connect_admin() -> psycopg.Connection:
    return psycopg.connect(settings.AGENT_DATABASE_URL, autocommit=True)


# --- Names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "-a", "a-", "a*", "a.b", "A", "a_b", "a b", "ä", "a" * 50])
def test_a_key_that_could_mean_more_than_one_agent_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a name"):
        checked_key(key)
    with pytest.raises(PermanentStoreError):
        QueueStore(key)
    with pytest.raises(PermanentStoreError):
        MemoryStore(key)


@pytest.mark.parametrize("key", ["a", "a-b", "a" * 49, "0-9"])
def test_a_key_is_returned_as_it_is(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize("installation", ["", "a_b", "a-b", "A", "a" * 11])
def test_an_installation_whose_prefix_could_be_anothers_is_refused(installation: str) -> None:
    with pytest.raises(ValueError, match="INSTALLATION_ID"):
        checked_installation(installation)


def test_the_longest_names_fit_in_an_identifier_of_postgresql() -> None:
    assert len(MemoryStore("a" * 49).role.replace(settings.INSTALLATION_ID, "i" * 10)) <= 63


# --- Queues -----------------------------------------------------------------------------------


def test_a_queue_is_made_once_and_found_again(queue: QueueStore) -> None:
    assert not queue.exists()
    assert queue.ensure(PASSWORD)
    assert queue.exists()
    assert not queue.ensure(PASSWORD)
    assert queue.key in queues.list_owned()


def test_a_queue_has_three_streams_with_a_group(queue: QueueStore) -> None:
    queue.ensure(PASSWORD)
    with closing(as_admin()) as admin:
        groups = {
            stream: [group["name"] for group in admin.xinfo_groups(f"{queue.prefix}{stream}")]
            for stream in ("commands", "events", "results")
        }
    assert groups == {"commands": ["agent"], "events": ["agent"], "results": ["agent"]}


def test_ensure_keeps_what_is_in_the_queue(queue: QueueStore) -> None:
    queue.ensure(PASSWORD)
    with closing(as_admin()) as admin:
        admin.xadd(f"{queue.prefix}commands", {"capability": "x"})
        queue.ensure(PASSWORD)
        assert admin.xlen(f"{queue.prefix}commands") == 1


def test_an_agent_works_with_its_own_queue(queue: QueueStore) -> None:
    queue.ensure(PASSWORD)
    commands, results = f"{queue.prefix}commands", f"{queue.prefix}results"
    with closing(as_admin()) as admin:
        admin.xadd(commands, {"capability": "x"})
    with closing(as_agent(queue)) as agent:
        read: Any = agent.xreadgroup("agent", "one", {commands: ">"}, count=1)
        ((_, ((entry, fields),)),) = read.items() if isinstance(read, dict) else read
        assert fields == {"capability": "x"}
        with agent.pipeline(transaction=True) as together:
            together.xadd(results, {"output": "{}"}, maxlen=100)
            together.xack(commands, "agent", entry)
            assert together.execute()[1] == 1
        agent.xclaim(commands, "agent", "one", 0, [entry], justid=True)
        agent.xautoclaim(commands, "agent", "one", 0, count=1)
        agent.xpending_range(commands, "agent", "-", "+", 1)
        agent.xinfo_consumers(commands, "agent")
        agent.xgroup_delconsumer(commands, "agent", "one")
        agent.set(f"{queue.prefix}memory.x", "1", ex=60)
        assert agent.get(f"{queue.prefix}memory.x") == "1"


@pytest.mark.parametrize(
    "words",
    [
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("ACL", "WHOAMI"),
        ("INFO",),
        ("MONITOR",),
        ("CLIENT", "LIST"),
        ("EVAL", "return 1", "0"),
        ("PUBLISH", "channel", "x"),
        ("SUBSCRIBE", "channel"),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("MODULE", "LIST"),
        ("SHUTDOWN",),
    ],
)
def test_an_agent_may_do_nothing_that_sees_beyond_it(
    queue: QueueStore, words: tuple[str, ...]
) -> None:
    queue.ensure(PASSWORD)
    with closing(as_agent(queue)) as agent:
        assert agent.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            agent.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py leaves it open


def test_an_agent_reads_and_writes_no_other_keys(
    queue: QueueStore, other_queue: QueueStore
) -> None:
    queue.ensure(PASSWORD)
    with closing(as_admin()) as admin:
        admin.set("factory-queue.secret", "x")
    with closing(as_agent(queue)) as agent:
        for key in (f"{other_queue.prefix}commands", "factory-queue.secret", "agent.", "celery"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                agent.xadd(key, {"a": "b"})
            with pytest.raises(redis.exceptions.NoPermissionError):
                agent.get(key)
            with pytest.raises(redis.exceptions.NoPermissionError):
                agent.unlink(key)


def test_only_the_newest_password_opens_a_queue(queue: QueueStore) -> None:
    queue.ensure("first")
    queue.ensure(PASSWORD)
    with closing(as_agent(queue)) as agent:
        assert agent.ping()
    for wrong in ("first", "wrong"):
        with closing(as_agent(queue, wrong)) as agent, pytest.raises(redis.AuthenticationError):
            agent.ping()


def test_removing_a_queue_leaves_nothing_and_ends_its_sessions(
    queue: QueueStore, other_queue: QueueStore
) -> None:
    queue.ensure(PASSWORD)
    with closing(as_agent(queue)) as agent, closing(as_admin()) as admin:
        with agent.pipeline(transaction=False) as many:
            for number in range(1200):
                many.set(f"{queue.prefix}memory.{number}", "x")
            many.execute()
        queue.remove()
        assert list(admin.scan_iter(match=f"{queue.prefix}*")) == []
        with pytest.raises((redis.ConnectionError, redis.exceptions.NoPermissionError)):
            agent.get(f"{queue.prefix}memory.1")
    assert not queue.exists()
    assert queue.key not in queues.list_owned()
    assert other_queue.exists()
    queue.remove()


def test_a_half_made_queue_is_mended_and_removed(queue: QueueStore) -> None:
    queue.ensure(PASSWORD)
    with closing(as_admin()) as admin:
        admin.delete(f"{queue.prefix}results")
        assert not queue.exists()
        assert not queue.ensure(PASSWORD)
        assert queue.exists()
        admin.acl_deluser(queue.user)
        queue.remove()
        assert list(admin.scan_iter(match=f"{queue.prefix}*")) == []


def test_users_are_kept_over_a_restart_of_the_server(queue: QueueStore) -> None:
    queue.ensure(PASSWORD)
    with closing(as_admin()) as admin:
        admin.acl_load()
        assert queue.user in admin.acl_users()
        queue.remove()
        admin.acl_load()
        assert queue.user not in admin.acl_users()


def test_queues_made_side_by_side_are_one(queue: QueueStore) -> None:
    failures = side_by_side(lambda: queue.ensure(PASSWORD))
    assert failures == []
    assert queue.exists()


def test_a_redis_that_does_not_answer_may_answer_later(
    queue: QueueStore, settings: Settings
) -> None:
    right = settings.AGENT_REDIS_URL
    settings.AGENT_REDIS_URL = "redis://default:x@127.0.0.1:1/0"
    for call in (lambda: queue.ensure("x"), queue.exists, queue.remove, queues.list_owned):
        with pytest.raises(TransientStoreError, match="AGENT_REDIS_URL"):
            call()
    settings.AGENT_REDIS_URL = right


def test_a_redis_user_without_the_right_is_told_which(
    queue: QueueStore, other_queue: QueueStore, settings: Settings
) -> None:
    right = settings.AGENT_REDIS_URL
    settings.AGENT_REDIS_URL = right.replace(urlsplit(right).password or "", "wrong")
    with pytest.raises(PermanentStoreError, match="right to manage users"):
        queue.ensure("x")
    settings.AGENT_REDIS_URL = other_queue.url(HOST, "other").replace(
        ":1/", f":{urlsplit(right).port}/"
    )
    with pytest.raises(PermanentStoreError, match="right to manage users"):
        queue.ensure("x")
    settings.AGENT_REDIS_URL = right


def test_an_ipv6_address_of_a_queue_is_bracketed(queue: QueueStore, settings: Settings) -> None:
    settings.AGENT_REDIS_URL = "rediss://default:x@redis.internal/3"
    url = urlsplit(queue.url("fd00::1", "a:b"))
    assert (url.scheme, url.hostname, url.port, url.path) == ("rediss", "fd00::1", 6379, "/3")
    assert url.password == "a%3Ab"


# --- Memory stores ----------------------------------------------------------------------------


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


def side_by_side(call: object) -> list[Exception]:
    failures: list[Exception] = []

    def run() -> None:
        try:
            call()  # type: ignore[operator]  # any of the stores' calls
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
