"""What is brought to an end, and what is taken away, without anybody asking."""

from __future__ import annotations

import os
import re
import signal
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.utils import timezone

from ledger.models import Transition
from ledger.transitions import transition
from provisioning import engine, reconciler, tasks, turns, upkeep
from provisioning.drivers.base import InstanceState, TransientDriverError
from provisioning.enums import DeploymentStatus
from provisioning.models import Deployment, DeploymentStep
from provisioning.services import deploy_release, discard_agent, undeploy_agent
from provisioning.shutdown import stop_instances
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore
from provisioning.turns import one_at_a_time
from registry.enums import AgentStatus, Health
from registry.models import Agent, AgentCredentials
from registry.services.agents import activate_agent, credentials_of
from tests.provisioning.saga import (
    LONG_TERM,
    carry_out,
    fresh,
    made_outside,
    make_deployment,
    redis_away,
    statuses,
    step_on,
)
from tests.running import impatient

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import Settings

    from accounts.callers import Caller
    from config.embedded import EmbeddedServers
    from provisioning.drivers.base import Instance, InstanceRequest, RuntimeDriver

pytestmark = pytest.mark.django_db(transaction=True)


def ago(**how_long: float) -> datetime:
    return timezone.now() - timedelta(**how_long)


def end_instance(driver: RuntimeDriver, deployment: Deployment) -> None:
    """Kill the agent's process and wait until the driver knows."""
    number = driver.inspect(deployment.instance_name).id
    os.kill(int(re.sub(r"\D.*", "", number)), signal.SIGKILL)
    for _ in range(500):
        if driver.inspect(deployment.instance_name).state is InstanceState.EXITED:
            return
        threading.Event().wait(0.02)


def carry_out_again(caller: Caller, deployment: Deployment) -> Deployment:
    """Deploy the same release once more."""
    return carry_out(
        deploy_release(caller=caller, agent=deployment.agent, release=deployment.release)
    )


def in_thread(call: Callable[..., object], *given: object) -> None:
    """Call on a database connection of the thread's own."""
    try:
        call(*given)
    finally:
        connection.close()


def queued_since(deployment: Deployment, moment: datetime) -> bool:
    """Whether the deployment's work was queued after `moment`."""
    row = fresh(deployment)
    return row.enqueued_at is not None and row.enqueued_at > moment


def age(deployment: Deployment, **how_long: float) -> None:
    """Let everything about the deployment have happened that long ago."""
    then = ago(**how_long)
    Deployment.objects.filter(pk=deployment.pk).update(enqueued_at=then, created_at=then)
    steps = DeploymentStep.objects.filter(deployment=deployment)
    steps.filter(finished_at__isnull=False).update(finished_at=then)
    steps.filter(lease_expires_at__isnull=False).update(lease_expires_at=then)


def test_what_lost_its_message_is_queued_again_and_what_is_fresh_is_not() -> None:
    _, lost = make_deployment()
    _, young = make_deployment()
    age(lost, minutes=2)
    moment = timezone.now()
    reconciler.resume_deployments()
    assert queued_since(lost, moment)
    assert not queued_since(young, moment)
    again = timezone.now()
    reconciler.resume_deployments()
    assert not queued_since(lost, again)


def test_what_was_never_queued_is_queued_at_once_when_the_queue_is_back(
    servers: EmbeddedServers,
) -> None:
    with redis_away(servers):
        _, deployment = make_deployment()
        assert fresh(deployment).status == DeploymentStatus.PENDING
        assert fresh(deployment).enqueued_at is None
        Deployment.objects.update(created_at=ago(seconds=5))
        reconciler.resume_deployments()
        assert fresh(deployment).enqueued_at is None
    reconciler.resume_deployments()
    assert fresh(deployment).enqueued_at is not None


