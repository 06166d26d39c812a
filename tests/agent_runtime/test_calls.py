"""Calls over HTTP to a real agent process."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_runtime.metrics import CONTENT_TYPE
from provisioning.agent_identity import proof_of
from tests.agent_runtime.projects import AgentProcess, builtin, make_document, start_agent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

CODE = """\
import asyncio
from typing import Any

from agent_runtime import Context, Problem
from agent_runtime.errors import Code


async def run(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    match payload.get("do"):
        case "echo":
            context.log.info("echoing", known=context.spec["agent_id"])
            return {"request_id": context.request_id, "said": payload["text"]}
        case "sleep":
            await asyncio.sleep(payload["seconds"])
            return {}
        case "raise":
            raise ValueError("cannot use " + payload["text"])
        case "timeout":
            raise TimeoutError("of its own")
        case "list":
            return [1]
        case "object":
            return {"value": object()}
        case "wrong":
            return {"said": 7}
        case "problem":
            raise Problem(Code.UPSTREAM_FAILED, "The shop is closed.")
        case "unknown builtin":
            return await context.builtin("memory.forget", {})
        case "builtin":
            return await context.builtin("memory.store", {"customer_id": "a", "text": "b"})
        case "prompt":
            return await context.prompt(payload["name"], {})
        case "http":
            return await context.http(payload["name"], {})
    return {}
"""
INPUT = {
    "type": "object",
    "properties": {
        "do": {"type": "string"},
        "text": {"type": "string", "maxLength": 500},
        "seconds": {"type": "number"},
        "name": {"type": "string"},
        "place": {
            "type": "object",
            "properties": {"town": {"type": "string"}},
            "required": ["town"],
        },
    },
    "required": ["do"],
    "additionalProperties": False,
}
OUTPUT = {"type": "object", "properties": {"said": {"type": "string"}}}
TOKEN = {"invoke_token": "the-token-of-this-agent"}


def document(**policies: object) -> dict[str, object]:
    act = builtin(
        "act", "agent.describe", input_schema=INPUT, output_schema=OUTPUT, description="Acts.",
        examples=[{"input": {"do": "echo"}, "output": {"said": "hello"}}], timeout_seconds=0.7,
    )  # fmt: skip
    about = builtin("about", "agent.describe")
    return make_document([act, about, builtin("well", "agent.health")], **policies)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with start_agent(
        tmp_path_factory.mktemp("agent"),
        document(
            policies={"rate_limit_per_minute": 100_000},
            queues={"max_concurrency": 4, "priority": "NORMAL"},
        ),
        TOKEN,
        {"act": CODE},
        AGENT_MAX_BODY_BYTES="4096",
    ) as process:
        process.wait_for("/ready")
        yield process


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = dict(answer.json())
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def test_answers_with_the_output_the_request_id_and_the_duration(agent: AgentProcess) -> None:
    answer = agent.invoke("act", {"do": "echo", "text": "hello"}, **{"x-request-id": "abc-1"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["output"] == {"request_id": "abc-1", "said": "hello"}
    assert body["request_id"] == answer.headers["x-request-id"] == "abc-1"
    assert body["duration_ms"] >= 0
    lines = [line for line in agent.log_lines() if line.get("request_id") == "abc-1"]
    assert [line["event"] for line in lines] == ["echoing", "capability completed"]
    assert lines[0]["known"] == "WowTest"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a b\tc", "abc"), ("x" * 300, "x" * 128), ('"}{', None), ("", None)],
)
def test_request_ids_are_cleaned(agent: AgentProcess, sent: str, kept: str | None) -> None:
    answer = agent.client.get("/health", headers={"x-request-id": sent})
    got = answer.headers["x-request-id"]
    assert got == kept if kept else got.startswith("req-")


@pytest.mark.parametrize("path", ["/capabilities", "/metrics"])
@pytest.mark.parametrize("sent", ["", "Bearer wrong", "Basic the-token-of-this-agent", "Bearer ü"])
def test_what_needs_the_token_refuses_without_it(agent: AgentProcess, path: str, sent: str) -> None:
    answer = agent.client.get(path, headers={b"authorization": sent.encode("latin-1")})
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert agent.client.get("/health", headers={"authorization": ""}).status_code == 200
    assert agent.client.get("/ready", headers={"authorization": ""}).status_code == 200


def test_a_call_needs_the_token(agent: AgentProcess) -> None:
    problem(agent.invoke("act", {"do": "echo"}, authorization="Bearer no"), 401, "unauthorized")


def test_it_proves_itself_without_saying_its_token(agent: AgentProcess) -> None:
    challenge = "0a" * 32
    ask = {"x-agent-challenge": challenge, "authorization": ""}
    answer = agent.client.get("/identity", headers=ask)
    assert answer.json() == {"proof": proof_of(TOKEN["invoke_token"], challenge)}
    assert TOKEN["invoke_token"] not in answer.text


@pytest.mark.parametrize("challenge", ["", "0a", "0A" * 32, "0a" * 33, "x" * 64])
def test_a_challenge_has_one_form(agent: AgentProcess, challenge: str) -> None:
    answer = agent.client.get("/identity", headers={"x-agent-challenge": challenge})
    problem(answer, 422, "invalid_input")


def test_without_a_token_there_is_no_proof(tmp_path: Path) -> None:
    with start_agent(tmp_path, document(), {}) as process:
        process.wait_for("/ready")
        answer = process.client.get("/identity", headers={"x-agent-challenge": "0a" * 32})
        problem(answer, 404, "not_found")


def test_health_says_who_it_is(agent: AgentProcess) -> None:
    body = agent.client.get("/health").json()
    assert body.pop("uptime_seconds") >= 0
    assert len(body.pop("digest")) == 64
    assert body == {
        "status": "ok", "agent_id": "WowTest", "mode": "live", "version": "0.1.0",
        "dependencies": [],
    }  # fmt: skip
    assert agent.output("well", {})["status"] == "ok"


def test_lists_its_capabilities(agent: AgentProcess) -> None:
    body = agent.client.get("/capabilities").json()
    assert [c["name"] for c in body["capabilities"]] == ["act", "about", "well"]
    act = body["capabilities"][0]
    assert act == {
        "name": "act", "description": "Acts.", "kind": "builtin", "input_schema": INPUT,
        "output_schema": OUTPUT, "timeout_seconds": 0.7,
        "examples": [{"input": {"do": "echo"}, "output": {"said": "hello"}}],
    }  # fmt: skip
    about = agent.output("about", {})
    assert about["agent_id"] == "WowTest"
    assert [c["name"] for c in about["capabilities"]] == ["act", "about", "well"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/invoke/act", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("DELETE", "/metrics", 405, "method_not_allowed"),
        ("POST", "/capabilities", 405, "method_not_allowed"),
        ("POST", "/invoke/nothing", 404, "capability_not_found"),
        ("POST", "/invoke/../act", 404, "not_found"),
        ("POST", "/invoke/%00", 404, "capability_not_found"),
        ("POST", "/invoke/" + "x" * 3000, 404, "capability_not_found"),
    ],
)
def test_addresses_that_are_not_there(
    agent: AgentProcess, method: str, path: str, status: int, code: str
) -> None:
    problem(agent.client.request(method, path, json={}), status, code)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"text"', b'{"a": NaN}', b'{"a": 1e999}', b'{"a": -Infinity}',
        b'{"a": "\xff"}', b'{"a": "\\ud800"}', b'{"a":' * 40 + b"1" + b"}" * 40, b"[" * 4000,
        b'{"a":[' + b"1," * 900 + b"1]", b'{"a": ' + b"9" * 4050 + b"}x",
    ],
)  # fmt: skip
def test_bodies_that_are_not_a_json_object(agent: AgentProcess, body: bytes) -> None:
    body_out = problem(agent.client.post("/invoke/act", content=body), 400, "invalid_json")
    assert body_out["detail"]


def test_a_body_over_the_limit_is_refused_at_once_and_as_it_comes(agent: AgentProcess) -> None:
    over = json.dumps({"do": "echo", "text": "x" * 5000}).encode()
    problem(agent.client.post("/invoke/act", content=over), 413, "too_large")
    # Without a declared length, in chunks.
    chunks = (over[i : i + 100] for i in range(0, len(over), 100))
    problem(agent.client.post("/invoke/act", content=chunks), 413, "too_large")


def test_a_caller_who_leaves_harms_nothing(agent: AgentProcess) -> None:
    with socket.create_connection(("127.0.0.1", agent.port)) as caller:
        caller.sendall(
            b"POST /invoke/act HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
            b"Authorization: Bearer the-token-of-this-agent\r\n\r\n{"
        )
    assert agent.invoke("act", {"do": "nothing"}).status_code == 200


def test_each_wrong_field_is_named(agent: AgentProcess) -> None:
    answer = agent.invoke("act", {"text": 5, "extra": 1, "place": {}})
    body = problem(answer, 422, "invalid_input")
    errors = {(e["attr"], e["code"]) for e in body["errors"]}  # type: ignore[attr-defined]  # JSON
    assert errors == {
        ("do", "required"), ("extra", "additionalProperties"), ("text", "type"),
        ("place.town", "required"),
    }  # fmt: skip


@pytest.mark.parametrize(("length", "status"), [(499, 200), (500, 200), (501, 422)])
def test_a_field_at_below_and_over_its_bound(agent: AgentProcess, length: int, status: int) -> None:
    answer = agent.invoke("act", {"do": "echo", "text": "é" * length})
    assert answer.status_code == status
    if status == 422:
        assert len(answer.json()["errors"][0]["detail"]) <= 300


@pytest.mark.parametrize(
    ("payload", "status", "code"),
    [
        ({"do": "sleep", "seconds": 30}, 504, "timeout"),
        ({"do": "timeout"}, 500, "internal_error"),
        ({"do": "list"}, 502, "invalid_output"),
        ({"do": "object"}, 502, "invalid_output"),
        ({"do": "wrong"}, 502, "invalid_output"),
        ({"do": "problem"}, 502, "upstream_failed"),
        ({"do": "unknown builtin"}, 404, "capability_not_found"),
        ({"do": "builtin"}, 503, "dependency_down"),
        ({"do": "prompt", "name": "act"}, 404, "capability_not_found"),
        ({"do": "http", "name": "nothing"}, 404, "capability_not_found"),
    ],
)
def test_failures_say_which(
    agent: AgentProcess, payload: dict[str, object], status: int, code: str
) -> None:
    assert problem(agent.invoke("act", payload), status, code)["detail"]


def test_a_bug_is_logged_with_its_cause_and_without_what_was_sent(agent: AgentProcess) -> None:
    answer = agent.invoke("act", {"do": "raise", "text": "my private words"})
    body = problem(answer, 500, "internal_error")
    assert "private" not in answer.text
    assert str(body["request_id"]) in str(body["detail"])
    line = next(
        line
        for line in agent.log_lines()
        if line.get("request_id") == body["request_id"] and line["level"] == "error"
    )
    assert line["error"] == "ValueError"
    assert line["message"] == "cannot use [input]"
    assert "act.py" in line["where"]
    assert "private" not in agent.logs()
    assert TOKEN["invoke_token"] not in agent.logs()


def test_metrics_are_in_the_exposition_format(agent: AgentProcess) -> None:
    agent.invoke("about", {})
    agent.invoke("nothing%0A%22", {})
    answer = agent.client.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE
    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    counted = {
        (s.labels["capability"], s.labels["outcome"]): s.value
        for s in families["agent_requests"].samples
    }
    assert counted["about", "ok"] >= 1
    assert counted["unknown", "capability_not_found"] >= 1
    histogram = families["agent_request_seconds"]
    about = [s for s in histogram.samples if s.labels.get("capability") == "about"]
    last = [s.value for s in about if s.labels.get("le") == "+Inf"]
    assert last == [s.value for s in about if s.name.endswith("_count")]
    assert families["agent_in_flight"].samples[0].value == 0
    assert families["agent_resident_bytes"].samples[0].value > 10_000_000


def test_over_its_concurrency_it_is_busy(agent: AgentProcess) -> None:
    with ThreadPoolExecutor(60) as pool:
        answers = list(
            pool.map(lambda _: agent.invoke("act", {"do": "sleep", "seconds": 0.6}), range(60))
        )
    codes = {a.status_code for a in answers}
    assert codes == {200, 503}
    refused = next(a for a in answers if a.status_code == 503)
    problem(refused, 503, "busy")
    assert refused.headers["retry-after"] == "1"


def test_over_its_rate_it_says_when_to_call_again(tmp_path: Path) -> None:
    spec = document(policies={"rate_limit_per_minute": 3})
    with start_agent(tmp_path, spec, TOKEN, {"act": CODE}) as agent:
        agent.wait_for("/ready")
        answers = [agent.invoke("act", {"do": "nothing"}) for _ in range(4)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429]
        problem(answers[3], 429, "rate_limited")
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
