"""The whole road as a program goes it: plain HTTP, a WebSocket, a real agent."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from accounts.roles import Role
from accounts.services import create_api_token
from factory import demo
from tests.builders import PASSWORD, make_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.running import RunningPlatform

FACTORY = "/api/platform/agent-factory"
AGENT = {
    "template_id": "memory-agent",
    "agent_id": "WowCustomerContext",
    "name": "Customer Context Agent",
    "display_name": "Customer Context Manager",
    "description": "Stores customer conversation history and preferences",
    "tier": 3,
    "tags": ["customer", "memory", "sales"],
    "capabilities": [
        "store_context",
        "retrieve_context",
        "search_context",
        "summarize_context",
        {
            "name": "analyze_sentiment",
            "description": "Analyze customer sentiment from conversation",
            "input_schema": {"text": "string", "customer_id": "string"},
            "output_schema": {"sentiment": "positive|neutral|negative", "confidence": "float"},
            "timeout_seconds": 30,
        },
    ],
    "resources": {"cpu_cores": 1, "memory_mb": 4096, "storage_gb": 10},
}
SCENARIO = {
    "name": "Store Context",
    "input": {"customer_id": "cust-123", "text": "Customer wants premium plan"},
    "expected_output": {"status": "stored"},
}
STEPS = [
    "build_image",
    "create_container",
    "provision_queues",
    "setup_memory_store",
    "register_agent",
    "health_check",
]


@pytest.fixture
def program(platform: RunningPlatform) -> Iterator[httpx.Client]:
    """A program that signed in with a person's name and password."""
    caller = make_caller(Role.OPERATOR)
    assert caller.user is not None
    with httpx.Client(base_url=platform.url, timeout=60) as client:
        credentials = {"username": caller.user.username, "password": PASSWORD}
        tokens = client.post("/api/auth/token", json=credentials).json()
        client.headers["Authorization"] = f"Bearer {tokens['access']}"
        yield client


