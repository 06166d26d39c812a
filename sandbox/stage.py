"""The throw-away copy of an agent: made for one test, on a network of its own, then taken away.

It has its own Redis user and streams and its own PostgreSQL role and schema, named after the test.
Its credentials exist in the memory of the worker and in the copy's credentials file, nowhere else;
there are none for the way out, so it can reach neither models nor services.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
from django.conf import settings

from ledger.errors import DomainError
from provisioning.drivers.base import (
    LABEL_PREFIX,
    BuildRequest,
    DriverError,
    InstanceRequest,
    InstanceState,
    RuntimeDriver,
    TransientDriverError,
)
from provisioning.health import check, is_ready
from provisioning.instances import credentials_document
from provisioning.stores.errors import StoreError, TransientStoreError
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore
from registry.services.agents import AgentSecrets
from sandbox.loglines import Masker, read_line
from sandbox.models import SandboxTest, instance_name
from templates_lib.services import render_and_check

log = structlog.get_logger(__name__)

T = TypeVar("T")

READY_SECONDS: Final = 30.0
RUN_LABEL: Final = f"{LABEL_PREFIX}run"
RUN_PREFIX: Final = "sandbox:"

_POLL_SECONDS: Final = 0.01
_LOOK_SECONDS: Final = 0.5
_READY_ANSWER_SECONDS: Final = 2.0
_TRIES: Final = 3
_LAST_LINES: Final = 3
_DIGEST_LENGTH: Final = 24


class StageFailed(DomainError):
    """The copy could not be made; the message says what to do."""

    status = 503


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A copy that is ready to be called."""

    name: str
    address: str
    invoke_token: str = field(repr=False)
    mask: Masker = field(repr=False)
    ready_ms: float
    """From the order to start until it said that it is ready."""


def image_tag(image_digest: str) -> str:
    """Return the name of the image of these files: tests of the same code share one."""
    return f"af-{settings.INSTALLATION_ID}/sandbox:{image_digest}"


def labels_of(test: SandboxTest) -> dict[str, str]:
    """Return what everything made for the test is labelled with."""
    return {
        f"{LABEL_PREFIX}installation": settings.INSTALLATION_ID,
        f"{LABEL_PREFIX}organization": str(test.organization_id),
        RUN_LABEL: f"{RUN_PREFIX}{test.pk}",
    }


