"""Letting only one worker at a time do something."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from django.db import connection

from provisioning.drivers.base import TransientDriverError

_CLEARING_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.1


@contextmanager
def one_at_a_time(name: str) -> Iterator[bool]:
    """Yield whether this caller has the turn; it ends with the block, or with the worker's life.

    Holds an advisory lock of the database session, so it needs no transaction.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        mine = bool(cursor.fetchone()[0])
    try:
        yield mine
    finally:
        if mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


@contextmanager
def clearing(agent_id: UUID) -> Iterator[bool]:
    """Yield whether this caller may remove what is named after the agent alone.

    Who has the turn looks whether a deployment holds the agent, then removes without holding any
    row: a deployment that begins meanwhile waits before its first step (``wait_until_cleared``).
    """
    with one_at_a_time(_clearing(agent_id)) as mine:
        yield mine


def wait_until_cleared(agent_id: UUID) -> None:
    """Wait for whoever removes what is named after the agent; nobody begins to from now on.

    Call it for an agent that a deployment's committed row holds.

    Raises:
        TransientDriverError: it takes long.

    """
    deadline = time.monotonic() + _CLEARING_SECONDS
    while True:
        with one_at_a_time(_clearing(agent_id)) as free:
            if free:
                return
        if time.monotonic() > deadline:
            raise TransientDriverError(
                "What an earlier deployment left is still being removed. Try again."
            )
        time.sleep(_LOOK_SECONDS)


def _clearing(agent_id: UUID) -> str:
    return f"provisioning.clear.{agent_id}"
