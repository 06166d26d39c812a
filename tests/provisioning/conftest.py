"""Fixtures of the provisioning tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioning.drivers import get_driver
from provisioning.stores import memory, queues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from provisioning.drivers.base import RuntimeDriver


@pytest.fixture
def process_driver(settings: Settings) -> Iterator[RuntimeDriver]:
    """Deploy local processes; afterwards nothing of the test's agents is left."""
    settings.RUNTIME_DRIVER = "process"
    yield from _with_nothing_left("process")


@pytest.fixture
def docker_driver(settings: Settings) -> Iterator[RuntimeDriver]:
    """Deploy containers; afterwards nothing of the test's agents is left."""
    settings.RUNTIME_DRIVER = "docker"
    yield from _with_nothing_left("docker")


def _with_nothing_left(name: str) -> Iterator[RuntimeDriver]:
    driver = get_driver(name)
    yield driver
    for resource in driver.list_owned():
        if resource.labels.get("agent-factory.run", "").startswith("deployment:"):
            driver.remove_owned(resource)
    for key in queues.list_owned():
        queues.QueueStore(key).remove()
    for key in memory.list_owned():
        memory.MemoryStore(key).remove()
