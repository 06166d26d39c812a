"""The way out: whose call it is, where it may go, and where secrets never show."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from channels.db import database_sync_to_async

from accounts.roles import Role
from gateway.egress import asgi
from gateway.egress import upstream as sending
from gateway.egress.asgi import MAX_BODY_BYTES, application
from registry.models import Agent, AgentCredentials, Release
from registry.services.agents import create_release, credentials_of, delete_agent, reserve_agent
from registry.services.secrets import delete_secret, put_secret
from tests.builders import make_caller, make_spec
from tests.upstream import Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pytest_django import Settings

    from accounts.callers import Caller
    from registry.services.agents import AgentSecrets

# The way out works in threads of its own, which see only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "sk-canary-0123456789"
OBJECT = {"type": "object"}


def spec_fields(upstream: str) -> dict[str, Any]:
    def over_http(name: str, **how: Any) -> dict[str, Any]:
        return {
            "name": name,
            "input_schema": OBJECT,
            "output_schema": OBJECT,
            "timeout_seconds": 0.1,
            "implementation": {"kind": "http", "url": f"{upstream}/things"} | how,
        }

    return {
        "capabilities": [
            over_http(
                "send_it",
                secret="canary",
                headers={"X-Kind": "ärger", "Host": "evil", "authorization": "Basic x"},
            ),
            over_http("fetch_it", method="GET", url=f"{upstream}/things?fixed=1"),
            over_http("plain_one", method="DELETE"),
            over_http("metadata_one", url="http://169.254.169.254/latest/meta-data"),
            over_http("private_one", url="http://10.0.0.1/"),
            over_http("unknown_host", url="http://nowhere.invalid/"),
            over_http("no_secret", secret="gone"),
            {
                "name": "describe_agent",
                "input_schema": OBJECT,
                "output_schema": OBJECT,
                "implementation": {"kind": "builtin", "operation": "agent.describe"},
            },
        ],
        "tools": [
            {
                "tool": "embeddings-api",
                "parameters": {"base_url": f"{upstream}/v1/", "model": "small", "dimensions": 8},
                "secret": "canary",
            },
            {"tool": "chat-model", "parameters": {"base_url": f"{upstream}/v1", "model": "big"}},
        ],
        "policies": {"timeouts": {"operation_seconds": 0.1}},
    }


@pytest.fixture
def operator() -> Caller:
    caller = make_caller(Role.OPERATOR)
    put_secret(caller=caller, name="canary", value=SECRET)
    return caller


def make_agent(caller: Caller, fields: dict[str, Any]) -> Agent:
    spec = make_spec(**fields)
    agent = reserve_agent(caller=caller, spec=spec)
    create_release(caller=caller, agent=agent, spec=spec, files={})
    return agent


@pytest.fixture
def agent(operator: Caller, upstream: Upstream) -> Agent:
    return make_agent(operator, spec_fields(upstream.url))


@asynccontextmanager
async def way_out(token: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=application),
        base_url="http://platform/egress",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    ) as client:
        yield client
    await sending.close()


async def post(agent: Agent, path: str, body: Any) -> httpx.Response:
    token = (await _credentials(agent)).egress_token
    async with way_out(token) as client:
        return await client.post(path, json=body)


async def _credentials(agent: Agent) -> AgentSecrets:
    found: AgentSecrets = await _do(credentials_of, agent)
    return found


async def _do(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await database_sync_to_async(act, thread_sensitive=False)(*args, **kwargs)


async def test_embeddings_go_to_the_bound_model_with_its_secret(
    agent: Agent, upstream: Upstream
) -> None:
    said = {"data": [{"index": 0, "embedding": [0.5]}]}
    upstream.answer = Answer.of(said)
    answer = await post(agent, "/v1/embeddings", {"model": "mine", "input": ["a"]})
    assert (answer.status_code, answer.json()) == (200, said)
    (sent,) = upstream.received
    assert (sent.method, sent.path) == ("POST", "/v1/embeddings")
    assert sent.json == {"model": "small", "input": ["a"], "dimensions": 8}
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    assert sent.headers["host"] == upstream.url.removeprefix("http://")


async def test_chat_goes_to_the_bound_model_without_a_secret_it_has_none(
    agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer.of({"choices": []})
    answer = await post(agent, "/v1/chat/completions", {"messages": []})
    assert answer.status_code == 200
    (sent,) = upstream.received
    assert sent.json == {"messages": [], "model": "big"}
    assert "authorization" not in sent.headers


async def test_a_service_gets_its_body_headers_and_secret(agent: Agent, upstream: Upstream) -> None:
    upstream.answer = Answer.of({"done": True}, 201)
    answer = await post(agent, "/http/send_it", {"input": {"a": [1, {"b": None}]}})
    assert (answer.status_code, answer.json()) == (200, {"status": 201, "body": {"done": True}})
    (sent,) = upstream.received
    assert (sent.method, sent.path, sent.json) == ("POST", "/things", {"a": [1, {"b": None}]})
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    assert sent.headers["host"] == upstream.url.removeprefix("http://")
    assert sent.headers["x-kind"].encode("latin-1").decode() == "ärger"


async def test_a_get_puts_the_input_into_the_query(agent: Agent, upstream: Upstream) -> None:
    payload = {"q": "a&b=c d", "n": 1, "yes": True, "no": None, "l": ["x", 2], "o": {"k": [1]}}
    answer = await post(agent, "/http/fetch_it", {"input": payload})
    assert answer.json() == {"status": 200, "body": {}}
    (sent,) = upstream.received
    assert sent.body == b""
    assert sent.path == (
        "/things?fixed=1&q=a%26b%3Dc%20d&n=1&yes=true&l=x&l=2&o=%7B%22k%22%3A%5B1%5D%7D"
    )


async def test_other_bodies_are_handed_on_as_what_they_are(
    agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer(status=204, body=b"")
    assert (await post(agent, "/http/plain_one", {"input": {}})).json() == {
        "status": 204, "body": {},
    }  # fmt: skip
    upstream.answer = Answer(body=b"plain \xff text")
    answer = await post(agent, "/http/plain_one", {"input": {}})
    assert answer.json()["body"] == "plain \ufffd text"
    upstream.answer = Answer(body=b"[" * 100_000)
    assert isinstance((await post(agent, "/http/plain_one", {"input": {}})).json()["body"], str)


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 500])
async def test_a_failing_service_shows_its_status_and_no_more(
    agent: Agent, upstream: Upstream, status: int
) -> None:
    upstream.answer = Answer.of({"error": f"bad key {SECRET}"}, status)
    upstream.answer.headers["Location"] = f"{upstream.url}/elsewhere"
    answer = await post(agent, "/http/send_it", {"input": {}})
    assert answer.json() == {"status": status, "body": None}
    assert len(upstream.received) == 1


async def test_a_service_that_repeats_the_secret_gives_none_of_it(
    agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer.of({"you": {"sent": f"Bearer {SECRET}"}})
    answer = await post(agent, "/http/send_it", {"input": {}})
    assert answer.json()["body"] == {"you": {"sent": "Bearer [hidden]"}}
    answer = await post(agent, "/v1/embeddings", {"input": "a"})
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (401, "upstream_refused", 502),
        (403, "upstream_refused", 502),
        (404, "upstream_failed", 502),
        (429, "rate_limited", 429),
        (500, "upstream_failed", 502),
        (302, "upstream_failed", 502),
    ],
)
async def test_a_failing_model_is_a_problem_in_our_words(
    agent: Agent, upstream: Upstream, status: int, code: str, told: int
) -> None:
    upstream.answer = Answer.of({"error": {"message": f"Incorrect key {SECRET}"}}, status)
    answer = await post(agent, "/v1/embeddings", {"input": "a"})
    assert (answer.status_code, answer.json()["code"]) == (told, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET not in answer.text


async def test_a_model_that_talks_no_json_is_a_problem(agent: Agent, upstream: Upstream) -> None:
    for body in (b"<html>", b'{"a": NaN}'):
        upstream.answer = Answer(body=body)
        answer = await post(agent, "/v1/chat/completions", {"messages": []})
        assert (answer.status_code, answer.json()["code"]) == (502, "upstream_failed")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(delay_seconds=4), "upstream_timeout"),
        (Answer(body=b"{}" + b" " * 300, drip_seconds=0.03), "upstream_timeout"),
        (Answer(breaks_off=True), "upstream_unreachable"),
        (Answer(body=b" " * (sending.MAX_ANSWER_BYTES + 1)), "upstream_too_large"),
    ],
    ids=["late", "dripping", "broken", "huge"],
)
async def test_time_and_size_are_bounded(
    agent: Agent, upstream: Upstream, answer: Answer, code: str
) -> None:
    upstream.answer = answer
    told = await post(agent, "/http/plain_one", {"input": {}})
    assert (told.status_code, told.json()["code"]) == (502, code)


async def test_nobody_there_is_a_problem(operator: Caller, agent: Agent) -> None:
    gone = Upstream().start()
    gone.stop()
    lonely = await _do(make_agent, operator, spec_fields(gone.url))
    told = await post(lonely, "/http/plain_one", {"input": {}})
    assert (told.status_code, told.json()["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize(
    ("capability", "status", "code"),
    [
        ("metadata_one", 400, "invalid_input"),
        ("unknown_host", 502, "host_unknown"),
        ("no_secret", 404, "secret_not_found"),
        ("describe_agent", 404, "capability_not_found"),
        ("nothing", 404, "capability_not_found"),
    ],
)
async def test_where_a_call_may_not_go(
    agent: Agent, upstream: Upstream, capability: str, status: int, code: str
) -> None:
    told = await post(agent, f"/http/{capability}", {"input": {}})
    assert (told.status_code, told.json()["code"]) == (status, code)
    assert upstream.received == []


@pytest.mark.parametrize("capability", ["private_one", "plain_one", "metadata_one"])
async def test_private_addresses_are_refused_unless_allowed(
    agent: Agent, upstream: Upstream, settings: Settings, capability: str
) -> None:
    settings.EGRESS_ALLOW_PRIVATE = False
    told = await post(agent, f"/http/{capability}", {"input": {}})
    assert told.status_code == 400
    assert told.json()["errors"][0]["code"] == "address_refused"
    assert upstream.received == []


async def test_a_redirect_to_the_metadata_address_is_not_followed(
    agent: Agent, upstream: Upstream
) -> None:
    upstream.answer = Answer(status=302, headers={"Location": "http://169.254.169.254/"})
    told = await post(agent, "/http/plain_one", {"input": {}})
    assert told.json() == {"status": 302, "body": None}


async def test_without_a_binding_no_model_is_connected(
    operator: Caller, upstream: Upstream
) -> None:
    bare = await _do(make_agent, operator, {})
    told = await post(bare, "/v1/chat/completions", {"messages": []})
    assert (told.status_code, told.json()["code"]) == (424, "no_model_connected")
    assert "chat-model" in told.json()["detail"]
    half = spec_fields(upstream.url) | {"tools": [{"tool": "chat-model", "parameters": {}}]}
    told = await post(
        await _do(make_agent, operator, half), "/v1/chat/completions", {"messages": []}
    )
    assert told.status_code == 424


async def test_the_running_release_decides_else_the_newest(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    await post(agent, "/http/plain_one", {"input": {}})
    without = make_spec(agent_id=agent.agent_id)

    def release_again() -> Release:
        return create_release(caller=operator, agent=agent, spec=without, files={"a": "b"})

    await _do(release_again)
    told = await post(agent, "/http/plain_one", {"input": {}})
    assert told.status_code == 404
    first = await _do(lambda: agent.releases.get(number=1))
    await _do(lambda: Agent.objects.filter(pk=agent.pk).update(current_release=first))
    assert (await post(agent, "/http/plain_one", {"input": {}})).status_code == 200
    await _do(lambda: Agent.objects.filter(pk=agent.pk).update(current_release=None))
    await _do(lambda: agent.releases.all().delete())
    told = await post(agent, "/http/plain_one", {"input": {}})
    assert (told.status_code, told.json()["code"]) == (409, "agent_not_running")


async def test_only_an_agents_own_token_opens_the_way(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    other = await _do(make_agent, operator, {})
    mine = (await _credentials(agent)).egress_token.partition(".")
    theirs = (await _credentials(other)).egress_token.partition(".")
    for token in (
        "",
        "x",
        "ä.ö",
        mine[0],
        f"{mine[0]}.",
        f"{mine[0]}.{theirs[2]}",
        f"{theirs[0]}.{mine[2]}",
        f"{mine[0]}.{mine[2]}x",
        f"{'0' * 32}.{mine[2]}",
        (await _credentials(agent)).invoke_token,
    ):
        async with way_out("") as client:
            told = await client.post(
                "/http/plain_one",
                json={"input": {}},
                headers={b"Authorization": f"Bearer {token}".encode("latin-1")},
            )
        assert (told.status_code, told.json()["code"]) == (401, "unauthorized")
        assert told.headers["www-authenticate"] == "Bearer"
    # With its own token an agent reaches only what it has itself.
    told = await post(other, "/http/plain_one", {"input": {}})
    assert told.status_code == 404
    assert upstream.received == []


async def test_a_deleted_agent_gets_out_no_more(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    token = (await _credentials(agent)).egress_token
    await _do(lambda: delete_agent(caller=operator, agent=agent))
    async with way_out(token) as client:
        told = await client.post("/http/plain_one", json={"input": {}})
    assert told.status_code == 401
    assert not await _do(lambda: AgentCredentials.objects.filter(agent=agent).exists())
    assert upstream.received == []


async def test_a_secret_that_can_not_be_sent_is_refused(
    operator: Caller, agent: Agent, upstream: Upstream
) -> None:
    await _do(lambda: put_secret(caller=operator, name="canary", value="line\r\nX-Evil: 1"))
    told = await post(agent, "/http/send_it", {"input": {}})
    assert (told.status_code, told.json()["code"]) == (409, "secret_unusable")
    await _do(lambda: delete_secret(caller=operator, name="canary"))
    told = await post(agent, "/http/send_it", {"input": {}})
    assert (told.status_code, told.json()["code"]) == (404, "secret_not_found")
    assert upstream.received == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/http/plain_one", [], 400),
        ("/http/plain_one", {}, 400),
        ("/http/plain_one", {"input": []}, 400),
        ("/http/plain_one", {"input": {}, "url": "http://elsewhere"}, 400),
        ("/http/fetch_it", {"input": {"q": "x" * 3000}}, 400),
        ("/v1/chat/completions", {"stream": True}, 400),
        ("/v1/models", {}, 404),
        ("/", {}, 404),
    ],
)
async def test_a_bad_call_is_told_what_to_do(
    agent: Agent, upstream: Upstream, path: str, body: Any, status: int
) -> None:
    told = await post(agent, path, body)
    assert told.status_code == status
    assert told.json()["detail"]
    assert upstream.received == []


async def test_bodies_are_bounded_and_json(agent: Agent) -> None:
    async with way_out((await _credentials(agent)).egress_token) as client:
        huge = b'{"a": "' + b"x" * MAX_BODY_BYTES + b'"}'

        async def chunks() -> AsyncIterator[bytes]:
            yield huge

        for content in (huge, chunks()):
            told = await client.post("/v1/embeddings", content=content)
            assert (told.status_code, told.json()["code"]) == (413, "too_large")
        deep = json.dumps("x").encode()
        for content in (b"", b"{", b"[" * 5000, deep, b'{"a": "\\u0000"}'):
            told = await client.post("/v1/embeddings", content=content)
            assert (told.status_code, told.json()["code"]) == (400, "invalid_json")
        told = await client.get("/v1/embeddings")
        assert (told.status_code, told.json()["code"]) == (405, "method_not_allowed")


async def test_secrets_and_contents_stay_out_of_the_log(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answer = Answer.of({"answer": "private words"})
    with caplog.at_level("DEBUG"):
        await post(agent, "/http/send_it", {"input": {"question": "private matters"}})
        await post(agent, "/http/fetch_it", {"input": {"question": "private matters"}})
    token = (await _credentials(agent)).egress_token
    assert "egress call" in caplog.text
    for hidden in (SECRET, token, "private"):
        assert hidden not in caplog.text


async def test_other_connections_are_turned_away() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await application({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
    sent.clear()
    await application({"type": "lifespan"}, receive, send)
    assert sent == []


def ask(token: str, receive: Callable[[], Any]) -> tuple[asyncio.Task[None], list[Any]]:
    """Begin a call whose body `receive` gives; return it with what is answered."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/egress/http/plain_one",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    return asyncio.create_task(application(scope, receive, send)), said