class StageBuilder:
    """Makes the copy for one test, part by part.

    ``keep_on`` is asked between the parts; once it says no, ``StageFailed`` (``interrupted``) is
    raised. What was made by then stays for ``tear_down``.
    """

    def __init__(
        self,
        test: SandboxTest,
        *,
        driver: RuntimeDriver,
        keep_on: Callable[[], bool],
    ) -> None:
        self._test = test
        self._name = instance_name(test.pk)
        self._spec = test.agent_spec()
        self._driver = driver
        self._keep_on = keep_on
        self._secrets = AgentSecrets(
            invoke_token=secrets.token_urlsafe(32),
            # Nothing leaves a sandbox.
            egress_token="",
            redis_password=secrets.token_urlsafe(32),
            database_password=secrets.token_urlsafe(32),
        )
        self._mask = Masker(
            (
                self._secrets.invoke_token,
                self._secrets.redis_password,
                self._secrets.database_password,
            )
        )

    def set_up(self) -> Stage:
        """Render, build and start the copy, and wait until it is ready.

        Raises:
            StageFailed: what could not be made, and what to do about it.

        """
        image = self._build()
        self._go_on()
        credentials = self._make_stores()
        self._go_on()
        started = time.perf_counter()
        address = self._start(image, credentials)
        self._wait_ready(address)
        return Stage(
            name=self._name,
            address=address,
            invoke_token=self._secrets.invoke_token,
            mask=self._mask,
            ready_ms=round((time.perf_counter() - started) * 1000, 1),
        )

    def _build(self) -> str:
        try:
            project = render_and_check(self._spec)
        except DomainError as error:
            raise StageFailed(error.code, error.message) from error
        # Written before the build: what the reconciler goes by when it removes unused images.
        digest = project.files_digest[:_DIGEST_LENGTH]
        SandboxTest.objects.filter(pk=self._test.pk).update(image_digest=digest)
        request = BuildRequest(
            tag=image_tag(digest),
            files=project.files,
            packages=self._spec.packages,
            labels=labels_of(self._test),
        )
        with self._explained(
            "image_failed",
            "The agent's image could not be built. Check the extra packages, then test again.",
        ):
            return _retried(lambda: self._driver.ensure_image(request)).reference

    def _make_stores(self) -> dict[str, Any]:
        key, made = self._test.key, self._secrets
        with self._explained(
            "store_unavailable",
            "The sandbox's queue or memory could not be made. Check that Redis and PostgreSQL run, "
            "then test again.",
        ):
            queue = QueueStore(key)
            _retried(lambda: queue.ensure(made.redis_password))
            memory = None
            if self._spec.memory.uses_postgresql:
                memory = store = MemoryStore(key)
                _retried(lambda: store.ensure(made.database_password))
            return credentials_document(
                key=key,
                driver=self._driver,
                network="sandbox",
                queue=queue,
                memory=memory,
                secrets=made,
            )

    def _start(self, image: str, credentials: dict[str, Any]) -> str:
        request = InstanceRequest(
            name=self._name,
            image=image,
            network="sandbox",
            mode="sandbox",
            resources=self._spec.resources,
            credentials=credentials,
            environment={item.name: item.value for item in self._spec.environment},
            labels=labels_of(self._test),
        )
        with self._explained(
            "start_failed",
            "The sandbox could not be started. Ask for less memory or fewer cores, or try later.",
        ):
            return _retried(lambda: self._driver.ensure_instance(request)).address

    def _wait_ready(self, address: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        look_at = time.monotonic() + _LOOK_SECONDS
        while not is_ready(address, seconds=_READY_ANSWER_SECONDS):
            now = time.monotonic()
            if now > look_at:
                look_at = now + _LOOK_SECONDS
                self._go_on()
                if self._driver.inspect(self._name).state is not InstanceState.RUNNING:
                    raise StageFailed(
                        "agent_stopped",
                        "The agent stopped while it was starting. Its log may say why. "
                        f"{self._last_words()}",
                    )
            if now > deadline:
                down = "; ".join(check(address).down) or "it does not answer"
                raise StageFailed(
                    "not_ready",
                    self._mask(
                        f"The agent was not ready within {READY_SECONDS:g} s ({down}). Check that "
                        f"Redis and PostgreSQL run, then test again. {self._last_words()}"
                    ),
                )
            time.sleep(_POLL_SECONDS)

    def _last_words(self) -> str:
        lines = [
            read_line(raw, self._mask) for raw in self._driver.logs(self._name, tail=_LAST_LINES)
        ]
        said = " | ".join(line.text for line in lines if line is not None)
        return f"Its last words: {said}" if said else "It wrote nothing."

    def _go_on(self) -> None:
        if not self._keep_on():
            raise StageFailed("interrupted", "The test was stopped while its sandbox was made.")

    @contextmanager
    def _explained(self, code: str, advice: str) -> Iterator[None]:
        try:
            yield
        except TransientDriverError as error:
            raise StageFailed(
                "runtime_unavailable",
                self._mask(
                    f"The runtime does not answer. Check that it runs, then test again. ({error})"
                ),
            ) from error
        except (DriverError, StoreError) as error:
            raise StageFailed(code, self._mask(f"{advice} ({error})")) from error


def tear_down(*, name: str, key: str, driver: RuntimeDriver) -> list[str]:
    """Remove the copy and its stores; return what could not be removed (nothing: all is gone).

    Finding nothing is success. Each part is tried, whatever becomes of the others.
    """
    parts: dict[str, Callable[[], None]] = {
        "instance": lambda: driver.remove_instance(name, grace_seconds=0.5),
        "queue": lambda: QueueStore(key).remove(),
        "memory store": lambda: MemoryStore(key).remove(),
    }
    left: list[str] = []
    for what, remove in parts.items():
        try:
            remove()
        except (DriverError, StoreError) as error:
            log.warning("sandbox not removed yet", part=what, key=key, error=str(error)[:300])
            left.append(what)
    return left


def _retried(act: Callable[[], T]) -> T:
    for number in range(1, _TRIES):
        try:
            return act()
        except (TransientDriverError, TransientStoreError):
            time.sleep(0.2 * 2**number)
    return act()
