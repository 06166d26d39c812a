"""Deployments carried by a real Celery worker, which is killed in the middle of things."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from celery import current_app
from django.db import connection
from django.utils import timezone

from ledger.models import ProgressEvent, Transition
from provisioning import pipeline
from provisioning.enums import HOLDING, DeploymentStatus
from provisioning.models import Deployment, DeploymentStep
from provisioning.services import (
    cancel_deployment,
    deploy_release,
    retry_deployment,
    undeploy_agent,
)
from registry.models import Agent
from tests.provisioning.saga import (
    LONG_TERM,
    STEP_NAMES,
    fresh,
    made_outside,
    make_agent,
    redis_away,
    statuses,
)
from tests.running import leave_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django.fixtures import Settings

    from accounts.callers import Caller
    from tests.running import RunningPlatform

pytestmark = pytest.mark.worker

PATIENCE: Final = 120.0
HOLD: Final = 471_100
# Where a worker can be stopped: the step's row is about to be written, and waits.
MOMENTS: Final = {
    "taken": "OLD.status = 'pending' AND NEW.status = 'in_progress'",
    "intended": "OLD.intent = '{}' AND NEW.intent <> '{}'",
    "made": "OLD.status = 'in_progress' AND NEW.status = 'completed'",
    "undone": "NEW.status = 'undone'",
}
# KILL_MATRIX=1 kills at each moment of each step; else in the middle: made, but not written down.
# KILL_DRIVER=docker does it with containers.
KILL_DRIVER: Final = os.environ.get("KILL_DRIVER", "process")
KILLS: Final = [
    (name, moment)
    for name in STEP_NAMES
    for moment in (("taken", "intended", "made") if os.environ.get("KILL_MATRIX") else ("made",))
]


@pytest.fixture(autouse=True)
def on_platform(platform: RunningPlatform, settings: Settings) -> Iterator[None]:
    """Let this process name things as the platform's processes do; clear up afterwards."""
    settings.INSTALLATION_ID = platform.installation
    settings.RUNTIME_DRIVER = KILL_DRIVER
    yield
    for deployment in Deployment.objects.filter(status__in=HOLDING):
        Deployment.objects.filter(pk=deployment.pk).update(
            status="stopping", undo_reason="undeployed", lease_token=None, enqueued_at=None
        )
        send(platform, pipeline._task(pipeline.COMPENSATE, str(deployment.pk)))  # noqa: SLF001 - the platform has a queue of its own
        wait_for(deployment, lambda row: row.status == DeploymentStatus.STOPPED)


def send(platform: RunningPlatform, work: Any) -> None:
    """Queue work where the platform's worker takes it from, which is not where tests queue."""
    with current_app.connection_for_write(platform.environment["REDIS_URL"]) as line:
        work.apply_async(connection=line)


def start(platform: RunningPlatform, deployment: Deployment) -> None:
    send(platform, pipeline._steps(deployment.pk))  # noqa: SLF001 - as above


def deploy(
    platform: RunningPlatform, files: dict[str, str] | None = None, **spec: Any
) -> tuple[Caller, Deployment]:
    caller, agent, release = make_agent(None, files, **spec)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    start(platform, deployment)
    return caller, deployment


def wait_for(
    deployment: Deployment, met: Callable[[Deployment], bool], seconds: float = PATIENCE
) -> Deployment:
    end = time.monotonic() + seconds
    while not met(row := fresh(deployment)):
        assert time.monotonic() < end, (row.status, row.error_detail, statuses(row))
        time.sleep(0.1)
    return row


def ended(row: Deployment) -> bool:
    return row.status in ("running", "failed", "cancelled", "stopped", "rollback_failed")


