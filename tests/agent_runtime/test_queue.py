"""Commands over real Redis streams: none is lost, whatever happens to the agent."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.agent_runtime.projects import (
    DEADLINE,
    AgentProcess,
    Backing,
    builtin,
    make_document,
    start_agent,
)

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from config.embedded import EmbeddedServers

CODE = """\
import asyncio
import os
from pathlib import Path
from typing import Any

from agent_runtime import Context


async def run(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    with Path("runs.txt").open("a") as file:
        file.write(context.request_id + "\\n")
    if "wait_for" in payload:
        while not Path(payload["wait_for"]).exists():
            await asyncio.sleep(0.02)
    if payload.get("die"):
        os.kill(os.getpid(), 9)
    return {"said": payload.get("text", "")}
"""
INPUT = {"type": "object", "properties": {"text": {"type": "string"}}}
DOCUMENT = make_document(
    [builtin("act", "agent.describe", input_schema=INPUT)],
    queues={"max_concurrency": 3, "priority": "NORMAL"},
)


class Streams:
    """The platform's side of an agent's queue."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self.prefix = prefix

    def command(
        self, request_id: str, payload: Any = None, changes: dict[str, str] | None = None
    ) -> str:
        fields: dict[Any, Any] = {
            "request_id": request_id, "capability": "act", "payload": json.dumps(payload or {}),
        }  # fmt: skip
        fields.update(changes or {})
        entry = self.client.xadd(f"{self.prefix}commands", fields)
        assert isinstance(entry, bytes)
        return entry.decode()

    def entries(self, name: str) -> list[dict[str, str]]:
        rows: Any = self.client.xrange(f"{self.prefix}{name}")
        return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in rows]

    def results(self, count: int) -> list[dict[str, str]]:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            found = self.entries("results")
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{len(self.entries('results'))} results, not {count}")

    def pending(self) -> int:
        found: Any = self.client.xpending(f"{self.prefix}commands", "agent")
        return int(found["pending"])

    def deliver_to_another(self, times: int = 1) -> None:
        """Hand the next command to a consumer that is dead."""
        name = f"{self.prefix}commands"
        self.client.xreadgroup("agent", "dead", {name: ">"}, count=1)
        for _ in range(times - 1):
            rows: Any = self.client.xpending_range(name, "agent", "-", "+", 1)
            self.client.xclaim(name, "agent", "dead", 0, [rows[0]["message_id"]])


@pytest.fixture
def streams(admin_redis: redis.Redis, backing: Backing) -> Streams:
    return Streams(admin_redis, backing.key_prefix)


def start(folder: Path, backing: Backing, document: Any = None, **environment: str) -> AgentProcess:
    return start_agent(
        folder, document or DOCUMENT, backing.credentials(), {"act": CODE},
        AGENT_CLAIM_IDLE_SECONDS="1", **environment,
    )  # fmt: skip


def wait_for_runs(folder: Path, count: int) -> None:
    """Wait until the capability's code was entered so many times."""
    runs, deadline = folder / "runs.txt", time.monotonic() + DEADLINE
    while not runs.exists() or runs.read_text().count("\n") < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_commands_become_results_and_events(
    tmp_path: Path, backing: Backing, streams: Streams
) -> None:
    streams.command("early", {"text": "sent before the agent was there"})
    with start(tmp_path, backing) as agent:
        agent.wait_for("/ready")
        for number in range(20):
            streams.command(f"req-{number}", {"text": str(number)})
        results = {r["request_id"]: r for r in streams.results(21)}
        assert len(results) == 21
        seven = results["req-7"]
        assert float(seven.pop("duration_ms")) >= 0
        assert seven == {
            "request_id": "req-7", "capability": "act", "status": "ok",
            "output": '{"said": "7"}', "attempt": "1",
        }  # fmt: skip
        assert streams.pending() == 0
        assert agent.stop() == 0
    events = [e["event"] for e in streams.entries("events")]
    assert (events[0], events[-1]) == ("started", "stopping")
    assert events.count("capability.completed") == 21
    assert (tmp_path / "runs.txt").read_text().count("\n") == 21


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payload": "{"}, "invalid_json"),
        ({"payload": "[]"}, "invalid_json"),
        ({"payload": "[" * 10_000}, "invalid_json"),
        ({"payload": '{"text": "' + "x" * 1_100_000 + '"}'}, "too_large"),
        ({"payload": '{"text": 5}'}, "invalid_input"),
        ({"payload": ""}, "invalid_input"),
        ({"capability": "nothing"}, "capability_not_found"),
        ({"capability": ""}, "invalid_input"),
        ({"request_id": ""}, "invalid_input"),
    ],
)
def test_a_malformed_command_gets_an_error(
    tmp_path: Path, backing: Backing, streams: Streams, changes: dict[str, str], code: str
) -> None:
    with start(tmp_path, backing):
        entry = streams.command("bad", changes=changes)
        result = streams.results(1)[0]
        error = json.loads(result["error"])
        assert (result["status"], error["code"]) == ("error", code)
        assert result["request_id"] == (
            "bad" if changes.get("request_id") != "" else f"cmd-{entry}"
        )
        assert streams.pending() == 0
        failed = [e for e in streams.entries("events") if e["event"] == "capability.failed"]
        assert [e["code"] for e in failed] == [code]


