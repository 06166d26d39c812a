"""The agents of one's organisation by API, and what can be done with each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from accounts.roles import Role
from registry.services.agents import reserve_agent
from tests.builders import install, make_caller, make_request, make_spec
from tests.factory.programs import FACTORY, REASON, client_of, make_running, post, send

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


@pytest.mark.parametrize(
    ("method", "path"), [*ROUTES, ("GET", "/api/agents"), ("POST", "/api/agents")]
)
def test_signing_in_is_asked_for(method: str, path: str) -> None:
    answer = send(Client(), method, path.format("WowOne"), {})
    assert answer.status_code in (401, 403)
