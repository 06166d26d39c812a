"""Making agents by API: judging, pricing, testing and creating."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from factory.models import Tier
from provisioning.models import Deployment
from registry.models import Agent
from sandbox.models import SandboxTest
from tests.builders import install, make_caller, make_request
from tests.factory.programs import FACTORY, REASON, client_of, post

if TYPE_CHECKING:
    from accounts.callers import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _installed(db: None) -> None:
    install()


@pytest.fixture
def caller() -> Caller:
    return make_caller()


@pytest.fixture
def api(caller: Caller) -> Client:
    return client_of(caller)


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
