"""Looking at what tests in the sandbox leave, in and outside the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.stores import memory, queues
from sandbox.models import SandboxTest, is_sandbox_key
from sandbox.stage import RUN_LABEL, RUN_PREFIX

if TYPE_CHECKING:
    from provisioning.drivers.base import RuntimeDriver

NOTHING: dict[str, list[str]] = {"instance": [], "queue": [], "memory": []}


def left_behind(driver: RuntimeDriver) -> dict[str, list[str]]:
    """Return what exists of sandboxes outside the database, by kind; images are kept on purpose."""
    return {
        "instance": [
            item.name
            for item in driver.list_owned()
            if item.kind == "instance" and item.labels.get(RUN_LABEL, "").startswith(RUN_PREFIX)
        ],
        "queue": [key for key in queues.list_owned() if is_sandbox_key(key)],
        "memory": [key for key in memory.list_owned() if is_sandbox_key(key)],
    }


def clear(driver: RuntimeDriver) -> None:
    """Remove what a test left of sandboxes."""
    left = left_behind(driver)
    for name in left["instance"]:
        driver.remove_instance(name, grace_seconds=0)
    for key in left["queue"]:
        queues.QueueStore(key).remove()
    for key in left["memory"]:
        memory.MemoryStore(key).remove()


def fresh(test: SandboxTest) -> SandboxTest:
    """Return the test as it is in the database now."""
    return SandboxTest.objects.get(pk=test.pk)