def test_an_entry_of_other_fields_gets_an_error(
    tmp_path: Path, backing: Backing, streams: Streams, admin_redis: redis.Redis
) -> None:
    admin_redis.xadd(f"{backing.key_prefix}commands", {b"\xff": b"\xfe"})
    with start(tmp_path, backing):
        assert json.loads(streams.results(1)[0]["error"])["code"] == "invalid_input"
        assert streams.pending() == 0


def test_a_kill_in_the_middle_loses_nothing(
    tmp_path: Path, backing: Backing, streams: Streams
) -> None:
    gate = tmp_path / "open"
    with start(tmp_path, backing) as agent:
        agent.wait_for("/ready")
        for number in range(5):
            streams.command(f"req-{number}", {"wait_for": str(gate)})
        wait_for_runs(tmp_path, 3)
        agent.process.kill()
        agent.process.wait()
    assert streams.entries("results") == []
    gate.touch()
    with start(tmp_path, backing):
        results = streams.results(5)
        assert sorted(r["request_id"] for r in results) == [f"req-{n}" for n in range(5)]
        assert {r["status"] for r in results} == {"ok"}
        assert sorted(r["attempt"] for r in results) == ["1", "1", "2", "2", "2"]
        assert streams.pending() == 0


def test_a_command_that_kills_the_agent_is_given_up(
    tmp_path: Path, backing: Backing, streams: Streams
) -> None:
    document = {**DOCUMENT, "policies": {"retry": {"max_attempts": 2}}}
    streams.command("poison", {"die": True})
    for _ in range(2):
        with start(tmp_path, backing, document) as agent:
            assert agent.process.wait(DEADLINE) == -9
    with start(tmp_path, backing, document):
        result = streams.results(1)[0]
        assert json.loads(result["error"])["code"] == "delivery_exhausted"
        assert (result["request_id"], result["attempt"]) == ("poison", "3")
        assert streams.pending() == 0
    assert (tmp_path / "runs.txt").read_text() == "poison\npoison\n"


def test_a_command_that_takes_long_is_not_taken_over(
    tmp_path: Path, backing: Backing, streams: Streams
) -> None:
    gate = tmp_path / "open"
    with start(tmp_path, backing) as first, start(tmp_path / "second", backing) as second:
        first.wait_for("/ready")
        second.wait_for("/ready")
        streams.command("long", {"wait_for": str(gate)})
        # Three times the idle time after which another would take it.
        time.sleep(3)
        gate.touch()
        assert [r["attempt"] for r in streams.results(1)] == ["1"]
        runs = [p / "runs.txt" for p in (tmp_path, tmp_path / "second")]
        assert sum(p.read_text().count("\n") for p in runs if p.exists()) == 1


