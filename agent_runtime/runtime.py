"""Everything one agent process holds, in one place."""

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from agent_runtime.credentials import Credentials
from agent_runtime.errors import Code, Problem
from agent_runtime.limits import Slots, TokenBucket
from agent_runtime.metrics import Metrics
from agent_runtime.redis_client import RedisAddress, RedisClient
from agent_runtime.settings import Mode, Settings
from agent_runtime.spec import Spec

if TYPE_CHECKING:
    from agent_runtime.egress import Egress
    from agent_runtime.memory.contexts import ContextMemory
    from agent_runtime.memory.postgres import Database


@dataclass(slots=True)
class Runtime:
    """The agent's specification and state; its connections are opened when first needed."""

    settings: Settings
    spec: Spec
    metrics: Metrics = field(default_factory=Metrics)
    started_at: float = field(default_factory=monotonic)
    credentials: Credentials | None = None
    redis: RedisClient | None = None
    # What the last call to a model said, for the health report: none yet, or why it failed.
    model_failures: dict[str, str | None] = field(default_factory=dict)
    queue_failure: str | None = "It has not been read yet."
    database: "Database | None" = None
    slots: Slots = field(init=False)
    bucket: TokenBucket = field(init=False)
    _memory: "ContextMemory | None" = None
    _egress: "Egress | None" = None

    def __post_init__(self) -> None:
        """Set the limits that the specification gives."""
        self.slots = Slots(self.spec.max_concurrency)
        self.bucket = TokenBucket(self.spec.rate_limit_per_minute)

    def connect(self, credentials: Credentials) -> None:
        """Take the credentials; nothing is opened yet."""
        self.credentials = credentials
        if credentials.redis_url is not None:
            self.redis = RedisClient(RedisAddress.from_url(credentials.redis_url))
        if self.spec.memory.uses_postgresql and credentials.database_url is not None:
            from agent_runtime.memory.postgres import Database

            self.database = Database(
                credentials.database_url,
                credentials.database_schema,
                connections=min(self.spec.max_concurrency, 4),
            )

    @property
    def ready_for_calls(self) -> bool:
        """Whether the credentials are here; before that nobody can be signed in."""
        return self.credentials is not None

    @property
    def offline(self) -> bool:
        """Whether nothing may leave this process for a model or another service."""
        return self.settings.mode is Mode.SANDBOX

    def memory(self) -> "ContextMemory":
        """Return the memory that the specification asks for.

        Raises:
            Problem: the agent has no memory, or was not told where it is.

        """
        if self._memory is None:
            from agent_runtime.memory.opening import open_memory

            self._memory = open_memory(self)
        return self._memory

    def egress(self) -> "Egress":
        """Return the one way out.

        Raises:
            Problem: the agent was given none.

        """
        if self._egress is None:
            from agent_runtime.egress import Egress

            if self.credentials is None or self.credentials.egress_url is None:
                raise Problem(
                    Code.DEPENDENCY_DOWN,
                    "This agent was given no way out: deploy it again with an egress address.",
                )
            self._egress = Egress(
                self.credentials.egress_url, self.credentials.egress_token, self.spec.retry
            )
        return self._egress

    async def close(self) -> None:
        """Close every connection."""
        if self._egress is not None:
            await self._egress.close()
        if self.database is not None:
            await self.database.close()
        if self.redis is not None:
            await self.redis.close()
