"""Ways into the agents' queues and memory stores."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

import psycopg
import redis
from django.conf import settings

from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
PASSWORD = "p@ss/word:%'\"\\ with ümlaut"


def new_key() -> str:
    return f"store-test-{secrets.token_hex(4)}"


def as_agent(queue: QueueStore, password: str = PASSWORD) -> redis.Redis:
    return redis.Redis.from_url(queue.url(HOST, password), decode_responses=True)


def as_admin() -> redis.Redis:
    return redis.Redis.from_url(settings.AGENT_REDIS_URL, decode_responses=True)


def connect(store: MemoryStore, password: str = PASSWORD) -> psycopg.Connection:
    return psycopg.connect(store.url(HOST, password), autocommit=True)


def connect_admin() -> psycopg.Connection:
    return psycopg.connect(settings.AGENT_DATABASE_URL, autocommit=True)


def side_by_side(call: Callable[[], object]) -> list[Exception]:
    failures: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
