"""Each step is done once, whoever delivers it, however often, and whoever dies on the way."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from celery.exceptions import Retry, SoftTimeLimitExceeded
from django.db import connection
from django.utils import timezone

from ledger.errors import Conflict
from ledger.models import ProgressEvent, Transition
from provisioning import engine, leases, tasks
from provisioning.drivers.base import PermanentDriverError, TransientDriverError
from provisioning.engine import StepEnded, StepPostponed
from provisioning.enums import DeploymentStatus
from provisioning.leases import Lease
from provisioning.models import Deployment, DeploymentStep
from provisioning.services import cancel_deployment, deploy_release, undeploy_agent
from provisioning.stores import memory
from provisioning.undo import try_again, undo
from tests.builders import make_caller
from tests.provisioning.saga import (
    LONG_TERM,
    STEP_NAMES,
    carry_out,
    fresh,
    made_outside,
    make_agent,
    make_deployment,
    statuses,
    step_on,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django.fixtures import Settings

    from provisioning.drivers.base import RuntimeDriver

pytestmark = pytest.mark.django_db(transaction=True)
BEFORE_MEMORY = ("build_image", "create_container", "provision_queues")


class Worker(threading.Thread):
    """One more worker: calls something on a database connection of its own."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.error = error
        finally:
            connection.close()

    def outcome(self) -> object:
        self.join(60)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


@contextmanager
def memory_server_busy(settings: Settings) -> Iterator[None]:
    """Hold the turn that making a memory store waits for, so that the step stays in its middle."""
    with psycopg.connect(settings.AGENT_DATABASE_URL, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (memory._LOCK_NUMBER,))  # noqa: SLF001 - to be slow, one has to be in the way
        yield


def wait_for_waiting(settings: Settings, workers: int = 1) -> None:
    with psycopg.connect(settings.AGENT_DATABASE_URL, autocommit=True) as other:
        for _ in range(1000):
            waiting = other.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND objid = %s",
                (memory._LOCK_NUMBER & 0xFFFFFFFF,),  # noqa: SLF001 - as above
            ).fetchone()
            if waiting and waiting[0] >= workers:
                return
            threading.Event().wait(0.02)
    raise AssertionError("nobody waits")


def changes(deployment: Deployment, name: str) -> list[str]:
    step = deployment.steps.get(name=name)
    rows = Transition.objects.filter(subject_id=step.pk).order_by("id")
    return list(rows.values_list("to_status", flat=True))


