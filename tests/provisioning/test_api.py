"""What programs are told about an agent's deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rest_framework.test import APIClient

from accounts.roles import Role
from provisioning.models import Deployment
from registry.models import Agent
from tests.builders import make_caller
from tests.provisioning.saga import STEP_NAMES, make_agent, make_deployment

if TYPE_CHECKING:
    from accounts.callers import Caller

pytestmark = pytest.mark.django_db
ROOT = "/api/platform/agent-factory/agents"


def client_of(caller: Caller) -> APIClient:
    client = APIClient()
    client.force_authenticate(caller.user)
    return client


def test_the_steps_of_the_newest_deployment() -> None:
    caller, deployment = make_deployment(agent_id="WowCustomerContext")
    viewer = make_caller(Role.VIEWER, caller.organization)
    answer = client_of(viewer).get(f"{ROOT}/wowcustomercontext/provisioning")
    assert answer.status_code == 200
    told = answer.json()
    assert told["agent_id"] == "WowCustomerContext"
    assert told["deployment_id"] == str(deployment.pk)
    assert [step["step"] for step in told["steps"]] == STEP_NAMES
    assert told["registry_status"] == "DRAFT"


def test_an_agent_that_was_never_deployed() -> None:
    caller, agent, _ = make_agent()
    answer = client_of(caller).get(f"{ROOT}/{agent.agent_id}/provisioning")
    assert answer.status_code == 404
    assert answer.json()["code"] == "deployment_not_found"
    status = client_of(caller).get(f"{ROOT}/{agent.agent_id}/status").json()
    assert status == {
        "agent_id": agent.agent_id,
        "status": "draft",
        "health": "unknown",
        "health_checked_at": None,
        "release": None,
        "registered_at": None,
        "deployment_id": None,
        "deployment_status": None,
        "progress_percent": None,
    }


def test_an_agents_state_in_one_look() -> None:
    caller, deployment = make_deployment()
    Deployment.objects.update(status="running")
    Agent.objects.update(current_release=deployment.release, status="active", health="healthy")
    told = client_of(caller).get(f"{ROOT}/{deployment.agent.agent_id}/status").json()
    assert (told["status"], told["health"], told["release"]) == ("active", "healthy", 1)
    assert told["deployment_id"] == str(deployment.pk)
    assert (told["deployment_status"], told["progress_percent"]) == ("completed", 100)


@pytest.mark.parametrize("view", ["provisioning", "status"])
def test_others_find_nothing(view: str) -> None:
    _, deployment = make_deployment()
    path = f"{ROOT}/{deployment.agent.agent_id}/{view}"
    assert APIClient().get(path).status_code == 401
    answer = client_of(make_caller()).get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "agent_not_found")
    assert client_of(make_caller()).get(f"{ROOT}/no'such%00/{view}").status_code == 404
    assert client_of(make_caller()).post(path).status_code in (403, 405)
