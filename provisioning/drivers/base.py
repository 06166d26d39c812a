"""The contract of a runtime driver.

A driver runs *instances*: a release's code with its credentials and limits, under a name that the
caller chose. It keeps no state of its own; what exists is asked of the engine each time, so any
worker can go on where another one died. ``ensure_*`` makes something or finds it made; ``remove_*``
removes it, and finding nothing to remove is success. Every made thing carries the given labels.

All methods block; they are called in workers, never in the event loop.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from registry.spec import Resources

LABEL_PREFIX = "agent-factory."
"""Labels: ``agent-factory.{installation,organization,agent,deployment,run}``."""

Network = Literal["agents", "sandbox"]


class DriverError(Exception):
    """Something went wrong in the engine. The text is for the log and for an operator."""


class TransientDriverError(DriverError):
    """Trying again may help: the engine is away, busy, or was interrupted."""


class PermanentDriverError(DriverError):
    """Trying again will not help: the image does not build, the port is taken, ..."""


class NotFoundDriverError(DriverError):
    """The named thing does not exist."""


class InstanceState(StrEnum):
    """What an instance is doing."""

    MISSING = "missing"
    """There is none of that name."""
    CREATED = "created"
    """It exists and was never started."""
    RUNNING = "running"
    """Its process is there; whether it answers is the health check's business."""
    EXITED = "exited"
    """Its process ended, by itself or stopped."""


@dataclass(frozen=True)
class DriverInfo:
    """What the driver talks to, for the health page and the start-up message."""

    name: str
    version: str
    isolated: bool
    cpu_cores: float
    memory_mb: int


@dataclass(frozen=True)
class BuildRequest:
    """The rendered project of a release."""

    tag: str
    """As in ``af-3f2a9c1d/wowcustomercontext-0a1b2c3d:r1``."""
    files: Mapping[str, str]
    """Path → text. Holds no credentials."""
    packages: tuple[str, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class BuiltImage:
    """A release's image, present in the engine."""

    reference: str
    """What ``InstanceRequest.image`` takes; names exactly this build."""
    created: bool
    """Whether this call built it."""


@dataclass(frozen=True)
class InstanceRequest:
    """Everything that an instance is given."""

    name: str
    """As in ``af-wowcustomercontext-0a1b2c3d-5e6f7a8b``; unique on the installation."""
    image: str
    network: Network
    mode: Literal["live", "sandbox"]
    resources: Resources
    credentials: Mapping[str, object] = field(repr=False)
    """Written to the instance's credentials file; never to its environment, image or labels."""
    environment: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Instance:
    """An instance as it is now."""

    name: str
    id: str
    state: InstanceState
    address: str
    """``http://host:port`` as the platform reaches it; empty unless running."""
    exit_code: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What an instance uses now."""

    memory_mb: float
    cpu_seconds: float
    """Processor time since its start."""


@dataclass(frozen=True)
class OwnedResource:
    """Something in the engine that carries this installation's label."""

    kind: Literal["instance", "image", "volume"]
    name: str
    labels: Mapping[str, str]


class RuntimeDriver(ABC):
    """Runs instances of agents on one engine."""

    name: ClassVar[str]
    isolated: ClassVar[bool]

    @abstractmethod
    def info(self) -> DriverInfo:
        """Return what the driver talks to.

        Raises:
            TransientDriverError: the engine does not answer.

        """

    @abstractmethod
    def services_host(self, network: Network) -> str:
        """Return the host name or address at which instances reach the platform's host."""

    @abstractmethod
    def ensure_image(self, request: BuildRequest) -> BuiltImage:
        """Build the release's image, or find it built from these very files.

        Raises:
            PermanentDriverError: it does not build.
            TransientDriverError: the engine does not answer.

        """

    @abstractmethod
    def remove_image(self, tag: str) -> None:
        """Remove the image; success if there is none."""

    @abstractmethod
    def ensure_instance(self, request: InstanceRequest) -> Instance:
        """Create and start the instance, or find it running, and return it.

        One that exists under this name but is not running is started (or replaced, if it was made
        for another image or deployment label).

        Raises:
            PermanentDriverError: it cannot be made like this.
            TransientDriverError: the engine does not answer.
            NotFoundDriverError: the image is gone.

        """

    @abstractmethod
    def inspect(self, name: str) -> Instance:
        """Return the instance as it is now, with ``InstanceState.MISSING`` if there is none."""

    @abstractmethod
    def remove_instance(self, name: str, *, grace_seconds: float = 5.0) -> None:
        """Ask it to stop, insist after ``grace_seconds``, and remove it with all that it owned."""

    @abstractmethod
    def logs(self, name: str, *, tail: int = 200) -> list[str]:
        """Return its last lines of output, oldest first; none if it is missing."""

    @abstractmethod
    def follow_logs(self, name: str) -> Iterator[str]:
        """Yield its lines of output from the start and as they are written, until it ends."""

    @abstractmethod
    def usage(self, name: str) -> Usage:
        """Return what it uses now.

        Raises:
            NotFoundDriverError: it is not running.

        """

    @abstractmethod
    def list_owned(self) -> list[OwnedResource]:
        """Return everything that carries this installation's label."""

    @abstractmethod
    def remove_owned(self, resource: OwnedResource) -> None:
        """Remove one such thing; success if it is gone."""
