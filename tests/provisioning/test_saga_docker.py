"""The saga with real containers: what differs from local processes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest

from provisioning import reconciler, upkeep
from provisioning.drivers import docker_engine
from provisioning.drivers.base import InstanceState
from provisioning.enums import DeploymentStatus
from provisioning.services import retry_deployment, undeploy_agent
from provisioning.undo import undo
from registry.enums import Health
from registry.services.agents import credentials_of
from tests.provisioning.saga import (
    LONG_TERM,
    carry_out,
    fresh,
    made_outside,
    make_deployment,
    statuses,
    step_on,
)

if TYPE_CHECKING:
    from provisioning.drivers.base import RuntimeDriver
    from tests.services import TestServices

pytestmark = [pytest.mark.docker, pytest.mark.django_db(transaction=True)]


def test_a_container_is_deployed_called_and_taken_away(docker_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    done = carry_out(deployment)
    assert done.status == DeploymentStatus.RUNNING, (done.error_detail, statuses(done))
    agent = done.agent
    assert agent.health == Health.HEALTHY
    answer = httpx.post(
        f"{agent.endpoint}/invoke/describe_agent",
        headers={"Authorization": f"Bearer {credentials_of(agent).invoke_token}"},
        json={},
    )
    assert answer.status_code == 200, answer.text
    assert done.steps.get(name="create_container").detail.startswith("Container ID: ")
    undeploy_agent(caller=caller, agent=agent)
    assert undo(done.pk) is True
    assert fresh(done).status == DeploymentStatus.STOPPED
    assert made_outside(agent) == []
    again = carry_out(retry_deployment(caller=caller, deployment=done))
    assert again.status == DeploymentStatus.RUNNING


def test_an_image_removed_on_the_way_is_told_and_undone(docker_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment()
    step_on(deployment, "build_image")
    docker_driver.remove_image(deployment.image_tag)
    failed = carry_out(deployment)
    assert (failed.status, failed.error_code) == (DeploymentStatus.FAILED, "image_gone")
    assert made_outside(failed.agent) == []
    assert carry_out(retry_deployment(caller=caller, deployment=failed)).status == "running"


def test_a_container_that_exits_is_told_and_undone(docker_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment(
        files={"main": "print('I was told to stop', flush=True)\nraise SystemExit(3)\n"}
    )
    failed = carry_out(deployment)
    assert failed.status == DeploymentStatus.FAILED
    assert "I was told to stop" in failed.error_detail
    assert made_outside(failed.agent) == []


def test_an_engine_that_does_not_answer_makes_nothing(
    docker_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, deployment = make_deployment()
    with monkeypatch.context() as away:
        away.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        # The client knows its address already.
        docker_engine.engine().close()
        docker_engine._engine_of.cache_clear()  # noqa: SLF001 - as above
        failed = carry_out(deployment)
    docker_engine._engine_of.cache_clear()  # noqa: SLF001 - as above
    assert failed.status == DeploymentStatus.FAILED
    assert failed.steps.get(name="build_image").attempt == 4
    assert carry_out(retry_deployment(caller=caller, deployment=failed)).status == "running"


def test_a_container_with_a_new_address_is_found_again(
    docker_driver: RuntimeDriver, services: TestServices
) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    assert services.docker is not None
    # As after a restart of the engine: another container took the address first.
    ours = services.docker.containers.get(done.instance_name)
    network = services.docker.networks.get(next(iter(ours.attrs["NetworkSettings"]["Networks"])))
    ours.stop(timeout=1)
    assert ours.image is not None
    other = services.docker.containers.create(
        str(ours.image.id),
        command=["sleep", "60"],
        entrypoint=[],
        network=network.name,
        labels={"agent-factory.installation": services.installation},
    )
    try:
        other.start()
        ours.start()
        moved = docker_driver.inspect(done.instance_name)
        assert moved.state is InstanceState.RUNNING
        assert moved.address != done.agent.endpoint
        reconciler.reconcile()
        assert fresh(done).agent.endpoint == moved.address
        for _ in range(100):
            upkeep.check_agents()
            if (health := fresh(done).agent.health) == Health.HEALTHY:
                break
            time.sleep(0.1)
        assert health == Health.HEALTHY
    finally:
        other.remove(force=True)
