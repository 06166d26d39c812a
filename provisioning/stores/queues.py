"""The agent's queue: a Redis user that sees only its own keys, and three streams."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from provisioning.names import checked_installation, checked_key
from provisioning.stores.errors import PermanentStoreError, TransientStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS: Final = ("commands", "events", "results")
GROUP: Final = "agent"

_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 15
_DEFAULT_PORT: Final = 6379
_DELETE_BATCH: Final = 500

# What the agent's program uses for its queue and its short-term memory, and no more: nothing that
# sees beyond the agent's keys (SCAN, KEYS, INFO, MONITOR, scripts, channels).
_COMMANDS: Final = (
    "auth hello ping select multi exec discard "
    "get set mget del unlink exists expire ttl incr "
    "zadd zrem zcard zscore zrange zremrangebyscore "
    "xadd xlen xrange xreadgroup xack xclaim xautoclaim xpending xinfo|consumers "
    "xgroup|create xgroup|delconsumer"
)


class QueueStore:
    """The queue of the agent with this key."""

    def __init__(self, key: str) -> None:
        try:
            self.key = checked_key(key)
            self.user = f"{_user_prefix()}{key}"
        except ValueError as error:
            raise PermanentStoreError(str(error)) from error
        self.prefix = f"agent.{key}."

    def ensure(self, password: str) -> bool:
        """Make the user and the streams, or bring them in order; return whether it was new.

        Raises:
            TransientStoreError: the server does not answer.
            PermanentStoreError: the platform may not make users there.

        """
        # Only the hash travels, so that no log of the server's can show the password.
        digest = hashlib.sha256(password.encode()).hexdigest()
        with _server("make the agent's queue") as server:
            new = _ask(server, "ACL GETUSER", self.user) is None
            # One command, so that there is no moment at which a running agent has no rights.
            _ask(
                server,
                "ACL SETUSER",
                self.user,
                *("reset", "on", f"#{digest}", "resetchannels", f"~{self.prefix}*", "-@all"),
                *(f"+{command}" for command in _COMMANDS.split()),
            )
            for stream in STREAMS:
                _ensure_stream(server, f"{self.prefix}{stream}")
            _save_users(server)
        return new

    def exists(self) -> bool:
        """Tell whether both the user and its streams are there."""
        with _server("look for the agent's queue") as server:
            if _ask(server, "ACL GETUSER", self.user) is None:
                return False
            return server.exists(*(f"{self.prefix}{stream}" for stream in STREAMS)) == len(STREAMS)

    def remove(self) -> None:
        """Remove the user and every key of the agent; success if there is nothing."""
        with _server("remove the agent's queue") as server:
            if _ask(server, "ACL GETUSER", self.user) is not None:
                # From here on a running agent writes nothing more. The name goes last: while it
                # is there, the rest is known to be there.
                _ask(server, "ACL SETUSER", self.user, "reset")
            batch: list[bytes] = []
            for key in server.scan_iter(match=f"{self.prefix}*", count=1000):
                batch.append(key)
                if len(batch) >= _DELETE_BATCH:
                    server.unlink(*batch)
                    batch.clear()
            if batch:
                server.unlink(*batch)
            _ask(server, "ACL DELUSER", self.user)
            _save_users(server)

    def url(self, host: str, password: str) -> str:
        """Return the address with which the agent signs in; ``host`` is as the agent sees it."""
        parts = urlsplit(settings.AGENT_REDIS_URL)
        shown = f"[{host}]" if ":" in host else host
        sign_in = f"{quote(self.user, safe='')}:{quote(password, safe='')}"
        place = f"{sign_in}@{shown}:{parts.port or _DEFAULT_PORT}"
        return urlunsplit((parts.scheme, place, parts.path or "/0", "", ""))


def list_owned() -> list[str]:
    """Return the keys of the agents that have a queue in this installation, sorted."""
    prefix = _user_prefix()
    with _server("list the agents' queues") as server:
        users = [_text(user) for user in _ask(server, "ACL USERS")]
    return sorted(user.removeprefix(prefix) for user in users if user.startswith(prefix))


def _user_prefix() -> str:
    return f"af-{checked_installation(settings.INSTALLATION_ID)}-"


def _ensure_stream(server: redis.Redis, stream: str) -> None:
    try:
        server.xgroup_create(stream, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def _save_users(server: redis.Redis) -> None:
    """Have the server keep its users, where it has a file for them.

    Without one its operator keeps them in another way, or the reconciler makes them again.
    """
    try:
        _ask(server, "ACL SAVE")
    except redis.ResponseError as error:
        if "not configured to use an ACL file" not in str(error):
            raise


@contextmanager
def _server(doing: str) -> Iterator[redis.Redis]:
    client: redis.Redis = redis.Redis.from_url(
        settings.AGENT_REDIS_URL,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        # Tries are counted by the step, which knows how often.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield client
    except (
        redis.AuthenticationError,
        redis.exceptions.AuthorizationError,
        redis.exceptions.NoPermissionError,
    ) as error:
        raise PermanentStoreError(
            f"Could not {doing}: the Redis server refuses the platform's user ({error}). Give the "
            "user of AGENT_REDIS_URL the right to manage users (+@all ~* &*)."
        ) from error
    except (
        redis.ConnectionError,
        redis.TimeoutError,
        redis.exceptions.ReadOnlyError,
        redis.exceptions.OutOfMemoryError,
        OSError,
    ) as error:
        raise TransientStoreError(
            f"Could not {doing}: the Redis server does not answer or is full. Check that it runs "
            "and can be reached (AGENT_REDIS_URL)."
        ) from error
    except redis.ResponseError as error:
        raise PermanentStoreError(
            f"Could not {doing}: the Redis server says: {error}. It has to be Redis 7 or Valkey."
        ) from error
    finally:
        client.close()


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _ask(server: redis.Redis, *words: str) -> Any:
    return server.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py leaves it open
