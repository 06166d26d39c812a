"""Nobody is held longer than was agreed by an agent that answers byte by byte."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING

import httpcore
import pytest
from django.utils import timezone

from ledger.errors import Unavailable, UpstreamFailed
from provisioning import health, observation, upkeep
from provisioning.agent_client import AgentClient, AgentTooSlow, call_capability
from provisioning.deadlines import DeadlineBackend
from provisioning.enums import DeploymentStatus
from provisioning.health import check, is_ready
from provisioning.models import Deployment
from provisioning.observation import read_figures
from registry.enums import Health
from registry.models import Agent
from registry.services.agents import credentials_of
from tests.provisioning.drip import KNOWN, LIMIT_SECONDS, DrippingAgent
from tests.provisioning.saga import fresh, make_deployment

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

REPORT = b'{"version": "1", "dependencies": []}'
SLOW = pytest.mark.parametrize("slow", ["headers", "body"])


def running_at(address: str) -> Deployment:
    """Make the rows of a deployment that runs there."""
    _, deployment = make_deployment()
    now = timezone.now()
    Deployment.objects.filter(pk=deployment.pk).update(status=DeploymentStatus.RUNNING)
    Agent.objects.filter(pk=deployment.agent_id).update(endpoint=address, registered_at=now)
    return fresh(deployment)


@SLOW
def test_a_health_report_in_drops_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", LIMIT_SECONDS)
    with DrippingAgent(slow, REPORT) as agent:
        checkup = check(agent.address)
        assert checkup.health == Health.UNREACHABLE
        assert "does not answer in time" in checkup.detail["message"]
        assert is_ready(agent.address, seconds=LIMIT_SECONDS) is False
    with DrippingAgent("nothing", REPORT) as agent:
        assert check(agent.address).health == Health.HEALTHY
        assert is_ready(agent.address, seconds=5) is True
    assert is_ready(agent.address, seconds=5) is False


@SLOW
@pytest.mark.parametrize("path", ["/identity", "/invoke/think"])
def test_an_answer_in_drops_is_too_slow(slow: str, path: str) -> None:
    body = b'{"output": {}}'

    def call(address: str, client: AgentClient, seconds: float) -> bool:
        return call_capability(
            client,
            address=address,
            token=KNOWN,
            capability="think",
            payload={},
            request_id="1",
            timeout_seconds=seconds,
        ).ok

    with AgentClient() as client:
        with (
            DrippingAgent(slow, body, slow_path=path) as agent,
            pytest.raises(AgentTooSlow, match=r"within 0\.8 s"),
        ):
            call(agent.address, client, LIMIT_SECONDS)
        with DrippingAgent("nothing", body) as agent:
            assert call(agent.address, client, LIMIT_SECONDS)
            # The next call on the same connection has a time of its own.
            threading.Event().wait(LIMIT_SECONDS)
            assert call(agent.address, client, 5)


def test_an_agent_that_takes_nothing_in_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        deadline = time.monotonic() + LIMIT_SECONDS
        stream = DeadlineBackend(lambda: deadline).connect_tcp(*server.getsockname())
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x" * 50_000_000)
        with pytest.raises(httpcore.WriteTimeout, match="is over"):
            stream.write(b"x")
        with pytest.raises(httpcore.ReadTimeout, match="is over"):
            stream.read(1)
        stream.close()


@pytest.mark.django_db(transaction=True)
@SLOW
def test_figures_in_drops_are_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    settings.RUNTIME_DRIVER = "process"
    monkeypatch.setattr(observation, "_METRICS_SECONDS", LIMIT_SECONDS)
    deployment = running_at("")
    token = credentials_of(deployment.agent).invoke_token
    with DrippingAgent(slow, b"", slow_path="/metrics", token=token) as agent:
        deployment.agent.endpoint = agent.address
        with pytest.raises(Unavailable, match="does not answer in time"):
            read_figures(deployment)


@pytest.mark.django_db(transaction=True)
def test_a_health_check_of_all_agents_does_not_wait_for_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RUNTIME_DRIVER = "process"
    monkeypatch.setattr(upkeep, "_SWEEP_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(health, "CHECK_SECONDS", 60)
    with DrippingAgent("body", REPORT) as slow, DrippingAgent("nothing", REPORT) as quick:
        held, sound = running_at(slow.address), running_at(quick.address)
        upkeep.check_agents()
        assert fresh(held).agent.health == Health.UNKNOWN
        assert fresh(sound).agent.health == Health.HEALTHY


@pytest.mark.django_db(transaction=True)
def test_who_was_not_asked_in_one_turn_is_the_first_in_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RUNTIME_DRIVER = "process"
    monkeypatch.setattr(upkeep, "_CHECKS_AT_ONCE", 1)
    monkeypatch.setattr(health, "CHECK_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(upkeep, "_SWEEP_SECONDS", LIMIT_SECONDS * 1.5)
    with DrippingAgent("body", REPORT) as slow, DrippingAgent("nothing", REPORT) as quick:
        for _ in range(2):
            running_at(slow.address)
        sound = running_at(quick.address)
        Agent.objects.filter(endpoint=slow.address).update(health_checked_at=None)
        Agent.objects.filter(pk=sound.agent_id).update(health_checked_at=timezone.now())
        upkeep.check_agents()
        assert fresh(sound).agent.health == Health.UNKNOWN
        upkeep.check_agents()
        upkeep.check_agents()
        assert fresh(sound).agent.health == Health.HEALTHY


def test_texts_that_the_database_does_not_take_are_made_so_that_it_does() -> None:
    odd = {"name": "a\0b", "status": "ok", "detail": "\ud800"}
    with DrippingAgent("nothing", json.dumps({"dependencies": [odd]}).encode()) as agent:
        (found,) = check(agent.address).detail["dependencies"]
    assert found == {"name": "ab", "status": "ok", "detail": "?"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "line",
    [
        "agent_in_flight +Inf",
        "agent_in_flight NaN",
        "agent_in_flight -Inf",
        "agent_queue_commands_total 1e300",
        'agent_requests_total{capability="a",outcome="ok"} +Inf',
        'agent_request_seconds_sum{capability="a"} NaN',
        'agent_request_seconds_bucket{capability="a",le="x"} 1',
        "agent_in_flight one",
    ],
)
def test_figures_that_are_no_figures_are_refused(settings: Settings, line: str) -> None:
    settings.RUNTIME_DRIVER = "process"
    deployment = running_at("")
    token = credentials_of(deployment.agent).invoke_token
    with DrippingAgent("nothing", f"{line}\n".encode(), token=token) as agent:
        deployment.agent.endpoint = agent.address
        with pytest.raises(UpstreamFailed, match="can't be read"):
            read_figures(deployment)
