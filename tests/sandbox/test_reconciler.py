"""What died workers and lost messages leave is put right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings as django_settings
from django.utils import timezone

from provisioning import engine
from provisioning.services import deploy_release
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore
from registry.services.agents import create_release, reserve_agent
from sandbox import reconciler
from sandbox.enums import SandboxTestStatus, Verdict
from sandbox.models import SandboxTest, sandbox_key
from sandbox.reconciler import reconcile
from sandbox.runner import run
from sandbox.services import cancel_test, describe_test, start_test
from sandbox.stage import image_tag
from sandbox.tasks import reconcile as reconcile_task
from sandbox.tasks import run_test
from templates_lib.services import render_and_check
from tests.sandbox.specs import many, scenario, sentiment_spec
from tests.sandbox.traces import NOTHING, fresh, left_behind

if TYPE_CHECKING:
    from accounts.callers import Caller
    from config.embedded import EmbeddedServers
    from provisioning.drivers.base import RuntimeDriver

_WORK = (
    "import sys, uuid, django; django.setup(); from sandbox.runner import run;"
    "run(uuid.UUID(sys.argv[1]))"
)


def worker_for(test: SandboxTest, driver: RuntimeDriver) -> subprocess.Popen[bytes]:
    """Start a process that carries the test out on the test database."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    name = django_settings.DATABASES["default"]["NAME"]
    return subprocess.Popen(
        [sys.executable, "-c", _WORK, str(test.pk)],
        env={
            **os.environ,
            "DATABASE_URL": urlunsplit(parts._replace(path=f"/{name}")),
            "RUNTIME_DRIVER": driver.name,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def killed_midway(test: SandboxTest, driver: RuntimeDriver) -> None:
    """Carry the test out in a worker that is killed once a scenario has passed."""
    worker = worker_for(test, driver)
    try:
        deadline = time.monotonic() + 90
        while not test.results.filter(status=Verdict.PASSED).exists():
            assert time.monotonic() < deadline
            assert worker.poll() is None
            time.sleep(0.005)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def let_the_lease_run_out(test: SandboxTest) -> None:
    SandboxTest.objects.filter(pk=test.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )


def test_a_killed_workers_test_is_ended_and_cleared_away(
    operator: Caller, driver: RuntimeDriver
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(50))
    killed_midway(test, driver)
    left = left_behind(driver)
    assert (left["instance"], left["queue"]) == ([test.container_id], [test.key])
    reconcile()
    # While the lease lasts the worker may be alive.
    assert fresh(test).status == SandboxTestStatus.RUNNING
    assert left_behind(driver) == left
    let_the_lease_run_out(test)
    reconcile()
    told = describe_test(fresh(test))
    assert (told["status"], told["error"]["code"]) == ("errored", "worker_lost")
    assert {item["status"] for item in told["results"]} <= {"PASSED", "ERROR", "SKIPPED"}
    assert "SKIPPED" in {item["status"] for item in told["results"]}
    assert left_behind(driver) == NOTHING
    assert fresh(test).torn_down_at is not None
    reconcile()
    assert describe_test(fresh(test)) == told


def test_a_killed_workers_cancelled_test_is_cancelled(
    operator: Caller, process: RuntimeDriver
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(50))
    killed_midway(test, process)
    cancel_test(caller=operator, test=test)
    let_the_lease_run_out(test)
    reconcile_task()
    assert fresh(test).status == SandboxTestStatus.CANCELLED
    assert left_behind(process) == NOTHING


def test_an_ended_test_is_not_taken_up_again(operator: Caller, process: RuntimeDriver) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=[scenario()])
    SandboxTest.objects.filter(pk=test.pk).update(
        status=SandboxTestStatus.RUNNING,
        lease_token=uuid.uuid4(),
        lease_expires_at=timezone.now() - timedelta(seconds=1),
    )
    reconcile()
    assert fresh(test).status == SandboxTestStatus.ERRORED
    run(test.pk)
    assert fresh(test).status == SandboxTestStatus.ERRORED
    assert fresh(test).error_code == "worker_lost"


def test_a_teardown_that_failed_is_done_later(
    operator: Caller, process: RuntimeDriver, servers: EmbeddedServers
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(50))
    killed_midway(test, process)
    let_the_lease_run_out(test)
    servers.redis.stop()
    try:
        reconcile()
    finally:
        servers.redis.begin()
        servers.redis.wait_ready()
    assert fresh(test).status == SandboxTestStatus.ERRORED
    assert fresh(test).torn_down_at is None
    assert left_behind(process)["instance"] == []
    reconcile()
    assert fresh(test).torn_down_at is not None
    assert left_behind(process) == NOTHING


def test_a_waiting_test_is_sent_again_and_then_given_up(
    operator: Caller, process: RuntimeDriver, servers: EmbeddedServers
) -> None:
    servers.redis.stop()
    try:
        # The queue is away: the test waits, and starting it is no error.
        test = start_test(caller=operator, spec=sentiment_spec(), scenarios=[scenario()])
    finally:
        servers.redis.begin()
        servers.redis.wait_ready()
    first = fresh(test).dispatched_at
    assert first is not None
    reconcile()
    assert fresh(test).dispatched_at == first
    SandboxTest.objects.filter(pk=test.pk).update(dispatched_at=first - timedelta(minutes=2))
    reconcile()
    again = fresh(test).dispatched_at
    assert again is not None
    assert again > first
    SandboxTest.objects.filter(pk=test.pk).update(
        dispatched_at=first - timedelta(minutes=2), created_at=first - timedelta(minutes=20)
    )
    reconcile()
    told = describe_test(fresh(test))
    assert (told["status"], told["error"]["code"]) == ("errored", "not_started")
    assert [item["status"] for item in told["results"]] == ["SKIPPED"]
    run_test(str(test.pk))
    assert describe_test(fresh(test)) == told


def test_what_no_live_test_owns_is_removed_and_nothing_else(
    operator: Caller, process: RuntimeDriver
) -> None:
    # The name of an agent's things may begin like a sandbox's.
    agents_key = "sbx-0a1b2c3d"
    gone, live = sandbox_key(uuid.uuid4()), uuid.uuid4()
    SandboxTest.objects.create(
        id=live, organization=operator.organization, spec={}, digest="", driver=process.name
    )
    for key in (agents_key, gone, sandbox_key(live)):
        QueueStore(key).ensure("a-password")
        MemoryStore(key).ensure("a-password")
    try:
        reconcile()
        for key, there in ((agents_key, True), (gone, False), (sandbox_key(live), True)):
            assert QueueStore(key).exists() is there
            assert MemoryStore(key).exists() is there
    finally:
        QueueStore(agents_key).remove()
        MemoryStore(agents_key).remove()
        SandboxTest.objects.filter(pk=live).delete()
    reconcile()
    assert left_behind(process) == NOTHING


def test_an_instance_without_its_row_is_removed(operator: Caller, driver: RuntimeDriver) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(50))
    killed_midway(test, driver)
    SandboxTest.objects.filter(pk=test.pk).delete()
    reconcile()
    assert left_behind(driver) == NOTHING