def test_delivering_everything_again_changes_nothing(process_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    key = str(deployment.pk)

    def deliver() -> tuple[object, ...]:
        for name in STEP_NAMES:
            tasks.run_step(key, name)
        tasks.finish_deployment(key)
        tasks.compensate_deployment(key)
        rows = DeploymentStep.objects.order_by("position").values()
        return list(rows), fresh(deployment).status, ProgressEvent.objects.count()

    first = deliver()
    assert first[1] == DeploymentStatus.RUNNING
    assert deliver() == first

    undeploy_agent(caller=caller, agent=deployment.agent)
    tasks.compensate_deployment(key)
    stopped = deliver()
    assert stopped[1] == DeploymentStatus.STOPPED
    assert deliver() == stopped
    assert made_outside(deployment.agent) == []


def test_a_step_out_of_turn_waits_for_those_before_it(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment()
    assert engine.run_step(deployment.pk, "provision_queues") is False
    assert engine.finish(deployment.pk) is False
    assert undo(deployment.pk) is False
    assert set(statuses(deployment).values()) == {"pending"}
    assert fresh(deployment).status == DeploymentStatus.PENDING


def test_an_unknown_step_or_deployment_is_nobodys_work() -> None:
    _, deployment = make_deployment()
    assert engine.run_step(deployment.pk, "no_such_step") is False
    assert engine.run_step(deployment.agent_id, "build_image") is False
    assert engine.finish(deployment.agent_id) is False
    assert engine.give_up(deployment.agent_id, "build_image") is False


def test_a_second_delivery_leaves_while_the_first_is_at_it(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    _, deployment = make_deployment(**LONG_TERM)
    step_on(deployment, *BEFORE_MEMORY)
    with memory_server_busy(settings):
        first = Worker(lambda: engine.run_step(deployment.pk, "setup_memory_store"))
        wait_for_waiting(settings)
        assert engine.run_step(deployment.pk, "setup_memory_store") is False
        assert engine.run_step(deployment.pk, "register_agent") is False
    assert first.outcome() is True
    assert changes(deployment, "setup_memory_store") == ["in_progress", "completed"]
    assert deployment.steps.get(name="setup_memory_store").attempt == 1


def test_the_intent_is_written_before_anything_is_made(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    _, deployment = make_deployment(**LONG_TERM)
    step_on(deployment, *BEFORE_MEMORY)
    with memory_server_busy(settings):
        worker = Worker(lambda: engine.run_step(deployment.pk, "setup_memory_store"))
        wait_for_waiting(settings)
        step = deployment.steps.get(name="setup_memory_store")
        key = deployment.agent.key
        assert step.intent == {"key": key, "needed": True, "existed": False}
        assert step.result == {}
        assert key not in memory.list_owned()
    assert worker.outcome() is True


def test_a_lost_lease_is_taken_over_and_the_first_worker_writes_nothing(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    _, deployment = make_deployment(**LONG_TERM)
    step_on(deployment, *BEFORE_MEMORY)
    with memory_server_busy(settings):
        first = Worker(lambda: engine.run_step(deployment.pk, "setup_memory_store"))
        wait_for_waiting(settings)
        past = timezone.now() - timedelta(seconds=1)
        deployment.steps.filter(name="setup_memory_store").update(lease_expires_at=past)
        second = Worker(lambda: engine.run_step(deployment.pk, "setup_memory_store"))
        wait_for_waiting(settings, workers=2)
    results = {first.outcome(), second.outcome()}
    assert True in results
    assert changes(deployment, "setup_memory_store") == [
        "in_progress",
        "in_progress",
        "completed",
    ]
    assert deployment.steps.get(name="setup_memory_store").attempt == 2
    assert carry_out(deployment).status == DeploymentStatus.RUNNING


def test_a_worker_that_wakes_up_after_the_undo_writes_nothing_and_is_cleared_after(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    from provisioning import upkeep

    caller, deployment = make_deployment(**LONG_TERM)
    step_on(deployment, *BEFORE_MEMORY)
    with memory_server_busy(settings):
        sleeper = Worker(lambda: engine.run_step(deployment.pk, "setup_memory_store"))
        wait_for_waiting(settings)
        # Its computer slept: the lease ran out, and the deployment was cancelled meanwhile.
        past = timezone.now() - timedelta(minutes=1)
        deployment.steps.filter(name="setup_memory_store").update(
            lease_expires_at=past, lease_token=None
        )
        cancel_deployment(caller=caller, deployment=deployment)
        with pytest.raises(StepEnded):
            engine.run_step(deployment.pk, "setup_memory_store")
        undoing = Worker(lambda: undo(deployment.pk))
        wait_for_waiting(settings, workers=2)
    sleeper.outcome()
    assert undoing.outcome() is True
    assert fresh(deployment).status == DeploymentStatus.CANCELLED
    upkeep.remove_orphans()
    assert made_outside(deployment.agent) == []


def test_only_one_undo_works_at_a_time(process_driver: RuntimeDriver, settings: Settings) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    assert carry_out(deployment).status == DeploymentStatus.RUNNING
    undeploy_agent(caller=caller, agent=deployment.agent)
    with memory_server_busy(settings):
        first = Worker(lambda: undo(deployment.pk))
        wait_for_waiting(settings)
        assert undo(deployment.pk) is False
    assert first.outcome() is True
    kinds = ProgressEvent.objects.filter(subject_id=deployment.pk, kind="undoing")
    assert kinds.count() == len(STEP_NAMES)


def test_an_undo_that_was_frozen_touches_nothing_that_came_after_it(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    assert carry_out(deployment).status == DeploymentStatus.RUNNING
    undeploy_agent(caller=caller, agent=deployment.agent)
    frozen, thawed = threading.Event(), threading.Event()
    real = memory.MemoryStore.remove

    def freeze_after(store: memory.MemoryStore) -> None:
        real(store)
        if not frozen.is_set():
            frozen.set()
            assert thawed.wait(60)

    monkeypatch.setattr(memory.MemoryStore, "remove", freeze_after)
    sleeper = Worker(lambda: undo(deployment.pk))
    assert frozen.wait(60)
    # Its computer slept; somebody else ended the undo, and the agent was deployed again.
    Deployment.objects.filter(pk=deployment.pk).update(lease_token=None)
    assert undo(deployment.pk) is True
    assert fresh(deployment).status == DeploymentStatus.STOPPED
    again = deploy_release(caller=caller, agent=deployment.agent, release=deployment.release)
    assert carry_out(again).status == DeploymentStatus.RUNNING
    made = made_outside(deployment.agent)
    thawed.set()
    assert sleeper.outcome() is False
    assert made_outside(deployment.agent) == made
    assert len(made) == 4
    assert fresh(again).status == DeploymentStatus.RUNNING
    assert fresh(deployment).status == DeploymentStatus.STOPPED
    undone = ProgressEvent.objects.filter(subject_id=deployment.pk, kind="undoing")
    names = [event.payload["step"] for event in undone.order_by("seq")]
    assert names.count("provision_queues") == 1


def test_a_lease_is_renewed_while_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE", timedelta(seconds=0.4))
    _, deployment = make_deployment()
    row = deployment.steps.get(name="build_image")
    token = deployment.pk
    long_ago = timezone.now() - timedelta(hours=1)
    DeploymentStep.objects.filter(pk=row.pk).update(lease_token=token, lease_expires_at=long_ago)
    with Lease.on(row, token):
        for _ in range(500):
            row.refresh_from_db()
            if row.lease_expires_at and row.lease_expires_at > long_ago:
                break
            threading.Event().wait(0.02)
    assert row.lease_expires_at is not None
    assert row.lease_expires_at > timezone.now() - timedelta(minutes=1)
    # Somebody else's is left alone.
    DeploymentStep.objects.filter(pk=row.pk).update(lease_expires_at=long_ago)
    with Lease.on(row, deployment.agent_id) as other:
        other._thread.join(30)  # noqa: SLF001 - it ends by itself
        assert not other._thread.is_alive()  # noqa: SLF001 - as above
    row.refresh_from_db()
    assert row.lease_expires_at == long_ago


def test_a_step_that_may_pass_later_is_in_nobodys_hand_until_then(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    _, deployment = make_deployment()
    step_on(deployment, "build_image", "create_container")
    here = settings.AGENT_REDIS_URL
    settings.AGENT_REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(StepPostponed, match="tried again in 1 s"):
        engine.run_step(deployment.pk, "provision_queues")
    settings.AGENT_REDIS_URL = here
    step = deployment.steps.get(name="provision_queues")
    assert (step.status, step.lease_token, step.attempt) == ("in_progress", None, 1)


def test_the_task_asks_to_be_called_again(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    _, deployment = make_deployment()
    step_on(deployment, "build_image", "create_container")
    here = settings.AGENT_REDIS_URL
    settings.AGENT_REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(Retry):
        tasks.run_step(str(deployment.pk), "provision_queues")
    settings.AGENT_REDIS_URL = here


def test_a_step_over_its_time_is_stopped_and_undone(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deployment = make_deployment()

    def too_slow(*_: object) -> None:
        # As the worker does to a task that is over its soft limit.
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(process_driver, "ensure_instance", too_slow)
    failed = carry_out(deployment)
    assert (failed.status, failed.error_code) == (DeploymentStatus.FAILED, "step_timed_out")
    assert "longer than 90 s" in failed.error_detail
    assert made_outside(failed.agent) == []


@pytest.mark.parametrize("moment", ["list_owned", "ensure_image"])
@pytest.mark.parametrize("error", [None, TransientDriverError("away"), PermanentDriverError("no")])
def test_who_lost_the_lease_writes_nothing_whatever_came_of_it(
    process_driver: RuntimeDriver,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    error: Exception | None,
) -> None:
    _, deployment = make_deployment()
    real = getattr(process_driver, moment)
    other = deployment.agent_id

    def slow(*arguments: object) -> object:
        deployment.steps.filter(name="build_image").update(lease_token=other)
        if error is not None:
            raise error
        return real(*arguments)

    with monkeypatch.context() as slept:
        slept.setattr(process_driver, moment, slow)
        assert engine.run_step(deployment.pk, "build_image") is False
    step = deployment.steps.get(name="build_image")
    assert (step.status, step.lease_token) == ("in_progress", other)
    assert fresh(deployment).status == DeploymentStatus.PROVISIONING


def test_a_step_that_fails_after_the_undo_began_changes_nothing(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deployment = make_deployment()

    def slow(*_: object) -> None:
        Deployment.objects.update(status="rolling_back", undo_reason="failed")
        raise PermanentDriverError("no")

    with monkeypatch.context() as slept:
        slept.setattr(process_driver, "ensure_image", slow)
        assert engine.run_step(deployment.pk, "build_image") is False
    assert fresh(deployment).error_code == ""
    assert undo(deployment.pk) is True


def test_an_undo_that_lost_its_lease_does_not_say_how_it_ended(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, deployment = make_deployment()
    assert carry_out(deployment).status == DeploymentStatus.RUNNING
    undeploy_agent(caller=caller, agent=deployment.agent)
    real = process_driver.remove_image

    def slow(tag: str) -> None:
        real(tag)
        deployment.steps.filter(name="build_image").update(status="undone")
        Deployment.objects.update(lease_token=deployment.agent_id)

    with monkeypatch.context() as slept:
        slept.setattr(process_driver, "remove_image", slow)
        assert undo(deployment.pk) is False
    assert fresh(deployment).status == DeploymentStatus.STOPPING
    Deployment.objects.update(lease_token=None)
    assert undo(deployment.pk) is True
    assert try_again(deployment.pk) is False


def test_a_cancelled_deployment_does_not_run_even_when_all_steps_are_done(
    process_driver: RuntimeDriver,
) -> None:
    caller, deployment = make_deployment()
    step_on(deployment, *STEP_NAMES)
    cancel_deployment(caller=caller, deployment=deployment)
    with pytest.raises(StepEnded):
        engine.finish(deployment.pk)
    assert fresh(deployment).status == DeploymentStatus.ROLLING_BACK


def test_two_deploys_at_once_make_one_deployment() -> None:
    caller, agent, release = make_agent()
    other = make_caller(organization=caller.organization)
    ready = threading.Barrier(2)

    def deploy(who: object) -> object:
        ready.wait(30)
        return deploy_release(caller=who, agent=agent, release=release)  # type: ignore[arg-type]  # either caller

    workers = [Worker(lambda who=who: deploy(who)) for who in (caller, other)]  # type: ignore[misc]  # mypy can't type a default of a lambda
    for worker in workers:
        worker.join(60)
    errors = [worker.error for worker in workers if worker.error]
    assert len(errors) == 1
    assert isinstance(errors[0], Conflict)
    assert errors[0].code == "deployment_in_progress"
    assert Deployment.objects.filter(agent=agent).count() == 1
