"""The contract of a provisioning step.

A step looks before it acts: ``plan`` says what will be made and whether it was there before, and
that is written down before ``apply`` makes anything. ``compensate`` removes only what this
deployment made, and finding nothing to remove is success. Everything made is named after the
deployment or its agent and labelled, so any worker can go on where another one died.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final

from django.db import Error, OperationalError

from ledger.errors import DomainError
from provisioning.drivers import get_driver
from provisioning.drivers.base import (
    DriverError,
    PermanentDriverError,
    RuntimeDriver,
    TransientDriverError,
)
from provisioning.models import Deployment
from provisioning.stores.errors import PermanentStoreError, StoreError, TransientStoreError
from registry.models import Agent, Release
from registry.services.agents import AgentSecrets, credentials_of
from registry.spec import AgentSpec

TRANSIENT: Final = (TransientDriverError, TransientStoreError, OperationalError)
"""Trying the step again may help."""

EXPECTED: Final = (DriverError, StoreError, DomainError)
"""Failures whose text may be shown to an operator."""

_OUTPUT_MARK: Final = "Its last output:\n"
_OUTPUT_LINES: Final = 8
_OUTPUT_CHARACTERS: Final = 900

__all__ = [
    "EXPECTED",
    "TRANSIENT",
    "PermanentDriverError",
    "PermanentStoreError",
    "Step",
    "StepContext",
    "StepFailure",
    "StepOutcome",
    "split_output",
]


class StepFailure(DomainError):
    """The step can't succeed as things are; the message says what to do."""

    status = 409


@dataclass(frozen=True)
class StepOutcome:
    """What a step made."""

    result: Mapping[str, Any] = field(default_factory=dict)
    """For later steps and for undoing; holds no credentials."""
    detail: str = ""
    """One line for people."""


@dataclass
class StepContext:
    """What a step works on."""

    deployment: Deployment
    intent: dict[str, Any] = field(default_factory=dict)
    """What ``plan`` returned, read back from the step's row."""
    result: dict[str, Any] = field(default_factory=dict)
    """What ``apply`` returned, when there is something to undo."""
    deadline: float = float("inf")
    """``time.monotonic()`` by which ``apply`` has to be done."""

    @property
    def agent(self) -> Agent:
        """The agent that is deployed."""
        return self.deployment.agent

    @property
    def release(self) -> Release:
        """The release that is deployed."""
        return self.deployment.release

    @cached_property
    def spec(self) -> AgentSpec:
        """The release's specification."""
        return self.release.agent_spec()

    @cached_property
    def driver(self) -> RuntimeDriver:
        """The driver that carries the deployment, whatever new ones use by now."""
        return get_driver(self.deployment.driver)

    @cached_property
    def secrets(self) -> AgentSecrets:
        """What the agent signs in with. Read when needed: a deleted agent has none."""
        return credentials_of(self.agent)

    @property
    def seconds_left(self) -> float:
        """How long ``apply`` may still take."""
        return self.deadline - time.monotonic()

    def without_secrets(self, text: str) -> str:
        """Return ``text`` with the agent's credentials blotted out.

        Cut a text only afterwards: of a credential that is cut in two the rest would stay.
        """
        try:
            secrets = self.secrets
        except DomainError:
            return text
        except Error:
            return "(Not shown: the database does not tell what has to be blotted out.)"
        for value in (
            secrets.invoke_token,
            secrets.egress_token,
            secrets.redis_password,
            secrets.database_password,
        ):
            text = text.replace(value, "•••")
        return text

    def last_output(self) -> str:
        """Return the end of what the instance wrote, as ``split_output`` finds it in a text."""
        lines = self.driver.logs(self.deployment.instance_name, tail=_OUTPUT_LINES)
        text = self.without_secrets("\n".join(line.rstrip() for line in lines))
        text = text[-_OUTPUT_CHARACTERS:].strip()
        return f"{_OUTPUT_MARK}{text}" if text else "It wrote no output."


def split_output(text: str) -> tuple[str, str]:
    """Return what a failure's text says, and what the agent had written last (may be empty)."""
    said, _, output = text.partition(_OUTPUT_MARK)
    return said.strip(), output.strip()


class Step(ABC):
    """One thing that is made on the way to a running agent."""

    name: ClassVar[str]
    title: ClassVar[str]
    """For people, as in "Provisioning message queues"."""
    timeout_seconds: ClassVar[float]
    usual_seconds: ClassVar[float]
    """How long it takes as long as no past run tells better."""
    advice: ClassVar[str]
    """What to do when it failed, said before the cause."""

    @abstractmethod
    def plan(self, ctx: StepContext) -> dict[str, Any]:
        """Look, without acting, and return what will be made and whether it was there before."""

    @abstractmethod
    def apply(self, ctx: StepContext) -> StepOutcome:
        """Make it, or find it made by an earlier attempt."""

    @abstractmethod
    def compensate(self, ctx: StepContext) -> None:
        """Remove what this deployment made. ``ctx.intent`` is what ``plan`` returned."""

    @abstractmethod
    def leftovers(self, ctx: StepContext) -> list[str]:
        """Name, for people, what is left when ``compensate`` failed."""