def test_a_step_whose_worker_died_is_queued_until_it_is_given_up(
    process_driver: RuntimeDriver,
) -> None:
    _, deployment = make_deployment()
    step_on(deployment, "build_image")
    dead = {
        "status": "in_progress",
        "lease_token": deployment.pk,
        "intent": {"instance": deployment.instance_name, "existed": False},
        "started_at": timezone.now(),
    }
    step = DeploymentStep.objects.filter(deployment=deployment, name="create_container")
    step.update(**dead, attempt=1, lease_expires_at=ago(seconds=1))
    moment = timezone.now()
    reconciler.resume_deployments()
    assert not queued_since(deployment, moment)
    step.update(lease_expires_at=ago(seconds=30))
    reconciler.resume_deployments()
    assert queued_since(deployment, moment)

    step.update(attempt=engine.MAX_ATTEMPTS)
    assert engine.run_step(deployment.pk, "create_container") is False
    reconciler.resume_deployments()
    row = fresh(deployment)
    assert (row.status, row.error_code) == (DeploymentStatus.ROLLING_BACK, "worker_lost")
    assert "died each time" in row.error_detail
    assert engine.give_up(deployment.pk, "create_container") is False
    tasks.compensate_deployment(str(deployment.pk))
    assert fresh(deployment).status == DeploymentStatus.FAILED
    assert made_outside(deployment.agent) == []


def test_a_step_that_somebody_took_over_is_not_given_up() -> None:
    _, deployment = make_deployment()
    transition(deployment, to=DeploymentStatus.PROVISIONING)
    DeploymentStep.objects.filter(name="build_image").update(
        status="in_progress",
        attempt=engine.MAX_ATTEMPTS,
        lease_token=deployment.pk,
        lease_expires_at=timezone.now() + timedelta(minutes=1),
    )
    assert engine.give_up(deployment.pk, "build_image") is False
    assert fresh(deployment).status == DeploymentStatus.PROVISIONING


def test_an_undo_whose_worker_died_is_queued_again() -> None:
    _, deployment = make_deployment()
    transition(deployment, to=DeploymentStatus.ROLLING_BACK, undo_reason="failed")
    Deployment.objects.update(
        lease_token=deployment.pk, lease_expires_at=timezone.now() + timedelta(minutes=1)
    )
    age(deployment, minutes=5)
    moment = timezone.now()
    reconciler.resume_undoing()
    assert not queued_since(deployment, moment)
    Deployment.objects.update(lease_expires_at=ago(seconds=30))
    reconciler.resume_undoing()
    assert queued_since(deployment, moment)


def test_an_undo_that_lost_its_message_is_queued_again() -> None:
    _, deployment = make_deployment()
    transition(deployment, to=DeploymentStatus.ROLLING_BACK, undo_reason="failed")
    moment = timezone.now()
    reconciler.resume_undoing()
    assert not queued_since(deployment, moment)
    age(deployment, minutes=5)
    reconciler.resume_undoing()
    assert queued_since(deployment, moment)


def test_what_nobody_owns_is_removed_and_what_somebody_owns_is_kept(
    process_driver: RuntimeDriver,
) -> None:
    _, kept = make_deployment(**LONG_TERM)
    kept = carry_out(kept)
    _, lost = make_deployment(**LONG_TERM)
    lost = carry_out(lost)
    both = made_outside(kept.agent), made_outside(lost.agent)
    assert [len(made) for made in both] == [4, 4]
    # As after a restored backup: nobody knows of it any more.
    Deployment.objects.filter(pk=lost.pk).update(status="stopped")
    upkeep.remove_orphans()
    assert made_outside(lost.agent) == []
    assert made_outside(kept.agent) == both[0]
    Deployment.objects.filter(pk=kept.pk).delete()
    upkeep.remove_orphans()
    assert made_outside(kept.agent) == []


