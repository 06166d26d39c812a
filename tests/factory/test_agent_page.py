"""An agent's page: how it stands, what it leans on, what it wrote, how its releases differ."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.roles import Role
from factory.agent_page import LogLine, dependency_lines, log_lines, release_lines
from factory.release_changes import Change, spec_changes
from factory.services.revision import revise_agent
from ledger.transitions import transition
from provisioning.enums import DeploymentStatus
from registry.enums import Health
from registry.services.agents import record_health
from tests.builders import install, make_caller, make_request, make_spec
from tests.factory.test_pages import as_visitor, make_agent

if TYPE_CHECKING:
    from django.test import Client

    from accounts.callers import Caller
    from tests.pages import Visitor


@pytest.fixture
def caller() -> Caller:
    install()
    return make_caller(Role.OPERATOR)


@pytest.fixture
def visitor(client: Client, caller: Caller) -> Visitor:
    return as_visitor(client, caller)


def note(visitor: Visitor) -> str:
    part = visitor.html.partition('id="deployment-note"')[2].partition("<br>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", f"<div {part}").split()).removeprefix("rocket_launch ")


# --- How it stands ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_note_fits_what_became_of_the_deployment(visitor: Visitor, caller: Caller) -> None:
    agent, deployment = make_agent(caller)
    path = reverse("agent", args=[agent.agent_id])
    said = [note(visitor.open(path))]
    transition(deployment, to=DeploymentStatus.PROVISIONING)
    transition(deployment, to=DeploymentStatus.RUNNING)
    visitor.open(path)
    assert 'id="deployment-note"' not in visitor.html
    transition(deployment, to=DeploymentStatus.STOPPING)
    said.append(note(visitor.open(path)))
    transition(deployment, to=DeploymentStatus.STOPPED)
    said.append(note(visitor.open(path)))
    assert said == [
        "It is being deployed. Follow it step by step",
        "It is being undeployed. Follow it step by step",
        (
            "It is undeployed: it runs no longer, and what it remembered is deleted. Deploy it to "
            "let it run again. See what was taken away"
        ),
    ]


@pytest.mark.django_db
def test_a_failure_is_told_without_the_agents_output(visitor: Visitor, caller: Caller) -> None:
    agent, deployment = make_agent(caller)
    transition(deployment, to=DeploymentStatus.ROLLING_BACK)
    detail = "The agent stopped. Its last output:\nTraceback"
    transition(deployment, to=DeploymentStatus.FAILED, error_detail=detail)
    visitor.open(reverse("agent", args=[agent.agent_id]))
    assert note(visitor) == (
        "The last deployment failed and was undone. The agent stopped. "
        "See what happened, retry or discard"
    )


# --- What it leans on -------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_model_that_is_not_connected_does_not_read_as_healthy(
    visitor: Visitor, caller: Caller
) -> None:
    agent, deployment = make_agent(caller)
    transition(deployment, to=DeploymentStatus.PROVISIONING)
    transition(deployment, to=DeploymentStatus.RUNNING)
    found = [
        {"name": "redis", "status": "ok", "detail": ""},
        {"name": "postgresql", "status": "down", "detail": "It refuses connections."},
        {"name": "model", "status": "not_connected", "detail": "Connect a model."},
        {"name": "odd_thing", "status": "sleeping", "detail": ""},
    ]
    record_health(agent=agent, health=Health.DEGRADED, detail={"dependencies": found})
    lines = dependency_lines(agent)
    assert [(line.title, line.label) for line in lines] == [
        ("Redis", "OK"),
        ("Long-term memory", "Down"),
        ("Language model", "Not connected"),
        ("Odd thing", "Sleeping"),
    ]
    health = visitor.open(reverse("agent", args=[agent.agent_id])).html.partition('id="health"')[2]
    text = " ".join(re.sub(r"<[^>]+>", " ", health).split())
    assert "Language model link_off Not connected Connect a model." in text


# --- What it counts and writes ----------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["agent-figures", "agent-logs"])
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_an_agent_that_does_not_run_says_so_instead(
    visitor: Visitor, caller: Caller, name: str, headers: dict[str, str]
) -> None:
    agent, deployment = make_agent(caller)
    transition(deployment, to=DeploymentStatus.CANCELLED)
    answer = visitor.client.get(reverse(name, args=[agent.agent_id]), headers=headers)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store, private"
    assert {"HX-Request", "HX-Target"} <= set(answer["Vary"].split(", "))
    assert "does not run" in html
    assert ("<html" in html) is not bool(headers)


def test_log_lines_are_for_people_and_odd_ones_stay_as_they_are() -> None:
    found = log_lines(
        [
            '{"event": "it is done", "ms": 1.5, "no": null, "timestamp": "2026-01-02T03:04:05.6Z"}',
            '{"event": "odd", "timestamp": "2026-99-99T00:00:00Z"}',
            '{"event": 3}',
            "[" * 100_000,
            "plain <b>text</b>",
            "  ",
        ]
    )
    assert [line.text[:20] for line in found] == [
        "it is done", "odd", '{"event": 3}', "[" * 20, "plain <b>text</b>",
    ]  # fmt: skip
    assert found[0].facts == "ms=1.5"
    assert found[0].at is not None
    assert found[0].at.second == 5
    assert found[1] == LogLine(None, "", "odd")


@pytest.mark.parametrize(
    ("timestamp", "shown"),
    [
        ("0001-01-01T00:00:00+14:00", ""),
        ("9999-12-31T23:59:59-14:00", ""),
        ("0001-01-01T00:00:00Z", "00:00:00"),
        ("9999-12-31T23:59:59Z", "23:59:59"),
        ("2026-01-02T03:04:05+05:30", "21:34:05"),
        ("2026-01-02T03:04:05", "03:04:05"),
    ],
)
def test_a_log_line_of_any_time_can_be_shown(timestamp: str, shown: str) -> None:
    lines = log_lines([json.dumps({"event": "odd", "timestamp": timestamp})])
    html = render_to_string("factory/parts/agent_logs.html", {"lines": lines})
    assert "odd" in html
    assert re.findall(r"<time[^>]*>([^<]*)<", html) == ([shown] if shown else [])


# --- Releases ---------------------------------------------------------------------------------


def _spec(**changes: Any) -> dict[str, Any]:
    return make_spec(**{"agent_id": "WowDiff", **changes}).to_json_dict()


def test_equal_specifications_have_no_changes() -> None:
    assert spec_changes(_spec(), _spec()) == ([], 0)


def test_changes_are_told_field_by_field() -> None:
    other = {
        "name": "say_more",
        "description": "Say more.",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "implementation": {"kind": "builtin", "operation": "agent.health"},
    }
    before = _spec(tags=["a"], environment=[{"name": "MODE", "value": "x"}])
    kept = before["capabilities"][0]
    after = _spec(
        goal="Be of use",
        tags=["a", "b"],
        capabilities=[{**kept, "timeout_seconds": 5}, other],
        resources={"cpu_cores": 2},
    )
    changes, more = spec_changes(before, after)
    assert more == 0
    assert {change.label: (change.kind, change.before, change.after) for change in changes} == {
        "Goal": ("added", "", "Be of use"),
        "Tags": ("changed", "a", "a, b"),
        "Capability describe_agent: Timeout seconds": ("changed", "30.0", "5.0"),
        "Capability say_more": ("added", "", "Say more."),
        "CPU cores": ("changed", "1.0", "2.0"),
        "Environment variable MODE": ("removed", "there", ""),
    }


def test_the_order_of_capabilities_is_a_change_and_long_values_are_cut() -> None:
    first = _spec()["capabilities"][0]
    second = {**first, "name": "say_more"}
    changes, _ = spec_changes(
        _spec(capabilities=[first, second]), _spec(capabilities=[second, first], goal="x" * 2000)
    )
    assert changes[0].after == "x" * 160 + "…"
    assert changes[1] == Change(
        "Order of capabilities", "describe_agent, say_more", "say_more, describe_agent"
    )


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (
            "x" * 200 + "old" + "y" * 200,
            "x" * 200 + "new" + "y" * 200,
            ("…" + "x" * 40 + "old" + "y" * 117 + "…", "…" + "x" * 40 + "new" + "y" * 117 + "…"),
        ),
        ("x" * 160, "x" * 160 + "!", ("…" + "x" * 40, "…" + "x" * 40 + "!")),
        ("x" * 150 + "old", "x" * 150 + "new", ("x" * 150 + "old", "x" * 150 + "new")),
        (["a, b"], ["a", "b"], ('["a, b"]', '["a", "b"]')),
        ("1", 1, ('"1"', "1")),
    ],
)
def test_the_two_sides_of_a_change_never_read_the_same(
    before: object, after: object, shown: tuple[str, str]
) -> None:
    for old, new in (({"goal": before}, {"goal": after}), ({"goal": after}, {"goal": before})):
        (change,), _ = spec_changes(old, new)
        assert change.before != change.after
    (change,), _ = spec_changes({"goal": before}, {"goal": after})
    assert (change.before, change.after) == shown


@pytest.mark.parametrize("empty", ["", [], {}])
def test_nothing_written_in_two_ways_is_no_change(empty: object) -> None:
    assert spec_changes({"goal": None}, {"goal": empty}) == ([], 0)
    assert spec_changes({"queues": {"a": empty}}, {"queues": {}}) == ([], 0)


def test_no_more_changes_are_shown_than_one_can_read() -> None:
    names = [{"name": f"NAME_{number}", "value": "x"} for number in range(50)]
    changes, more = spec_changes(_spec(), _spec(environment=names))
    assert (len(changes), more) == (40, 10)


@pytest.mark.django_db
def test_releases_are_listed_with_what_changed(visitor: Visitor, caller: Caller) -> None:
    agent, deployment = make_agent(caller)
    transition(deployment, to=DeploymentStatus.CANCELLED)
    request = make_request(name=agent.name, goal="Something <else>")
    revise_agent(caller=caller, agent=agent, request=request)
    newest, first = release_lines(agent)
    assert (newest.number, newest.is_first, first.is_first) == (2, False, True)
    assert [(change.label, change.after) for change in newest.changes] == [
        ("Goal", "Something <else>")
    ]
    visitor.open(reverse("agent", args=[agent.agent_id]))
    assert "Something &lt;else&gt;" in visitor.html
    assert "rollback" not in visitor.html.lower()
