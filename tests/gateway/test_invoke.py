"""The way in: who may call which agent, and what its answers become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from rest_framework.test import APIClient

from accounts.roles import Role
from gateway.errors import AgentBusy, AgentTimedOut, ModelNotConnected
from gateway.services import InvokeResult, clean_request_id, invoke_agent
from ledger.errors import (
    Conflict,
    DomainError,
    InvalidInput,
    NotAllowed,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from provisioning.agent_client import MAX_ANSWER_BYTES
from registry.enums import AgentStatus
from registry.models import Agent
from registry.services.agents import create_release, credentials_of, reserve_agent
from tests.agent_runtime.projects import builtin, make_document, start_agent
from tests.builders import make_caller, make_organization, make_spec
from tests.upstream import Answer, Upstream

if TYPE_CHECKING:
    from pathlib import Path

    from accounts.callers import Caller

pytestmark = pytest.mark.django_db


def make_running(
    caller: Caller, endpoint: str, status: str = AgentStatus.ACTIVE, **changes: Any
) -> Agent:
    """Make an agent as it is once it was deployed and is served at `endpoint`."""
    spec = make_spec(policies={"timeouts": {"operation_seconds": 0.1}}, **changes)
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files={"main.py": ""})
    Agent.objects.filter(pk=agent.pk).update(
        status=status, endpoint=endpoint, current_release=release
    )
    agent.refresh_from_db()
    return agent


def make_served(
    caller: Caller, upstream: Upstream, status: str = AgentStatus.ACTIVE, **changes: Any
) -> Agent:
    """Make an agent that `upstream` plays."""
    agent = make_running(caller, upstream.url, status, **changes)
    upstream.token = credentials_of(agent).invoke_token
    return agent


@pytest.fixture
def operator() -> Caller:
    return make_caller(Role.OPERATOR)


@pytest.fixture
def agent(operator: Caller, upstream: Upstream) -> Agent:
    upstream.answer = Answer.of({"output": {"agent_id": "x"}, "request_id": "r", "duration_ms": 1})
    return make_served(operator, upstream)


def call(caller: Caller, agent: Agent, **changes: Any) -> InvokeResult:
    arguments: dict[str, Any] = {"capability": "describe_agent", "payload": {"a": 1}}
    return invoke_agent(caller=caller, agent=agent, **(arguments | changes))


def fail(caller: Caller, agent: Agent, **changes: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        call(caller, agent, **changes)
    return caught.value


def test_the_output_comes_back_and_the_token_goes_along(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    result = call(operator, agent, request_id="my-id")
    assert (result.output, result.request_id) == ({"agent_id": "x"}, "my-id")
    assert result.duration_ms > 0
    (sent,) = upstream.received
    assert (sent.method, sent.path, sent.json) == ("POST", "/invoke/describe_agent", {"a": 1})
    assert sent.headers["x-request-id"] == "my-id"
    assert sent.headers["authorization"] == f"Bearer {credentials_of(agent).invoke_token}"


def test_calls_share_a_connection(operator: Caller, agent: Agent, upstream: Upstream) -> None:
    for _ in range(3):
        call(operator, agent)
    assert len(upstream.received) == 3
    assert len({sent.peer for sent in upstream.received}) == 1


def test_an_odd_request_id_is_cleaned_and_a_missing_one_made() -> None:
    assert clean_request_id("a b\r\nX-Evil: 1") == "abX-Evil:1"
    assert clean_request_id("x" * 500) == "x" * 128
    assert clean_request_id(None).startswith("req-")
    assert clean_request_id("   ") != clean_request_id("   ")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (AgentStatus.DRAFT, "activate it"),
        (AgentStatus.PAUSED, "Resume it"),
        (AgentStatus.DEPRECATED, "retired"),
        (AgentStatus.FAILED, "Look at its health"),
    ],
)
def test_only_active_agents_answer(
    operator: Caller, upstream: Upstream, status: str, advice: str
) -> None:
    error = fail(operator, make_running(operator, upstream.url, status))
    assert isinstance(error, Conflict)
    assert error.code == "agent_not_active"
    assert advice in error.message
    assert upstream.received == []


def test_a_draft_may_be_tried_by_who_may_deploy(operator: Caller, upstream: Upstream) -> None:
    upstream.answer = Answer.of({"output": {}})
    draft = make_served(operator, upstream, AgentStatus.DRAFT)
    assert call(operator, draft, trial=True).output == {}
    approver = make_caller(Role.APPROVER, operator.organization)
    assert isinstance(fail(approver, draft, trial=True), NotAllowed)
    paused = make_running(operator, upstream.url, AgentStatus.PAUSED)
    assert fail(operator, paused, trial=True).code == "agent_not_active"


def test_an_agent_that_does_not_run_says_so(operator: Caller) -> None:
    error = fail(operator, make_running(operator, ""))
    assert (error.status, error.code) == (409, "agent_not_running")


def test_viewers_may_not_call(operator: Caller, agent: Agent) -> None:
    viewer = make_caller(Role.VIEWER, operator.organization)
    assert isinstance(fail(viewer, agent), NotAllowed)


def test_another_organisation_finds_no_agent(agent: Agent, upstream: Upstream) -> None:
    stranger = make_caller(Role.ADMIN, make_organization())
    error = fail(stranger, agent)
    assert isinstance(error, NotFound)
    assert error.code == "agent_not_found"
    assert upstream.received == []


def test_an_unknown_capability_names_the_known(operator: Caller, agent: Agent) -> None:
    error = fail(operator, agent, capability="../health")
    assert (error.status, error.code) == (404, "capability_not_found")
    assert "describe_agent" in error.message


@pytest.mark.parametrize("payload", [[], "x", None, 3, {"a": "\x00"}])
def test_the_input_is_an_object_that_can_be_sent(
    operator: Caller, agent: Agent, upstream: Upstream, payload: Any
) -> None:
    assert isinstance(fail(operator, agent, payload=payload), InvalidInput)
    assert upstream.received == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (413, InvalidInput),
        (422, InvalidInput),
        (404, NotFound),
        (409, Conflict),
        (424, ModelNotConnected),
        (429, AgentBusy),
        (500, UpstreamFailed),
        (502, UpstreamFailed),
        (503, Unavailable),
        (504, AgentTimedOut),
    ],
)
def test_an_agents_problem_keeps_its_code_and_words(
    operator: Caller, agent: Agent, upstream: Upstream, status: int, kind: type[DomainError]
) -> None:
    upstream.answer = Answer.of({"code": "its_code", "detail": "Its words."}, status)
    error = fail(operator, agent)
    assert type(error) is kind
    assert (error.code, error.message) == ("its_code", "Its words.")


def test_an_agents_field_problems_are_kept(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    errors = [{"attr": "text", "code": "required", "detail": "Give it."}, "odd", {"attr": 3}]
    upstream.answer = Answer.of({"code": "invalid_input", "detail": "No.", "errors": errors}, 422)
    error = fail(operator, agent)
    assert [(item.attr, item.code, item.detail) for item in error.problems] == [
        ("text", "required", "Give it."),
        ("", "invalid", ""),
    ]


def test_a_problem_without_words_still_says_what_to_do(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer.of({"code": 3, "errors": {}}, 500)
    error = fail(operator, agent)
    assert (error.code, error.problems) == ("agent_failed", ())
    assert "Look at its log" in error.message


def test_a_busy_agent_says_when_to_come_back(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer.of({"code": "rate_limited", "detail": "Slow down."}, 429)
    upstream.answer.headers["Retry-After"] = "7"
    error = fail(operator, agent)
    assert isinstance(error, AgentBusy)
    assert error.retry_after == "7"
    upstream.answer.headers["Retry-After"] = "tomorrow\r\n"[:8]
    error = fail(operator, agent)
    assert isinstance(error, AgentBusy)
    assert error.retry_after is None


def test_a_refused_platform_is_no_fault_of_the_caller(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer.of({"code": "unauthorized", "detail": "Send a token."}, 401)
    error = fail(operator, agent)
    assert (type(error), error.code) == (UpstreamFailed, "agent_refused")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>"),
        Answer(body=b"[1]"),
        Answer(body=b'{"output": 3}'),
        Answer(body=b'{"output": {"a": NaN}}'),
        Answer(body=b'{"output": {"a": 1e999}}'),
        Answer(body=b'{"output": {"a": "\\u0000"}}'),
        Answer(body=b"[" * 100_000),
        Answer(body=b'{"output": {}, "pad": "' + b"x" * MAX_ANSWER_BYTES + b'"}'),
    ],
    ids=["html", "list", "no-output", "nan", "infinity", "nul", "deep", "huge"],
)
def test_an_unusable_answer_is_an_upstream_failure(
    operator: Caller, agent: Agent, upstream: Upstream, answer: Answer
) -> None:
    upstream.answer = answer
    error = fail(operator, agent)
    assert (type(error), error.code) == (UpstreamFailed, "agent_answer_unusable")


@pytest.mark.parametrize(
    "answer",
    [Answer(delay_seconds=4), Answer(body=b'{"output": {}}' + b" " * 500, drip_seconds=0.02)],
    ids=["late", "dripping"],
)
def test_a_slow_agent_is_given_up(
    operator: Caller, agent: Agent, upstream: Upstream, answer: Answer
) -> None:
    upstream.answer = answer
    error = fail(operator, agent)
    assert (type(error), error.code) == (AgentTimedOut, "agent_timeout")


def test_a_broken_connection_is_unavailable(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer(breaks_off=True)
    assert fail(operator, agent).code == "agent_unreachable"


def test_nobody_there_is_unavailable(operator: Caller) -> None:
    gone = Upstream().start()
    gone.stop()
    error = fail(operator, make_running(operator, gone.url))
    assert (type(error), error.code) == (Unavailable, "agent_unreachable")


def test_the_log_has_no_inputs_outputs_or_tokens(
    operator: Caller, agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answer = Answer.of({"output": {"secret-output": "so"}})
    with caplog.at_level("INFO"):
        call(operator, agent, payload={"secret-input": "si"})
    text = caplog.text
    assert "agent invoked" in text
    assert "secret" not in text
    assert credentials_of(agent).invoke_token not in text


def test_another_agent_at_the_address_is_sent_nothing(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    # As when the engine gave the address of one container to another's.
    other = make_running(operator, upstream.url, agent_id="Other")
    error = fail(operator, other)
    assert (type(error), error.code) == (Unavailable, "agent_unreachable")
    assert upstream.received == []
    sent = repr(upstream.challenges)
    assert upstream.challenges
    assert credentials_of(other).invoke_token not in sent
    assert "describe_agent" not in sent


def test_a_connection_of_one_agent_is_not_used_for_another(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    call(operator, agent)
    other = make_running(operator, upstream.url, agent_id="Other")
    assert fail(operator, other).code == "agent_unreachable"
    assert len(upstream.received) == 1
    assert call(operator, agent).output == {"agent_id": "x"}
    assert len({sent.peer for sent in upstream.received}) == 1


def test_whoever_takes_a_dropped_connections_place_has_to_prove_itself(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    upstream.answer.headers["Connection"] = "close"
    call(operator, agent)
    upstream.token = "another-agents-token"
    assert fail(operator, agent).code == "agent_unreachable"
    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    ("proof", "code"),
    [
        (Answer.of({"proof": "0" * 64}), "agent_unreachable"),
        (Answer.of({"proof": "é"}), "agent_unreachable"),
        (Answer.of({"proof": 3}), "agent_unreachable"),
        (Answer.of([]), "agent_unreachable"),
        (Answer(body=b"[" * 4000), "agent_unreachable"),
        (Answer(body=b"<html>"), "agent_unreachable"),
        (Answer(body=b" " * 10_000), "agent_unreachable"),
        (Answer.of({"code": "dependency_down"}, 503), "agent_unreachable"),
        (Answer.of({}, 404), "agent_unreachable"),
        (Answer(breaks_off=True), "agent_unreachable"),
        (Answer(delay_seconds=4), "agent_timeout"),
        (Answer(body=b" " * 4000, drip_seconds=0.01), "agent_timeout"),
    ],
)  # fmt: skip
def test_what_proves_nothing_is_sent_nothing(
    operator: Caller, agent: Agent, upstream: Upstream, proof: Answer, code: str
) -> None:
    upstream.proof = proof
    assert fail(operator, agent).code == code
    assert upstream.received == []


def test_a_proof_that_closes_the_connection_is_none(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    upstream.proof = Answer.of({"proof": "0" * 64})
    upstream.proof.headers["Connection"] = "close"
    assert fail(operator, agent).code == "agent_unreachable"
    assert upstream.received == []


def test_an_agents_own_runtime_proves_itself(operator: Caller, tmp_path: Path) -> None:
    agent = make_running(operator, "")
    document = make_document([builtin("describe_agent", "agent.describe")])
    token = {"invoke_token": credentials_of(agent).invoke_token}
    with start_agent(tmp_path, document, token) as process:
        process.wait_for("/ready")
        Agent.objects.filter(pk=agent.pk).update(endpoint=f"http://127.0.0.1:{process.port}")
        agent.refresh_from_db()
        assert call(operator, agent, payload={}).output["agent_id"] == "WowTest"
        other = make_running(operator, agent.endpoint, agent_id="Other")
        assert fail(operator, other).code == "agent_unreachable"


def signed_in(caller: Caller) -> APIClient:
    client = APIClient()
    client.force_authenticate(user=caller.user)
    return client


def test_the_api_answers_with_output_and_request_id(operator: Caller, agent: Agent) -> None:
    answer = signed_in(operator).post(
        f"/api/agents/{agent.agent_id.lower()}/invoke/describe_agent",
        {"a": 1},
        format="json",
        headers={"X-Request-ID": "abc"},
    )
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"] == "abc"
    body = answer.json()
    assert set(body) == {"output", "request_id", "duration_ms"}
    assert (body["output"], body["request_id"]) == ({"agent_id": "x"}, "abc")


def test_the_api_tells_problems(operator: Caller, agent: Agent, upstream: Upstream) -> None:
    upstream.answer = Answer.of(
        {
            "code": "invalid_input",
            "detail": "Correct the fields.",
            "errors": [{"attr": "text", "code": "required", "detail": "Give it."}],
        },
        422,
    )
    url = f"/api/agents/{agent.agent_id}/invoke/describe_agent"
    answer = signed_in(operator).post(url, {}, format="json")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"] == [{"attr": "text", "code": "required", "detail": "Give it."}]
    assert signed_in(operator).post(url, [1], format="json").status_code == 400
    assert signed_in(operator).get(url).status_code == 403
    stranger = make_caller(Role.ADMIN)
    assert signed_in(stranger).post(url, {}, format="json").status_code == 404
    viewer = make_caller(Role.VIEWER, operator.organization)
    assert signed_in(viewer).post(url, {}, format="json").status_code == 403
    assert APIClient().post(url, {}, format="json").status_code == 401