@pytest.mark.parametrize("slow", ["image", "queue"])
def test_while_an_orphan_is_removed_its_agent_can_be_deployed_and_waits_before_it_makes_anything(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    caller, deployment = make_deployment()
    step_on(deployment, "build_image", "create_container", "provision_queues")
    process_driver.remove_instance(deployment.instance_name)
    # As after a restored backup: nobody knows of it any more.
    Deployment.objects.filter(pk=deployment.pk).update(status="stopped")
    removing, go_on = threading.Event(), threading.Event()
    place, name = {
        "image": (type(process_driver), "remove_owned"),
        "queue": (QueueStore, "remove"),
    }[slow]
    real = getattr(place, name)

    def slowly(self: object, *given: object) -> None:
        removing.set()
        assert go_on.wait(30)
        real(self, *given)

    monkeypatch.setattr(place, name, slowly)
    remover = threading.Thread(target=in_thread, args=(upkeep.remove_orphans,))
    remover.start()
    assert removing.wait(30)
    with impatient():
        again = deploy_release(caller=caller, agent=deployment.agent, release=deployment.release)
    worker = threading.Thread(target=in_thread, args=(step_on, again, "build_image"))
    worker.start()
    for _ in range(100):
        if statuses(again)["build_image"] == "in_progress":
            break
        threading.Event().wait(0.05)
    threading.Event().wait(0.3)
    assert DeploymentStep.objects.get(deployment=again, name="build_image").intent == {}
    go_on.set()
    remover.join()
    worker.join()
    assert statuses(again)["build_image"] == "completed"
    assert f"image {again.image_tag}" in made_outside(again.agent)
    upkeep.remove_orphans()
    assert f"image {again.image_tag}" in made_outside(again.agent)


def test_a_step_that_waits_long_for_an_orphans_removal_is_postponed(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_CLEARING_SECONDS", 0.2)
    _, deployment = make_deployment()
    taken, go_on = threading.Event(), threading.Event()

    def clear() -> None:
        with turns.clearing(deployment.agent.pk):
            taken.set()
            assert go_on.wait(30)

    remover = threading.Thread(target=in_thread, args=(clear,))
    remover.start()
    assert taken.wait(30)
    with pytest.raises(engine.StepPostponed):
        engine.run_step(deployment.pk, "build_image")
    go_on.set()
    remover.join()
    step_on(deployment, "build_image")
    assert statuses(deployment)["build_image"] == "completed"


def test_what_a_sandbox_made_is_the_sandboxs(process_driver: RuntimeDriver) -> None:
    stores = QueueStore("sbx-0a1b2c3d"), MemoryStore("sbx-0a1b2c3d"), QueueStore("x-0a1b2c3z")
    for store in stores:
        store.ensure("password")
    upkeep.remove_orphans()
    assert [store.exists() for store in stores] == [True, True, True]


def test_what_a_deleted_agent_left_is_removed(process_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    step_on(deployment, "build_image", "create_container", "provision_queues")
    Deployment.objects.update(
        status="rollback_failed", undo_reason="failed", leftovers=["everything"]
    )
    DeploymentStep.objects.filter(name="setup_memory_store").update(status="failed")
    discard_agent(caller=caller, agent=deployment.agent)
    reconciler.retry_failed_rollbacks()
    tasks.compensate_deployment(str(deployment.pk))
    assert fresh(deployment).status == DeploymentStatus.FAILED
    assert made_outside(deployment.agent) == []


def test_an_agent_that_died_is_started_again_with_growing_pauses(
    process_driver: RuntimeDriver,
) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    end_instance(process_driver, done)
    upkeep.look_after_instances()
    again = process_driver.inspect(done.instance_name)
    assert again.state is InstanceState.RUNNING
    row = fresh(done)
    assert (row.agent.endpoint, row.restarts) == (again.address, 1)
    end_instance(process_driver, done)
    upkeep.look_after_instances()
    assert process_driver.inspect(done.instance_name).state is not InstanceState.RUNNING
    Deployment.objects.update(restarted_at=ago(seconds=21))
    upkeep.look_after_instances()
    assert process_driver.inspect(done.instance_name).state is InstanceState.RUNNING
    assert fresh(done).restarts == 2
    Deployment.objects.update(restarted_at=ago(minutes=11))
    upkeep.look_after_instances()
    assert fresh(done).restarts == 0


def test_an_agent_that_ends_again_and_again_has_failed_until_somebody_activates_it(
    process_driver: RuntimeDriver,
) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    agent = activate_agent(caller=caller, agent=done.agent)
    for number in range(1, 6):
        end_instance(process_driver, done)
        Deployment.objects.update(restarted_at=ago(minutes=11))
        upkeep.look_after_instances()
        agent.refresh_from_db()
        assert fresh(done).restarts == number
        assert agent.status == (AgentStatus.ACTIVE if number < 5 else AgentStatus.FAILED)
    moved = Transition.objects.filter(subject_id=agent.pk).latest("id")
    assert (moved.to_status, moved.actor) == ("failed", None)
    assert "activate it" in moved.reason
    # It is kept running, but it is for a person to say that it may be called.
    end_instance(process_driver, done)
    Deployment.objects.update(restarted_at=ago(minutes=11))
    upkeep.look_after_instances()
    agent.refresh_from_db()
    running = process_driver.inspect(done.instance_name)
    assert running.state is InstanceState.RUNNING
    assert (agent.status, agent.endpoint) == (AgentStatus.FAILED, running.address)
    assert activate_agent(caller=caller, agent=agent).status == AgentStatus.ACTIVE


def test_an_agent_that_cannot_be_started_again_has_failed_in_the_end(
    process_driver: RuntimeDriver,
) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    agent = activate_agent(caller=caller, agent=done.agent)
    process_driver.remove_instance(done.instance_name)
    process_driver.remove_image(done.image_tag)
    type(done.release).objects.update(files={"../outside.py": ""})
    for _ in range(5):
        agent.refresh_from_db()
        assert agent.status == AgentStatus.ACTIVE
        Deployment.objects.update(restarted_at=ago(minutes=11))
        upkeep.look_after_instances()
    agent.refresh_from_db()
    assert agent.status == AgentStatus.FAILED
    type(done.release).objects.update(files=done.release.files)
    undeploy_agent(caller=caller, agent=agent)
    tasks.compensate_deployment(str(done.pk))
    again = carry_out_again(caller, done)
    assert again.agent.status == AgentStatus.DRAFT


def test_an_engine_that_is_away_fails_no_agent(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    agent = activate_agent(caller=caller, agent=done.agent)
    process_driver.remove_instance(done.instance_name)

    def away(*_: object) -> None:
        raise TransientDriverError("The engine does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(type(process_driver), "ensure_instance", away)
        for _ in range(7):
            Deployment.objects.update(restarted_at=ago(minutes=11))
            upkeep.look_after_instances()
    agent.refresh_from_db()
    assert (agent.status, fresh(done).restarts) == (AgentStatus.ACTIVE, 0)


def test_an_agent_whose_image_is_gone_is_built_again(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    process_driver.remove_instance(done.instance_name)
    process_driver.remove_image(done.image_tag)
    upkeep.look_after_instances()
    again = process_driver.inspect(done.instance_name)
    assert again.state is InstanceState.RUNNING
    assert fresh(done).agent.endpoint == again.address


def test_an_agent_that_cannot_be_started_again_is_unreachable(
    process_driver: RuntimeDriver,
) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    process_driver.remove_instance(done.instance_name)
    process_driver.remove_image(done.image_tag)
    files = done.release.files
    type(done.release).objects.update(files={"../outside.py": ""})
    upkeep.look_after_instances()
    type(done.release).objects.update(files=files)
    agent = Agent.objects.get()
    assert agent.health == Health.UNREACHABLE
    assert "could not be started again" in agent.health_detail["message"]


def test_the_platforms_own_stop_and_start_brings_agents_back_without_a_longer_wait(
    process_driver: RuntimeDriver,
) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    for _ in range(3):
        stop_instances()
        assert process_driver.inspect(done.instance_name).state is InstanceState.MISSING
        Deployment.objects.update(restarted_at=ago(seconds=11))
        upkeep.look_after_instances()
        assert process_driver.inspect(done.instance_name).state is InstanceState.RUNNING
    assert fresh(done).restarts == 0


def test_an_agent_undeployed_while_it_is_started_again_is_removed(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    process_driver.remove_instance(done.instance_name)
    real = process_driver.ensure_instance

    def slow(request: InstanceRequest) -> Instance:
        undeploy_agent(caller=caller, agent=done.agent)
        tasks.compensate_deployment(str(done.pk))
        return real(request)

    with monkeypatch.context() as slept:
        slept.setattr(process_driver, "ensure_instance", slow)
        upkeep.look_after_instances()
    # The image was taken away while it was being started; or it was started, and removed.
    assert made_outside(done.agent) in ([], [f"image {done.image_tag}"])
    upkeep.remove_orphans()
    assert made_outside(done.agent) == []


def test_an_engine_that_does_not_answer_is_asked_again_next_time(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)

    def away(*_: object) -> None:
        raise TransientDriverError("away")

    with monkeypatch.context() as broken:
        broken.setattr(process_driver, "list_owned", away)
        broken.setattr(process_driver, "inspect", away)
        QueueStore(done.agent.key).remove()
        reconciler.reconcile()
        # The other parts did their work.
        assert QueueStore(done.agent.key).exists()
    assert fresh(done).status == DeploymentStatus.RUNNING


def test_a_queue_that_the_server_lost_is_made_again(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    QueueStore(done.agent.key).remove()
    upkeep.restore_queues()
    assert QueueStore(done.agent.key).exists()
    url = QueueStore(done.agent.key).url("127.0.0.1", credentials_of(done.agent).redis_password)
    import redis

    with redis.Redis.from_url(url) as agents_own:
        assert agents_own.ping()


def test_one_agent_that_cannot_be_looked_after_does_not_stop_the_others(
    process_driver: RuntimeDriver,
) -> None:
    broken, sound = (carry_out(make_deployment()[1]) for _ in range(2))
    AgentCredentials.objects.filter(agent=broken.agent).delete()
    for deployment in (broken, sound):
        QueueStore(deployment.agent.key).remove()
        process_driver.remove_instance(deployment.instance_name)

    upkeep.restore_queues()
    upkeep.look_after_instances()

    assert not QueueStore(broken.agent.key).exists()
    assert QueueStore(sound.agent.key).exists()
    assert process_driver.inspect(sound.instance_name).state == InstanceState.RUNNING


def test_running_agents_are_asked_how_they_are(process_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    Agent.objects.update(health=Health.UNKNOWN)
    tasks.check_agents()
    assert Agent.objects.get().health == Health.HEALTHY
    QueueStore(done.agent.key).remove()
    for _ in range(50):
        tasks.check_agents()
        if (agent := Agent.objects.get()).health == Health.DEGRADED:
            break
        threading.Event().wait(0.1)
    assert agent.health == Health.DEGRADED
    process_driver.remove_instance(done.instance_name)
    tasks.check_agents()
    assert Agent.objects.get().health == Health.UNREACHABLE
    undeploy_agent(caller=caller, agent=done.agent)
    checked = Agent.objects.get().health_checked_at
    tasks.check_agents()
    assert Agent.objects.get().health_checked_at == checked


def test_one_part_that_fails_does_not_stop_the_others(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    _, lost = make_deployment()
    age(lost, minutes=2)
    here = settings.AGENT_REDIS_URL
    settings.AGENT_REDIS_URL = "redis://127.0.0.1:1/0"
    moment = timezone.now()
    reconciler.reconcile()
    settings.AGENT_REDIS_URL = here
    assert queued_since(lost, moment)


def test_only_one_reconciler_works_at_a_time() -> None:
    _, lost = make_deployment()
    age(lost, minutes=2)
    moment = timezone.now()
    holding, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with one_at_a_time("provisioning.reconcile") as mine:
            assert mine
            holding.set()
            let_go.wait(60)
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    assert holding.wait(60)
    tasks.reconcile()
    assert not queued_since(lost, moment)
    let_go.set()
    other.join(60)
    tasks.reconcile()
    assert queued_since(lost, moment)
    assert statuses(lost)["build_image"] == "pending"