async def test_of_a_stranger_no_byte_is_read() -> None:
    async def receive() -> Any:
        raise AssertionError("read")

    task, said = ask("nobody's", receive)
    await task
    assert said[0]["status"] == 401
    assert (b"connection", b"close") in said[0]["headers"]


async def test_one_agents_calls_at_once_are_bounded_and_hold_up_no_other(
    operator: Caller, agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "MAX_CALLS", 2)
    upstream.answer = Answer.of({})
    token = (await _credentials(agent)).egress_token
    reading, go_on = asyncio.Queue[None](), asyncio.Event()

    async def receive() -> Any:
        reading.put_nowait(None)
        await go_on.wait()
        return {"type": "http.request", "body": b'{"input": {}}'}

    under_way = [ask(token, receive) for _ in range(2)]
    for _ in under_way:
        await asyncio.wait_for(reading.get(), 20)
    refused = await post(agent, "/http/plain_one", {"input": {}})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_calls")
    other = await _do(make_agent, operator, spec_fields(upstream.url))
    assert (await post(other, "/http/plain_one", {"input": {}})).status_code == 200
    go_on.set()
    for task, said in under_way:
        await task
        assert said[0]["status"] == 200
    assert (await post(agent, "/http/plain_one", {"input": {}})).status_code == 200
    assert not asgi._under_way  # noqa: SLF001 - nothing is counted for ever


@pytest.mark.parametrize("ends", ["slow", "left"])
async def test_a_body_that_does_not_come_gives_its_place_back(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(asgi, "MAX_CALLS", 1)

    async def receive() -> Any:
        if ends == "slow":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    task, said = ask((await _credentials(agent)).egress_token, receive)
    await task
    assert [message["status"] for message in said[:1]] == ([] if ends == "left" else [408])
    assert upstream.received == []
    assert (await post(agent, "/http/plain_one", {"input": {}})).status_code == 200
