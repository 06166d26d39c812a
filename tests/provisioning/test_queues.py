"""The agents' queues, on a real Redis."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis

from provisioning.stores import queues
from provisioning.stores.errors import PermanentStoreError, TransientStoreError
from provisioning.stores.queues import QueueStore
from tests.provisioning.stores import (
    HOST,
    PASSWORD,
    as_admin,
    as_agent,
    new_key,
    side_by_side,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings


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
