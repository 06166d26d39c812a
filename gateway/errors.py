"""Errors of calls to agents that no other room knows."""

from ledger.errors import DomainError


class AgentTimedOut(DomainError):
    """The agent did not answer in time."""

    status = 504


class ModelNotConnected(DomainError):
    """The capability needs something that is not connected to the agent."""

    status = 424


class AgentBusy(DomainError):
    """The agent has more to do than it may; try again after ``retry_after`` seconds."""

    status = 429

    def __init__(self, code: str, message: str, *, retry_after: str | None = None) -> None:
        """See ``DomainError``."""
        super().__init__(code, message)
        self.retry_after = retry_after