def test_what_a_dead_consumer_left_is_taken_over(
    tmp_path: Path, backing: Backing, streams: Streams
) -> None:
    streams.command("left", {"text": "behind"})
    streams.deliver_to_another(times=2)
    with start(tmp_path, backing) as agent:
        assert [(r["request_id"], r["attempt"]) for r in streams.results(1)] == [("left", "3")]
        agent.wait_for_event("command taken over")


def test_it_finishes_what_is_at_work_before_it_stops(
    tmp_path: Path, backing: Backing, streams: Streams
) -> None:
    gate = tmp_path / "open"
    with start(tmp_path, backing) as agent:
        agent.wait_for("/ready")
        streams.command("last", {"wait_for": str(gate)})
        wait_for_runs(tmp_path, 1)
        agent.process.terminate()
        agent.wait_for_event("agent stopping")
        streams.command("too-late")
        gate.touch()
        assert agent.process.wait(DEADLINE) == 0
    assert [r["request_id"] for r in streams.entries("results")] == ["last"]
    with start(tmp_path, backing):
        assert [r["request_id"] for r in streams.results(2)] == ["last", "too-late"]


def test_what_does_not_end_within_the_grace_is_left_for_another(
    tmp_path: Path, backing: Backing, streams: Streams
) -> None:
    with start(tmp_path, backing, AGENT_SHUTDOWN_SECONDS="1") as agent:
        agent.wait_for("/ready")
        streams.command("stuck", {"wait_for": str(tmp_path / "never")})
        wait_for_runs(tmp_path, 1)
        assert agent.stop() == 0
    assert streams.entries("results") == []
    assert streams.pending() == 1


def test_a_group_that_is_gone_is_made_again(
    tmp_path: Path, backing: Backing, streams: Streams, admin_redis: redis.Redis
) -> None:
    with start(tmp_path, backing) as agent:
        agent.wait_for("/ready")
        admin_redis.delete(f"{backing.key_prefix}commands")
        agent.wait_for_event("queue made again")
        streams.command("after", {"text": "all"})
        assert [r["request_id"] for r in streams.results(1)] == ["after"]


def test_it_outlives_redis(
    tmp_path: Path,
    backing: Backing,
    streams: Streams,
    admin_redis: redis.Redis,
    servers: EmbeddedServers,
) -> None:
    gate = tmp_path / "open"
    admin_redis.acl_save()
    with start(tmp_path, backing) as agent:
        agent.wait_for("/ready")
        streams.command("during", {"wait_for": str(gate)})
        wait_for_runs(tmp_path, 1)
        servers.redis.stop()
        try:
            body = agent.wait_for("/ready", 503)
            assert {d["name"]: d["status"] for d in body["dependencies"]} == {
                "redis": "down", "queue": "down",
            } or agent.wait_for_event("redis not reachable")  # fmt: skip
            gate.touch()
            assert agent.client.get("/health").status_code == 200
            agent.wait_for_event("result not written yet")
        finally:
            servers.redis.start()
        agent.wait_for("/ready")
        assert [r["request_id"] for r in streams.results(1)] == ["during"]
        streams.command("after")
        assert [r["request_id"] for r in streams.results(2)] == ["during", "after"]


def test_it_starts_before_redis_does(
    tmp_path: Path, backing: Backing, streams: Streams, admin_redis: redis.Redis,
    servers: EmbeddedServers,
) -> None:  # fmt: skip
    admin_redis.acl_save()
    servers.redis.stop()
    try:
        agent = start(tmp_path, backing)
        agent.wait_for("/health")
        assert agent.client.get("/ready").status_code == 503
    finally:
        servers.redis.start()
    with agent:
        agent.wait_for("/ready")
        streams.command("first")
        assert [r["request_id"] for r in streams.results(1)] == ["first"]


def test_a_wrong_password_is_told_without_the_password(tmp_path: Path, backing: Backing) -> None:
    url = backing.redis_url.replace("a-pass", "wrong-pass")
    with start_agent(tmp_path, DOCUMENT, backing.credentials(redis_url=url)) as agent:
        body = agent.wait_for("/ready", 503)
        line = agent.wait_for_event("redis not reachable")
        assert "refuses the sign-in" in line["detail"]
        assert "wrong-pass" not in json.dumps(body) + agent.logs()