def wait_for(look: Callable[[], Any], *, until: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 120
    while not until(value := look()):
        assert time.monotonic() < deadline, value
        time.sleep(0.1)
    return value


def state_of(program: httpx.Client) -> Any:
    return program.get(f"{FACTORY}/agents/{AGENT['agent_id']}/provisioning").json()


def events_of(platform: RunningPlatform, program: httpx.Client, deployment_id: str) -> list[Any]:
    """Follow a deployment over its WebSocket until it is done; return the messages."""
    url = f"{platform.url.replace('http', 'ws', 1)}/ws/factory/deployment/{deployment_id}"
    headers = {"Authorization": program.headers["Authorization"]}
    messages = []
    with connect(url, additional_headers=headers) as socket:
        while True:
            message = json.loads(socket.recv(timeout=60))
            messages.append(message)
            if message["type"] == "snapshot" and message["status"] == "completed":
                return messages
            payload = message.get("payload", {})
            if message.get("kind") == "status" and "step" not in payload:
                assert payload["to"] in ("provisioning", "running"), message
                if payload["to"] == "running":
                    return messages


@pytest.mark.worker
@pytest.mark.docker
def test_from_template_to_a_called_agent_and_away_again(  # noqa: PLR0915 - one road, told in one piece
    platform: RunningPlatform, program: httpx.Client
) -> None:
    listed = httpx.get(f"{platform.url}{FACTORY}/templates").json()["templates"]
    assert {"memory-agent", "blank"} <= {template["id"] for template in listed}

    report = program.post(f"{FACTORY}/validate", json=AGENT).json()
    assert report["valid"] is True
    assert "Memory usage high for tier 3. Consider tier 4." in report["warnings"]
    assert "Add health check capability for better monitoring" in report["suggestions"]

    cost = program.post(
        f"{FACTORY}/estimate-cost", json={"tier": 3, "resources": AGENT["resources"]}
    ).json()
    assert cost["monthly_cost_inr"] == 15000
    assert cost["comparison"] == {"tier_2": 10000, "tier_3": 15000, "tier_4": 22000}

    untested = program.post(f"{FACTORY}/agents", json=AGENT)
    assert (untested.status_code, untested.json()["code"]) == (409, "sandbox_test_required")

    started = program.post(
        f"{FACTORY}/test", json={"agent_config": AGENT, "test_scenarios": [SCENARIO]}
    )
    assert started.status_code == 202
    path = f"{FACTORY}/test/{started.json()['test_id']}/results"
    results = wait_for(
        lambda: program.get(path).json(), until=lambda r: r["status"] not in ("queued", "running")
    )
    assert (results["status"], results["passed"]) == ("completed", True)
    (result,) = results["results"]
    assert (result["scenario"], result["status"]) == ("Store Context", "PASSED")
    assert result["output"]["status"] == "stored"
    assert result["duration_ms"] > 0
    assert result["memory_mb"] > 0
    assert result["logs"]

    headers = {"Idempotency-Key": "road-1"}
    accepted = program.post(f"{FACTORY}/agents", json=AGENT, headers=headers)
    again = program.post(f"{FACTORY}/agents", json=AGENT, headers=headers)
    assert accepted.status_code == 202, accepted.text
    assert again.status_code == 202, again.text
    assert accepted.json()["deployment_id"] == again.json()["deployment_id"]
    assert [step["step"] for step in accepted.json()["provisioning_steps"]] == STEPS

    messages = events_of(platform, program, accepted.json()["deployment_id"])
    assert messages[0]["type"] == "snapshot"
    numbers = [message["seq"] for message in messages]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    agent = f"/api/agents/{AGENT['agent_id']}"
    state = state_of(program)
    assert (state["status"], state["registry_status"]) == ("completed", "DRAFT")
    assert {step["status"] for step in state["steps"]} == {"completed"}

    text = {"customer_id": "cust-123", "text": "Customer wants premium plan"}
    refused = program.post(f"{agent}/invoke/store_context", json=text)
    assert (refused.status_code, refused.json()["code"]) == (409, "agent_not_active")
    assert program.post(f"{agent}/activate").json()["status"] == "active"
    stored = program.post(f"{agent}/invoke/store_context", json=text).json()
    assert stored["output"]["status"] == "stored"
    found = program.post(f"{agent}/invoke/search_context", json={"query": "premium"}).json()
    assert found["output"]["results"][0]["context_id"] == stored["output"]["context_id"]
    assert found["output"]["method"] == "full_text"
    wrong = program.post(f"{agent}/invoke/store_context", json={"text": 5})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_input")
    no_model = program.post(
        f"{agent}/invoke/analyze_sentiment", json={"text": "fine", "customer_id": "cust-123"}
    )
    assert (no_model.status_code, no_model.json()["code"]) == (424, "no_model_connected")

    assert program.delete(agent).json()["code"] == "agent_deployed"
    assert program.post(f"{agent}/undeploy").status_code == 202
    wait_for(lambda: state_of(program)["status"], until=lambda status: status == "stopped")
    assert program.delete(agent).is_success
    assert program.get(agent).status_code == 404
    assert program.post(f"{FACTORY}/validate", json=AGENT).json()["valid"] is True


@pytest.mark.worker
def test_only_who_may_look_can_follow_a_deployment(platform: RunningPlatform) -> None:
    url = f"{platform.url.replace('http', 'ws', 1)}/ws/factory/deployment/"
    url += "00000000-0000-4000-8000-000000000000"
    _, token = create_api_token(caller=make_caller(Role.VIEWER), name="follow")

    for headers, code in (
        ({"Authorization": "Bearer nonsense"}, 4401),
        ({"Authorization": "Token nonsense"}, 4401),
        ({"Authorization": "Basic nonsense"}, 4401),
        ({"Origin": platform.url}, 4401),
        ({"Authorization": f"Token {token}"}, 4404),
    ):
        with (
            connect(url, additional_headers=headers) as socket,
            pytest.raises(ConnectionClosedError) as closed,
        ):
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


@pytest.mark.worker
@pytest.mark.docker
def test_the_demo_goes_the_road_and_finds_most_answers(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, token = create_api_token(caller=make_caller(Role.OPERATOR), name="demo")
    monkeypatch.setenv("FACTORY_TOKEN", token)
    monkeypatch.setenv("FACTORY_URL", platform.url)

    assert demo.main() == 0
    (score,) = demo.run(platform.url)  # a second time, over the agent of the first

    assert score.method == "full_text"
    assert score.hits >= 15
    assert score.hits > demo.substring_hits()
    assert "Removing the WowPythonHelp of an earlier run" in capsys.readouterr().out


def test_the_demo_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACTORY_TOKEN", "any")
    monkeypatch.setenv("FACTORY_URL", "http://127.0.0.1:1")

    assert demo.main() == 1
    assert "does not answer (ConnectError). Start it with: make run" in capsys.readouterr().err
