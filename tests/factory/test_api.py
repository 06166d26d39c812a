"""Making agents by API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from accounts.roles import Role
from factory.models import Tier
from provisioning.models import Deployment
from registry.models import Agent
from registry.services.agents import create_release, register_agent, reserve_agent
from sandbox.models import SandboxTest
from tests.builders import install, make_caller, make_request, make_spec

if TYPE_CHECKING:
    from accounts.callers import Caller

pytestmark = pytest.mark.django_db
FACTORY = "/api/platform/agent-factory"
REASON = "Tested by hand on the bench."


@pytest.fixture(autouse=True)
def _installed(db: None) -> None:
    install()


def client_of(caller: Caller) -> Client:
    client = Client()
    assert caller.user is not None
    client.force_login(caller.user)
    return client


def send(client: Client, method: str, path: str, body: Any = None, **extra: Any) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps({} if body is None else body)
    return client.generic(method, path, data, content_type="application/json", **extra)


def post(client: Client, path: str, body: Any = None, **extra: Any) -> Any:
    return send(client, "POST", path, body, **extra)


@pytest.fixture
def caller() -> Caller:
    return make_caller()


@pytest.fixture
def api(caller: Caller) -> Client:
    return client_of(caller)


def make_running(caller: Caller) -> Agent:
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files={"main.py": "pass\n"})
    register_agent(agent=agent, release=release, endpoint="http://127.0.0.1:9")
    return agent


# --- Validate and price -----------------------------------------------------------------------


def test_validating(api: Client) -> None:
    answer = post(api, f"{FACTORY}/validate", make_request())

    assert answer.status_code == 200
    assert answer.json()["valid"] is True
    assert "Memory usage high for tier 3. Consider tier 4." in answer.json()["warnings"]
    assert "Add health check capability for better monitoring" in answer.json()["suggestions"]


def test_what_is_not_valid_is_an_answer_too(api: Client) -> None:
    answer = post(api, f"{FACTORY}/validate", {"name": "X", "tier": "three", "tyer": 3})

    assert answer.status_code == 200
    assert answer.json()["valid"] is False
    assert {finding["field"] for finding in answer.json()["findings"]} == {"tier", "tyer"}


@pytest.mark.parametrize("path", ["estimate-cost", "cost-estimate"])
def test_pricing(api: Client, path: str) -> None:
    answer = post(
        api,
        f"{FACTORY}/{path}",
        {
            "tier": 3,
            "resources": {"cpu_cores": 1, "memory_mb": 4096, "storage_gb": 10},
            "usage_estimates": {"requests_per_month": 100000, "avg_duration_seconds": 2},
        },
    )

    assert answer.status_code == 200
    assert answer.content.decode() == json.dumps(
        {
            "monthly_cost_inr": 15000,
            "breakdown": {
                "compute": 8000,
                "memory": 4000,
                "storage": 1000,
                "network": 1000,
                "other": 1000,
            },
            "comparison": {"tier_2": 10000, "tier_3": 15000, "tier_4": 22000},
        },
        separators=(",", ":"),
    )


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "tier"),
        ({"tier": 0}, "tier"),
        ({"tier": 6}, "tier"),
        ({"tier": "3"}, "tier"),
        ({"tier": 3, "resources": {"memory_mb": 1}}, "resources.memory_mb"),
        ({"tier": 3, "resources": []}, "resources"),
        ({"tier": 3, "usage": {}}, "usage"),
        (
            {"tier": 3, "usage_estimates": {"requests_per_month": -1}},
            "usage_estimates.requests_per_month",
        ),
        (
            {"tier": 3, "usage_estimates": {"requests_per_month": 10**11}},
            "usage_estimates.requests_per_month",
        ),
        (
            {"tier": 3, "usage_estimates": {"avg_duration_seconds": 3601}},
            "usage_estimates.avg_duration_seconds",
        ),
    ],
)
def test_what_can_not_be_priced(api: Client, body: Any, attr: str) -> None:
    answer = post(api, f"{FACTORY}/estimate-cost", body)

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]


HOSTILE = [
    b"",
    b"[]",
    b"5",
    b"null",
    b'"text"',
    b"{",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": "\\u0000"}',
    b'{"a": "\\ud800"}',
    b'{"name": "\xff"}',
    b'{"a": 1, "a": 2}',
    b'{"name": "x", "config": ' + b"[" * 60 + b"]" * 60 + b"}",
    b'{"name": "x", "config": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    b'{"name": "x", "tier": ' + b"9" * 4000 + b"}",
    b'{"name": "x", "tier": ' + b"9" * 5000 + b"}",
    json.dumps({"name": "x", "tags": ["t"] * 100_000}).encode(),
    json.dumps({"name": 'a"};\n{{ 7*7 }}\U0001f600', "tier": [[]]}).encode(),
]
PATHS = [
    ("POST", f"{FACTORY}/validate"),
    ("POST", f"{FACTORY}/estimate-cost"),
    ("POST", f"{FACTORY}/test"),
    ("POST", f"{FACTORY}/agents"),
    ("POST", "/api/agents"),
    ("PUT", "/api/agents/{}"),
    ("PATCH", "/api/agents/{}"),
    ("POST", "/api/agents/{}/deploy"),
    ("POST", "/api/agents/{}/activate"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_hostile_bodies_are_answered_with_what_to_do(
    api: Client, caller: Caller, method: str, path: str
) -> None:
    agent = reserve_agent(caller=caller, spec=make_spec())
    target = path.format(agent.agent_id)
    for body in HOSTILE:
        answer = send(api, method, target, body)
        assert answer.status_code < 500, (body[:80], answer.content)
        if answer.status_code >= 400:
            assert answer["Content-Type"] == "application/problem+json"
            assert answer.json()["detail"]


def test_a_huge_body_is_refused(api: Client) -> None:
    answer = post(api, f"{FACTORY}/validate", b'{"name": "' + b"x" * 1_100_000 + b'"}')
    assert answer.status_code == 413


# --- Test -------------------------------------------------------------------------------------


def test_a_test_is_started(api: Client) -> None:
    body = {
        "agent_config": make_request(),
        "test_scenarios": [
            {
                "name": "Store Context",
                "input": {"customer_id": "cust-123", "text": "..."},
                "expected_output": {"status": "stored"},
            }
        ],
    }

    answer = post(api, f"{FACTORY}/test", body)

    assert answer.status_code == 202, answer.content
    test = SandboxTest.objects.get()
    assert answer.json() == {
        "test_id": str(test.pk),
        "status": "queued",
        "container_id": test.container_id,
    }
    assert answer["Location"] == f"{FACTORY}/test/{test.pk}/results"
    assert test.results.get().capability == "store_context"


def test_without_scenarios_the_templates_are_run(api: Client) -> None:
    answer = post(api, f"{FACTORY}/test", {"agent_config": make_request()})

    assert answer.status_code == 202, answer.content
    names = set(SandboxTest.objects.get().results.values_list("name", flat=True))
    assert {"Store Context", "Retrieve Context", "Search Context"} <= names


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "agent_config"),
        ({"agent_config": []}, "agent_config"),
        ({"agent_config": {"name": "X", "tier": 9}}, "agent_config.tier"),
        ({"agent_config": {"name": "X", "template_id": "no"}}, "agent_config.template_id"),
        (
            {"agent_config": {"name": "X"}, "test_scenarios": [{"name": "Fly", "input": {}}]},
            "test_scenarios.0.capability",
        ),
        (
            {"agent_config": {"name": "X"}, "test_scenarios": [{"input": {}}]},
            "test_scenarios.0.name",
        ),
        ({"agent_config": {"name": "X"}, "test_scenarios": []}, "test_scenarios"),
        ({"agent_config": {"name": "X"}, "test_scenarios": 5}, "test_scenarios"),
        ({"agent_config": {"name": "X"}, "more": 5}, "more"),
    ],
)
def test_what_can_not_be_tested(api: Client, body: Any, attr: str) -> None:
    answer = post(api, f"{FACTORY}/test", body)

    assert answer.status_code == 400
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert not SandboxTest.objects.exists()


# --- Create -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{FACTORY}/agents", "/api/agents"])
def test_creating(api: Client, path: str) -> None:
    body = make_request(name="Customer Context Agent", skip_test_reason=REASON)

    answer = post(api, path, body)

    assert answer.status_code == 202, answer.content
    deployment = Deployment.objects.get()
    assert answer.json() == {
        "agent_id": "WowCustomerContext",
        "deployment_id": str(deployment.pk),
        "status": "provisioning",
        "provisioning_steps": [
            {"step": step, "status": "pending"}
            for step in (
                "build_image",
                "create_container",
                "provision_queues",
                "setup_memory_store",
                "register_agent",
                "health_check",
            )
        ],
        "estimated_duration_seconds": answer.json()["estimated_duration_seconds"],
    }
    assert answer["Location"] == f"{FACTORY}/agents/WowCustomerContext/provisioning"
    assert api.get(answer["Location"]).status_code == 200


def test_an_idempotency_key_makes_one_agent(api: Client) -> None:
    body = make_request(skip_test_reason=REASON)
    headers = {"Idempotency-Key": "3f2a"}

    first = post(api, f"{FACTORY}/agents", body, headers=headers)
    again = post(api, f"{FACTORY}/agents", body, headers=headers)
    other = post(api, f"{FACTORY}/agents", make_request(), headers=headers)

    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 409)
    assert first.json() == again.json()
    assert other.json()["code"] == "idempotency_key_reused"
    assert Agent.objects.count() == 1


def test_refusals_have_their_codes(api: Client) -> None:
    body = make_request(agent_id="WowOne", skip_test_reason=REASON)
    assert post(api, "/api/agents", body).status_code == 202
    Tier.objects.filter(number=1).update(quota=0)

    taken = post(api, "/api/agents", body)
    untested = post(api, "/api/agents", make_request())
    small = {"memory_mb": 512, "cpu_cores": 1, "storage_gb": 1}
    full = post(api, "/api/agents", make_request(tier=1, resources=small))
    empty = post(api, "/api/agents", make_request(skip_test_reason=""))
    wrong = post(api, "/api/agents", make_request(skip_test_reason=5))

    found = [
        (answer.status_code, answer.json()["code"])
        for answer in (taken, untested, full, empty, wrong)
    ]
    assert found == [
        (409, "agent_id_taken"),
        (409, "sandbox_test_required"),
        (429, "tier_quota_full"),
        (400, "invalid_input"),
        (400, "invalid_input"),
    ]
    assert "WowOne2" in taken.json()["detail"]


# --- Agents -----------------------------------------------------------------------------------


def make_some(caller: Caller) -> None:
    for number in range(5):
        reserve_agent(
            caller=caller,
            spec=make_spec(
                agent_id=f"WowNumber{number}",
                display_name=f"Number {number}",
                tier=1 + number % 2,
                tags=("even",) if number % 2 == 0 else ("odd",),
            ),
        )


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"ordering": "agent_id"}, [0, 1, 2, 3, 4]),
        ({"ordering": "-tier"}, [3, 1, 4, 2, 0]),
        ({"tier": "1"}, [4, 2, 0]),
        ({"tag": "odd"}, [3, 1]),
        ({"tag": "no"}, []),
        ({"status": "draft", "template": "blank"}, [4, 3, 2, 1, 0]),
        ({"status": "active"}, []),
        ({"q": "number 3"}, [3]),
        ({"q": "%"}, []),
    ],
)
def test_the_list_is_narrowed_and_ordered(
    api: Client, caller: Caller, query: dict[str, str], numbers: list[int]
) -> None:
    make_some(caller)

    answer = api.get("/api/agents", query)

    assert answer.status_code == 200, answer.content
    found = [agent["agent_id"] for agent in answer.json()["results"]]
    expected = [f"WowNumber{number}" for number in numbers]
    assert (sorted(found) if query.get("ordering") == "-tier" else found) == (
        sorted(expected) if query.get("ordering") == "-tier" else expected
    )


@pytest.mark.parametrize(
    "query",
    [
        {"status": "gone"},
        {"tier": "x"},
        {"tier": "9"},
        {"ordering": "owner__password"},
        {"page_size": "0"},
        {"page_size": "1000"},
        {"colour": "red"},
        {"q": "a\x00"},
        {"cursor": "nonsense"},
    ],
)
def test_a_query_that_means_nothing_is_refused(api: Client, query: dict[str, str]) -> None:
    answer = api.get("/api/agents", query)
    assert answer.status_code in (400, 404)
    assert answer["Content-Type"] == "application/problem+json"


def test_pages_follow_each_other(api: Client, caller: Caller) -> None:
    make_some(caller)
    seen: list[str] = []
    path: str | None = "/api/agents?page_size=2&ordering=agent_id"
    while path:
        page = api.get(path).json()
        seen += [agent["agent_id"] for agent in page["results"]]
        path = page["next"]
    assert seen == [f"WowNumber{number}" for number in range(5)]


def test_the_list_costs_the_same_at_any_length(
    api: Client, caller: Caller, django_assert_max_num_queries: Any
) -> None:
    for _ in range(12):
        make_running(caller)
    with django_assert_max_num_queries(5):
        answer = api.get("/api/agents")
    assert len(answer.json()["results"]) == 12


def test_an_agent_is_shown_without_its_address_and_credentials(api: Client, caller: Caller) -> None:
    agent = make_running(caller)

    shown = api.get(f"/api/agents/{agent.agent_id.lower()}").json()

    assert shown["agent_id"] == agent.agent_id
    assert shown["template"] == {"id": "blank", "version": "1.0.0"}
    assert (shown["status"], shown["release"]) == ("draft", 1)
    assert shown["spec"]["agent_id"] == agent.agent_id
    assert [release["number"] for release in shown["releases"]] == [1]
    assert "127.0.0.1" not in json.dumps(shown)
    assert not {"endpoint", "credentials"} & shown.keys()


def test_editing_and_configuring_anew(api: Client, caller: Caller) -> None:
    agent = make_running(caller)
    path = f"/api/agents/{agent.agent_id}"

    edited = send(api, "PATCH", path, {"display_name": "Shown", "tags": ["a"]})
    refused = send(api, "PATCH", path, {"status": "active"})
    revised = send(api, "PUT", path, {"name": "Renamed", "tier": 2})

    assert (edited.status_code, edited.json()["display_name"]) == (200, "Shown")
    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "status")
    assert revised.status_code == 200, revised.content
    assert [release["number"] for release in revised.json()["releases"]] == [2, 1]
    assert (revised.json()["name"], revised.json()["release"]) == ("Renamed", 1)


def test_lifecycle(api: Client, caller: Caller) -> None:
    agent = make_running(caller)
    path = f"/api/agents/{agent.agent_id}"

    found = [
        (name, answer.status_code, answer.json().get("status"))
        for name in ("pause", "activate", "pause", "resume", "deprecate", "activate")
        for answer in [post(api, f"{path}/{name}")]
    ]

    assert found == [
        ("pause", 409, 409),
        ("activate", 200, "active"),
        ("pause", 200, "paused"),
        ("resume", 200, "active"),
        ("deprecate", 200, "deprecated"),
        ("activate", 409, 409),
    ]


def test_deploying_cancelling_retrying_and_deleting(api: Client) -> None:
    body = make_request(agent_id="WowOne", skip_test_reason=REASON)
    post(api, "/api/agents", body)
    path = "/api/agents/WowOne"

    twice = post(api, f"{path}/deploy")
    early = post(api, f"{path}/undeploy")
    cancelled = post(api, f"{path}/cancel")
    retried = post(api, f"{path}/retry")
    post(api, f"{path}/cancel")
    deployed = post(api, f"{path}/deploy")
    post(api, f"{path}/cancel")
    deleted = api.delete(path)

    assert [twice.status_code, early.status_code] == [409, 409]
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert (retried.status_code, retried.json()["status"]) == (202, "provisioning")
    assert deployed.status_code == 202, deployed.content
    assert deleted.status_code == 204
    assert api.get(path).status_code == 404
    assert post(api, "/api/agents", body).status_code == 202


def test_what_was_never_deployed_can_not_be_retried(api: Client, caller: Caller) -> None:
    agent = reserve_agent(caller=caller, spec=make_spec())
    for name in ("retry", "cancel"):
        answer = post(api, f"/api/agents/{agent.agent_id}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "deployment_not_found")


# --- Who --------------------------------------------------------------------------------------

ACTIONS = (
    "deploy", "undeploy", "retry", "cancel", "activate", "pause", "resume", "deprecate",
)  # fmt: skip
ROUTES = [
    ("GET", "/api/agents/{}"),
    ("PATCH", "/api/agents/{}"),
    ("PUT", "/api/agents/{}"),
    ("DELETE", "/api/agents/{}"),
    *(("POST", f"/api/agents/{{}}/{action}") for action in ACTIONS),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("by", ["agent_id", "id"])
def test_another_organisations_agent_is_not_there(method: str, path: str, by: str) -> None:
    agent = make_running(make_caller())
    stranger = client_of(make_caller())

    answer = send(stranger, method, path.format(getattr(agent, by)), {})

    assert (answer.status_code, answer.json()["code"]) == (404, "agent_not_found")
    assert agent.agent_id not in answer.content.decode()
    assert stranger.get("/api/agents").json()["results"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *ROUTES[1:],
        ("POST", "/api/agents"),
        ("POST", f"{FACTORY}/agents"),
        ("POST", f"{FACTORY}/validate"),
        ("POST", f"{FACTORY}/test"),
    ],
)
def test_a_viewer_changes_nothing(caller: Caller, method: str, path: str) -> None:
    agent = make_running(caller)
    viewer = client_of(make_caller(Role.VIEWER, caller.organization))

    answer = send(viewer, method, path.format(agent.agent_id), {})

    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/api/agents"), *PATHS])
def test_signing_in_is_asked_for(method: str, path: str) -> None:
    answer = send(Client(), method, path.format("WowOne"), {})
    assert answer.status_code in (401, 403)