def test_images_go_some_time_after_their_last_test(
    operator: Caller, process: RuntimeDriver
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=[scenario()])
    run(test.pk)
    tag = image_tag(fresh(test).image_digest)

    def kept() -> bool:
        return tag in [item.name for item in process.list_owned() if item.kind == "image"]

    reconcile()
    assert kept()
    long_ago = timezone.now() - reconciler.KEEP_IMAGES - timedelta(seconds=1)
    SandboxTest.objects.filter(pk=test.pk).update(created_at=long_ago)
    reconcile()
    assert kept()
    SandboxTest.objects.filter(pk=test.pk).update(torn_down_at=long_ago)
    reconcile()
    assert not kept()


def test_an_image_goes_at_once_when_its_code_was_built_as_a_release(
    operator: Caller, process: RuntimeDriver
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=[scenario()])
    run(test.pk)
    spec = fresh(test).agent_spec()
    agent = reserve_agent(caller=operator, spec=spec)
    release = create_release(
        caller=operator, agent=agent, spec=spec, files=render_and_check(spec).files
    )
    deployment = deploy_release(caller=operator, agent=agent, release=release)
    tag = image_tag(fresh(test).image_digest)

    def kept() -> bool:
        return tag in [item.name for item in process.list_owned() if item.kind == "image"]

    reconcile()
    assert kept()
    engine.run_step(deployment.pk, "build_image")
    under_way = start_test(caller=operator, spec=spec, scenarios=[scenario()])
    SandboxTest.objects.filter(pk=under_way.pk).update(image_digest=fresh(test).image_digest)
    reconcile()
    assert kept()
    cancel_test(caller=operator, test=under_way)
    reconcile()
    assert not kept()
    process.remove_image(deployment.image_tag)


def test_a_runtime_that_is_away_is_looked_at_again_later(
    operator: Caller, process: RuntimeDriver, servers: EmbeddedServers
) -> None:
    key = sandbox_key(uuid.uuid4())
    QueueStore(key).ensure("a-password")
    MemoryStore(key).ensure("a-password")
    servers.redis.stop()
    try:
        reconcile()
    finally:
        servers.redis.begin()
        servers.redis.wait_ready()
    assert not MemoryStore(key).exists()
    reconcile()
    assert left_behind(process) == NOTHING
