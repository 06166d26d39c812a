"""A Docker engine that is killed and started again costs time only."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from docker.api.client import APIClient
from requests.exceptions import ConnectionError as RequestsConnectionError

from gateway.services import invoke_agent
from ledger.errors import DomainError
from provisioning import upkeep
from provisioning.drivers import docker_engine, get_driver
from provisioning.drivers.docker_networks import ensure_networks
from provisioning.enums import DeploymentStatus
from provisioning.images.base import BASE_TAG
from provisioning.images.runtime import ensure_runtime_image
from provisioning.services import undeploy_agent
from provisioning.undo import undo
from registry.services.agents import activate_agent
from tests.provisioning.saga import (
    LONG_TERM,
    carry_out,
    fresh,
    made_outside,
    make_deployment,
    statuses,
)
from tests.provisioning.second_engine import SecondEngine, missing
from tests.running import leave_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from accounts.callers import Caller
    from provisioning.drivers.base import RuntimeDriver
    from provisioning.models import Deployment
    from tests.services import TestServices

pytestmark = [
    pytest.mark.docker,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(bool(missing()), reason=f"no engine of the test's own: {missing()}"),
]


@pytest.fixture(scope="module")
def engine_of_its_own(services: TestServices) -> Iterator[SecondEngine]:
    """An engine with the runtime's image, on whose networks the servers listen."""
    assert services.docker is not None
    runtime = ensure_runtime_image().reference
    label = {"agent-factory.installation": services.installation}
    made = SecondEngine(services.docker, label, services.folder.path)
    listened_on = {*services.gateways.values(), *services.platform_gateways.values()}
    try:
        made.start()
        made.copy_images(services.docker, BASE_TAG, runtime)
        with on_engine(made):
            gateways = ensure_networks(installation_of(services))
        listen_on(services, {*listened_on, *gateways.values()})
        yield made
        listen_on(services, listened_on)
    finally:
        made.remove()


@pytest.fixture
def driver(
    engine_of_its_own: SecondEngine, services: TestServices, settings: Settings
) -> Iterator[RuntimeDriver]:
    """The Docker driver on that engine, under an installation id of its own."""
    settings.INSTALLATION_ID = installation_of(services)
    settings.RUNTIME_DRIVER = "docker"
    with on_engine(engine_of_its_own):
        found = get_driver()
        settings.AGENT_DATABASE_HOST = settings.AGENT_REDIS_HOST = found.services_host("agents")
        yield found


def installation_of(services: TestServices) -> str:
    return f"{services.installation}q"


def listen_on(services: TestServices, addresses: set[str]) -> None:
    services.servers.listen_on(sorted(addresses))
    leave_database()


@contextmanager
def on_engine(engine: SecondEngine) -> Iterator[None]:
    """Let the drivers of this process talk to that engine."""
    docker_engine.engine().close()
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setenv("DOCKER_HOST", engine.host)
        # The client knows its address already.
        docker_engine._engine_of.cache_clear()  # noqa: SLF001 - as above
        yield
        docker_engine.engine().close()
    docker_engine._engine_of.cache_clear()  # noqa: SLF001 - as above


def crash_once(
    engine: SecondEngine, monkeypatch: pytest.MonkeyPatch, call: str, *, before: bool
) -> list[str]:
    """Kill the engine just before or after it does what is asked, and start it again."""
    crashes: list[str] = []
    real = getattr(APIClient, call)

    def crashing(self: APIClient, *args: Any, **kwargs: Any) -> Any:
        # Images are made in a container without a name.
        of_image = call == "create_container_from_config" and args[1] is None
        if crashes or of_image:
            return real(self, *args, **kwargs)
        crashes.append(call)
        if not before:
            real(self, *args, **kwargs)
        engine.kill()
        engine.start()
        raise RequestsConnectionError("The engine went away.")

    monkeypatch.setattr(APIClient, call, crashing)
    return crashes


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", ["commit", "create_container_from_config", "start"])
def test_an_engine_killed_in_the_middle_of_a_deployment_costs_time_only(
    driver: RuntimeDriver,
    engine_of_its_own: SecondEngine,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    *,
    before: bool,
) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    crashes = crash_once(engine_of_its_own, monkeypatch, call, before=before)

    done = carry_out(deployment)

    assert crashes == [call]
    assert done.status == DeploymentStatus.RUNNING, (done.error_detail, statuses(done))
    kinds = sorted(item.split()[0] for item in made_outside(done.agent))
    assert kinds == ["image", "instance", "memory", "queue", "volume"]
    assert answer_of(caller, done) == done.agent.agent_id
    take_away(caller, done)


@pytest.mark.parametrize("call", ["stop", "remove_container", "remove_image"])
def test_an_engine_killed_in_the_middle_of_an_undo_leaves_nothing(
    driver: RuntimeDriver,
    engine_of_its_own: SecondEngine,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    crashes = crash_once(engine_of_its_own, monkeypatch, call, before=False)

    take_away(caller, done)

    assert crashes == [call]


def test_agents_come_back_after_the_engine_and_none_answers_for_another(
    driver: RuntimeDriver, engine_of_its_own: SecondEngine
) -> None:
    made = [make_deployment() for _ in range(3)]
    running = [(caller, carry_out(deployment)) for caller, deployment in made]
    for caller, deployment in running:
        assert answer_of(caller, deployment) == deployment.agent.agent_id
    endpoints = [deployment.agent.endpoint for _, deployment in running]

    engine_of_its_own.kill()
    engine_of_its_own.start()

    # The first gets the address of the last, and so on, as when they come back in another order.
    for (_, deployment), endpoint in zip(running, reversed(endpoints), strict=True):
        type(deployment.agent).objects.filter(pk=deployment.agent.pk).update(endpoint=endpoint)
    wanted = [deployment.agent.agent_id for _, deployment in running]
    deadline = time.monotonic() + 60
    while True:
        answers = [answer_of(caller, deployment) for caller, deployment in running]
        # Until it is found again an agent gives no answer; never another one's.
        assert all(said in ("", name) for said, name in zip(answers, wanted, strict=True))
        if answers == wanted:
            break
        assert time.monotonic() < deadline, answers
        upkeep.look_after_instances()
        time.sleep(0.2)
    for caller, deployment in running:
        take_away(caller, deployment)


def answer_of(caller: Caller, deployment: Deployment) -> str:
    """Return the name that the agent itself gives, through the gateway; empty without an answer."""
    agent = fresh(deployment).agent
    if agent.status == "draft":
        activate_agent(caller=caller, agent=agent)
    try:
        result = invoke_agent(caller=caller, agent=agent, capability="describe_agent", payload={})
    except DomainError as error:
        assert error.status == 503  # noqa: PT017 - one of two outcomes
        return ""
    return str(result.output["agent_id"])


def take_away(caller: Caller, deployment: Deployment) -> None:
    """Undeploy; nothing is left of it then."""
    undeploy_agent(caller=caller, agent=fresh(deployment).agent)
    undo(deployment.pk)
    assert fresh(deployment).status == DeploymentStatus.STOPPED
    assert made_outside(deployment.agent) == []