@contextmanager
def held(deployment: Deployment, name: str, moment: str) -> Iterator[psycopg.Connection]:
    """Stop whoever is about to write this about this step, until the block ends."""
    condition = f"NEW.deployment_id = '{deployment.pk}' AND NEW.name = '{name}'"
    with psycopg.connect(**_address(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (HOLD,))
        other.execute(
            "CREATE OR REPLACE FUNCTION hold_step() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_advisory_xact_lock({HOLD}); RETURN NEW; END $$"
        )
        other.execute(
            "CREATE TRIGGER hold_step BEFORE UPDATE ON provisioning_deploymentstep FOR EACH ROW"
            f" WHEN ({condition} AND {MOMENTS[moment]}) EXECUTE FUNCTION hold_step()"
        )
        try:
            yield other
        finally:
            # On a connection of its own: the server may have been restarted under the other.
            with psycopg.connect(**_address(), autocommit=True) as after:
                # Whoever waits is dead; its session does not know yet.
                for (session,) in after.execute(_WAITING).fetchall():
                    after.execute("SELECT pg_terminate_backend(%s)", (session,))
                after.execute("DROP TRIGGER hold_step ON provisioning_deploymentstep")


_WAITING: Final = f"SELECT pid FROM pg_locks WHERE objid = {HOLD} AND NOT granted"  # noqa: S608 - a constant


def _address() -> dict[str, Any]:
    return {
        key: value
        for key, value in connection.get_connection_params().items()
        if key in ("dbname", "host", "port", "user", "password")
    }


def kill_at(platform: RunningPlatform, deployment: Deployment, name: str, moment: str) -> None:
    """Kill the worker at this moment of this step; its lease then runs out."""
    with held(deployment, name, moment) as other:
        start(platform, deployment)
        kill_when_held(platform, other)
    let_leases_run_out(deployment)


def wait_until_held(platform: RunningPlatform, other: psycopg.Connection) -> None:
    end = time.monotonic() + PATIENCE
    while not other.execute(_WAITING).fetchone():
        assert time.monotonic() < end, platform.log("worker")[-3000:]
        time.sleep(0.05)


def kill_when_held(platform: RunningPlatform, other: psycopg.Connection) -> None:
    wait_until_held(platform, other)
    platform.kill_worker()


def restart_postgresql(platform: RunningPlatform) -> None:
    """Stop the server as a crash would, under everybody's connections, and start it again."""
    platform.servers.postgres.stop(hurry=True)
    platform.servers.postgres.start()
    leave_database()


def let_leases_run_out(deployment: Deployment) -> None:
    past = timezone.now() - timedelta(minutes=2)
    DeploymentStep.objects.filter(deployment=deployment, lease_expires_at__isnull=False).update(
        lease_expires_at=past
    )
    Deployment.objects.filter(pk=deployment.pk).update(enqueued_at=past)
    Deployment.objects.filter(pk=deployment.pk, lease_expires_at__isnull=False).update(
        lease_expires_at=past
    )


def test_a_worker_carries_a_deployment_to_the_end_and_back(platform: RunningPlatform) -> None:
    caller, deployment = deploy(platform, **LONG_TERM)
    done = wait_for(deployment, ended)
    assert done.status == DeploymentStatus.RUNNING, done.error_detail
    undeploy_agent(caller=caller, agent=done.agent)
    send(platform, pipeline._task(pipeline.COMPENSATE, str(done.pk)))  # noqa: SLF001 - as above
    assert wait_for(done, ended).status == DeploymentStatus.STOPPED
    assert made_outside(done.agent) == []


def test_a_step_that_fails_has_the_rest_undone_by_the_error_callback(
    platform: RunningPlatform,
) -> None:
    platform.stop("beat")  # nobody but the callback undoes it
    caller, deployment = deploy(platform, files={"main": "raise SystemExit('bad day')\n"})
    failed = wait_for(deployment, ended)
    assert failed.status == DeploymentStatus.FAILED
    assert "bad day" in failed.error_detail
    assert made_outside(failed.agent) == []
    again = retry_deployment(caller=caller, deployment=failed)
    start(platform, again)
    assert wait_for(again, ended).status == DeploymentStatus.FAILED


def test_a_step_that_may_pass_is_tried_again_by_the_worker(platform: RunningPlatform) -> None:
    platform.stop("beat")
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    # The agents' database takes no connections for a moment.
    name = os.environ["AGENT_DATABASE_URL"].rsplit("/", 1)[1]
    with platform.servers.postgres.connect() as admin:
        admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        try:
            start(platform, deployment)
            wait_for(
                deployment,
                lambda row: ProgressEvent.objects.filter(
                    subject_id=row.pk, kind="retrying"
                ).exists(),
            )
        finally:
            admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    done = wait_for(deployment, ended)
    assert done.status == DeploymentStatus.RUNNING, done.error_detail
    assert done.steps.get(name="setup_memory_store").attempt > 1


def test_cancelling_reaches_the_worker_between_steps(platform: RunningPlatform) -> None:
    platform.stop("beat")
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    with held(deployment, "create_container", "made") as other:
        start(platform, deployment)
        wait_until_held(platform, other)
        cancel_deployment(caller=caller, deployment=deployment)
        other.execute("SELECT pg_advisory_unlock(%s)", (HOLD,))
        cancelled = wait_for(deployment, ended)
    assert cancelled.status == DeploymentStatus.CANCELLED
    assert list(statuses(cancelled).values()) == ["undone"] * 2 + ["pending"] * 4
    assert made_outside(cancelled.agent) == []


@pytest.mark.parametrize(("name", "moment"), KILLS)
def test_a_worker_killed_in_the_middle_of_a_step_is_taken_over_from(
    platform: RunningPlatform, name: str, moment: str
) -> None:
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    kill_at(platform, deployment, name, moment)
    step = deployment.steps.get(name=name)
    assert step.status == ("pending" if moment == "taken" else "in_progress")
    platform.start_worker()
    done = wait_for(deployment, ended)
    assert done.status == DeploymentStatus.RUNNING, done.error_detail
    assert done.steps.get(name=name).attempt == (1 if moment == "taken" else 2)
    completed = Transition.objects.filter(subject_id=step.pk, to_status="completed")
    assert completed.count() == 1
    made = made_outside(agent)
    kinds = sorted(item.split()[0] for item in made if not item.startswith("volume"))
    assert kinds == ["image", "instance", "memory", "queue"]
    undeploy_agent(caller=caller, agent=agent)
    send(platform, pipeline._task(pipeline.COMPENSATE, str(done.pk)))  # noqa: SLF001 - as above
    assert wait_for(done, ended).status == DeploymentStatus.STOPPED
    assert made_outside(agent) == []


@pytest.mark.parametrize("name", ["register_agent", "create_container"])
def test_a_worker_killed_while_undoing_is_taken_over_from(
    platform: RunningPlatform, name: str
) -> None:
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    start(platform, deployment)
    wait_for(deployment, lambda row: row.status == DeploymentStatus.RUNNING)
    undeploy_agent(caller=caller, agent=agent)
    with held(deployment, name, "undone") as other:
        send(platform, pipeline._task(pipeline.COMPENSATE, str(deployment.pk)))  # noqa: SLF001 - as above
        kill_when_held(platform, other)
    let_leases_run_out(deployment)
    assert fresh(deployment).status == DeploymentStatus.STOPPING
    platform.start_worker()
    stopped = wait_for(deployment, ended)
    assert stopped.status == DeploymentStatus.STOPPED
    assert made_outside(agent) == []


def test_a_step_that_kills_its_worker_every_time_is_given_up(platform: RunningPlatform) -> None:
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    kill_at(platform, deployment, "provision_queues", "made")
    DeploymentStep.objects.filter(deployment=deployment, name="provision_queues").update(attempt=4)
    platform.start_worker()
    failed = wait_for(deployment, ended)
    assert (failed.status, failed.error_code) == (DeploymentStatus.FAILED, "worker_lost")
    assert made_outside(agent) == []


def test_what_was_deployed_while_the_queue_was_away_is_picked_up(
    platform: RunningPlatform,
) -> None:
    caller, agent, release = make_agent()
    platform.stop("worker")
    platform.stop("beat")
    with redis_away(platform.servers):
        deployment = deploy_release(caller=caller, agent=agent, release=release)
    waiting = fresh(deployment)
    assert (waiting.status, waiting.enqueued_at) == (DeploymentStatus.PENDING, None)
    platform.start("worker")
    platform.start("beat")
    assert wait_for(deployment, ended).status == DeploymentStatus.RUNNING
    assert Agent.objects.get(pk=agent.pk).registered_at is not None


def test_redis_that_restarts_under_the_worker_costs_time_only(platform: RunningPlatform) -> None:
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    with held(deployment, "create_container", "made") as other:
        start(platform, deployment)
        wait_until_held(platform, other)
        with redis_away(platform.servers):
            other.execute("SELECT pg_advisory_unlock(%s)", (HOLD,))
            wait_for(deployment, lambda row: statuses(row)["create_container"] == "completed")
    let_leases_run_out(deployment)
    # A worker that loses its broker in the middle of a task ends; whoever started it starts it
    # again, as the launcher does.
    end = time.monotonic() + 15
    while platform.runs("worker") and time.monotonic() < end:
        time.sleep(0.1)
    platform.ensure_running()
    DeploymentStep.objects.filter(deployment=deployment, status="completed").update(
        finished_at=timezone.now() - timedelta(minutes=2)
    )
    done = wait_for(deployment, ended)
    assert done.status == DeploymentStatus.RUNNING, done.error_detail
    assert caller.organization == done.organization


@pytest.mark.parametrize(
    ("name", "moment"),
    KILLS
    if os.environ.get("KILL_MATRIX")
    else [("build_image", "intended"), ("setup_memory_store", "made")],
)
def test_postgresql_that_restarts_in_the_middle_of_a_step_costs_time_only(
    platform: RunningPlatform, name: str, moment: str
) -> None:
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    with held(deployment, name, moment) as other:
        start(platform, deployment)
        wait_until_held(platform, other)
        restart_postgresql(platform)
    let_leases_run_out(deployment)
    platform.ensure_running()
    done = wait_for(deployment, ended)
    assert done.status == DeploymentStatus.RUNNING, done.error_detail
    step = done.steps.get(name=name)
    assert Transition.objects.filter(subject_id=step.pk, to_status="completed").count() == 1
    made = made_outside(agent)
    kinds = sorted(item.split()[0] for item in made if not item.startswith("volume"))
    assert kinds == ["image", "instance", "memory", "queue"]


def test_postgresql_that_restarts_while_a_deployment_is_undone_costs_time_only(
    platform: RunningPlatform,
) -> None:
    caller, agent, release = make_agent(None, None, **LONG_TERM)
    deployment = deploy_release(caller=caller, agent=agent, release=release)
    start(platform, deployment)
    wait_for(deployment, lambda row: row.status == DeploymentStatus.RUNNING)
    undeploy_agent(caller=caller, agent=agent)
    with held(deployment, "create_container", "undone") as other:
        send(platform, pipeline._task(pipeline.COMPENSATE, str(deployment.pk)))  # noqa: SLF001 - as above
        wait_until_held(platform, other)
        restart_postgresql(platform)
    let_leases_run_out(deployment)
    platform.ensure_running()
    assert wait_for(deployment, ended).status == DeploymentStatus.STOPPED
    assert made_outside(agent) == []
