"""The embedded servers of `make run` and of the tests: a real PostgreSQL and a real Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from config.embedded_folder import DataFolder
from config.embedded_postgres import (
    AGENTS_ADMIN_ROLE,
    MEMORY_DATABASE,
    PLATFORM_DATABASE,
    PLATFORM_ROLE,
    EmbeddedPostgres,
)
from config.embedded_process import StartupError
from config.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DataFolder", "EmbeddedServers", "ServiceUrls", "StartupError"]


@dataclass(frozen=True, kw_only=True)
class ServiceUrls:
    """Where the servers answer, as the settings read it from the environment."""

    database: str
    agent_database: str
    redis: str
    agent_redis: str

    def environment(self) -> dict[str, str]:
        """Return the addresses under the names of the settings."""
        return {
            "DATABASE_URL": self.database,
            "AGENT_DATABASE_URL": self.agent_database,
            "REDIS_URL": self.redis,
            "AGENT_REDIS_URL": self.agent_redis,
        }


class EmbeddedServers:
    """PostgreSQL and Redis with their data in `folder`, on loopback and on `addresses`.

    `addresses` are further addresses of this machine: the gateways of the agents' networks.
    """

    def __init__(
        self,
        folder: DataFolder,
        *,
        addresses: Sequence[str] = (),
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder, addresses=addresses, settings=postgres_settings)
        self.redis = EmbeddedRedis(folder, addresses=addresses)

    @property
    def urls(self) -> ServiceUrls:
        """Where the started servers answer."""
        return ServiceUrls(
            database=self.postgres.url(PLATFORM_ROLE, PLATFORM_DATABASE),
            agent_database=self.postgres.url(AGENTS_ADMIN_ROLE, MEMORY_DATABASE),
            redis=self.redis.url,
            agent_redis=self.redis.url,
        )

    def listen_on(self, addresses: Sequence[str]) -> None:
        """Restart both, to listen on loopback and on `addresses`. Their ports stay if free."""
        self.stop()
        self.postgres.listen_on(addresses)
        self.redis.listen_on(addresses)
        self.start()

    def begin(self) -> None:
        """Start both processes; `wait_ready` must follow. Raises StartupError."""
        self.redis.begin()
        self.postgres.begin()

    def wait_ready(self) -> None:
        """Return when both answer. Raises StartupError."""
        self.redis.wait_ready()
        self.postgres.wait_ready()

    def start(self) -> ServiceUrls:
        """Start both side by side; return when both answer.

        Raises StartupError, with neither of them left running.
        """
        try:
            self.begin()
            self.wait_ready()
        except BaseException:
            self.stop(hurry=True)
            raise
        return self.urls

    def stop(self, *, hurry: bool = False) -> None:
        """Stop both. Stopped is success."""
        self.redis.stop(hurry=hurry)
        self.postgres.stop(hurry=hurry)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
