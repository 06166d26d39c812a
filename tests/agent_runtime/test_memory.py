"""The memory built-ins, in a real agent with its own Redis user and PostgreSQL role."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.agent_runtime.projects import (
    MEMORY_CAPABILITIES,
    AgentProcess,
    Backing,
    make_document,
    start_agent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from config.embedded import EmbeddedServers

KINDS = ["short_term", "long_term", "hybrid"]
POLICIES = {"policies": {"rate_limit_per_minute": 100_000}}


def document(kind: str, languages: tuple[str, ...] = ("en",), **memory: Any) -> dict[str, Any]:
    return make_document(
        MEMORY_CAPABILITIES, memory={"kind": kind, **memory}, languages=list(languages), **POLICIES
    )


def start(folder: Path, backing: Backing, kind: str, **memory: Any) -> AgentProcess:
    return start_agent(folder, document(kind, **memory), backing.credentials())


@pytest.fixture(params=KINDS)
def agent(
    request: pytest.FixtureRequest, tmp_path: Path, backing: Backing
) -> Iterator[AgentProcess]:
    with start(tmp_path, backing, request.param) as process:
        process.wait_for("/ready")
        yield process


def store(agent: AgentProcess, customer: str, text: str, **more: Any) -> str:
    output = agent.output("store_context", {"customer_id": customer, "text": text, **more})
    assert output["status"] == "stored"
    return str(output["context_id"])


def search(agent: AgentProcess, query: str, **more: Any) -> list[dict[str, Any]]:
    output = agent.output("search_context", {"query": query, **more})
    assert output["method"] == "full_text"
    assert output["count"] == len(output["results"])
    return list(output["results"])


def test_the_example_of_the_product(agent: AgentProcess) -> None:
    first = store(agent, "cust-123", "Customer wants premium plan", metadata={"channel": "mail"})
    store(agent, "cust-9", "Asked about refunds")
    got = agent.output("retrieve_context", {"customer_id": "cust-123"})
    assert got["count"] == 1
    context = got["contexts"][0]
    assert context.pop("created_at").endswith("+00:00")
    assert context == {
        "context_id": first, "customer_id": "cust-123", "text": "Customer wants premium plan",
        "metadata": {"channel": "mail"},
    }  # fmt: skip
    found = search(agent, "who wants the premium plans?")
    assert [r["context_id"] for r in found] == [first]
    assert found[0]["score"] > 0
    assert found[0]["metadata"] == {"channel": "mail"}
    assert agent.output("summarize_context", {"customer_id": "cust-123"}) == {
        "summary": "Customer wants premium plan", "method": "extractive", "contexts_used": 1,
    }  # fmt: skip
    events = [line["event"] for line in agent.log_lines()]
    for event in ("connected to redis", "storing context", "context stored"):
        assert event in events
    assert "premium" not in agent.logs()


def test_the_newest_come_first_and_customers_stay_apart(agent: AgentProcess) -> None:
    ids = [store(agent, "ann", f"note {number}") for number in range(12)]
    store(agent, "ben", "another's note")
    for limit, count in ((1, 1), (5, 5), (10, 10), (100, 12)):
        payload = {"customer_id": "ann", "limit": limit}
        for _ in range(2):  # the second time from where it is kept at hand
            got = agent.output("retrieve_context", payload)
            assert [c["context_id"] for c in got["contexts"]] == ids[::-1][:count]
    newest = store(agent, "ann", "note 12")
    got = agent.output("retrieve_context", {"customer_id": "ann", "limit": 1})
    assert [c["context_id"] for c in got["contexts"]] == [newest]
    assert agent.output("retrieve_context", {"customer_id": "nobody"})["count"] == 0
    assert {r["customer_id"] for r in search(agent, "notes", customer_id="ben")} == {"ben"}
    assert search(agent, "notes", customer_id="nobody") == []


def test_search_ranks_what_answers_first(agent: AgentProcess) -> None:
    best = store(agent, "a", "The invoice of March was paid twice; the customer wants it back.")
    store(agent, "a", "The customer asked for the opening hours in March.")
    store(agent, "a", "An invoice was sent.")
    found = search(agent, "paying an invoice twice in march")
    assert found[0]["context_id"] == best
    assert len(found) == 3
    assert search(agent, "the of and") == []
    assert search(agent, "zebra") == []
    assert len(search(agent, "invoices", limit=1)) == 1


def test_a_long_text_is_found_by_the_part_that_answers(agent: AgentProcess) -> None:
    filler = "Weather was mild and the garden grew. " * 2000
    needle = "\n\nThe submarine needs a new periscope before winter.\n\n"
    long = store(agent, "a", filler + needle + filler)
    store(agent, "a", "A short text about gardens.")
    found = search(agent, "periscope for the submarine")
    assert found[0]["context_id"] == long
    assert "periscope" in found[0]["text"]
    assert len(found[0]["text"]) <= 2000


@pytest.mark.parametrize(
    "text",
    [
        "x" * 200_000,
        "'; DROP TABLE contexts; --",
        "{}[]\\\"'%s%(x)s",
        "日本語のテキスト 🙂",
        "a\u2028b",
    ],
)
def test_any_text_comes_back_as_it_was(agent: AgentProcess, text: str) -> None:
    store(agent, text[:200], text, metadata={"quote": "\"'\\"})
    got = agent.output("retrieve_context", {"customer_id": text[:200]})
    assert [c["text"] for c in got["contexts"]] == [text]
    assert got["contexts"][0]["metadata"] == {"quote": "\"'\\"}
    search(agent, text[:2000])


@pytest.mark.parametrize(
    ("name", "payload", "attr"),
    [
        ("store_context", {"text": "a"}, "customer_id"),
        ("store_context", {"customer_id": " ", "text": "a"}, "customer_id"),
        ("store_context", {"customer_id": "c" * 201, "text": "a"}, "customer_id"),
        ("store_context", {"customer_id": 5, "text": "a"}, "customer_id"),
        ("store_context", {"customer_id": "c"}, "text"),
        ("store_context", {"customer_id": "c", "text": "x" * 200_001}, "text"),
        ("store_context", {"customer_id": "c", "text": "a\x00b"}, "text"),
        ("store_context", {"customer_id": "c", "text": "a", "metadata": []}, "metadata"),
        ("store_context", {"customer_id": "c", "text": "a", "metadata": {"a": "\x00"}}, "metadata"),
        (
            "store_context",
            {"customer_id": "c", "text": "a", "metadata": {"a": "x" * 20_000}},
            "metadata",
        ),
        ("retrieve_context", {}, "customer_id"),
        ("retrieve_context", {"customer_id": "c", "limit": 0}, "limit"),
        ("retrieve_context", {"customer_id": "c", "limit": 101}, "limit"),
        ("retrieve_context", {"customer_id": "c", "limit": True}, "limit"),
        ("search_context", {}, "query"),
        ("search_context", {"query": "x" * 2001}, "query"),
        ("search_context", {"query": "x", "limit": 1.5}, "limit"),
        ("summarize_context", {}, "customer_id"),
        ("summarize_context", {"text": "x", "max_sentences": 51}, "max_sentences"),
    ],
)
def test_each_field_has_its_bounds(
    shared: AgentProcess, name: str, payload: dict[str, Any], attr: str
) -> None:
    answer = shared.invoke(name, payload)
    assert answer.status_code == 422, answer.text
    assert [e["attr"] for e in answer.json()["errors"]] == [attr]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent for what is refused before any store is asked."""
    with start_agent(
        tmp_path_factory.mktemp("shared"), document("short_term"), {"invoke_token": "t"}
    ) as process:
        process.wait_for_event("agent starting")
        process.wait_for("/health")
        while process.invoke("describe", {}).status_code != 200:
            pass
        yield process


def test_the_oldest_go_when_the_memory_is_full(
    tmp_path: Path, backing: Backing, admin_redis: redis.Redis
) -> None:
    for kind in KINDS:
        with start(tmp_path / kind, backing, kind, capacity_items=3) as agent:
            agent.wait_for("/ready")
            ids = [store(agent, "a", f"note {number}") for number in range(6)]
            got = agent.output("retrieve_context", {"customer_id": "a"})
            assert [c["context_id"] for c in got["contexts"]] == ids[:2:-1]
            assert {r["context_id"] for r in search(agent, "notes")} == set(ids[3:])
    prefix = f"{backing.key_prefix}memory.item.*"
    assert len(list(admin_redis.scan_iter(prefix))) == 3


def test_every_key_is_under_the_prefix_and_ends(
    tmp_path: Path, backing: Backing, admin_redis: redis.Redis
) -> None:
    for kind in ("short_term", "hybrid"):
        with start(tmp_path / kind, backing, kind, ttl_seconds=600) as agent:
            agent.wait_for("/ready")
            store(agent, "a", "one")
            agent.output("retrieve_context", {"customer_id": "a"})
    keys = list(admin_redis.scan_iter(f"{backing.key_prefix}memory.*"))
    assert len(keys) == 5
    for key in keys:
        assert 0 < int(str(admin_redis.ttl(key))) <= 1200


def test_a_context_past_its_retention_is_gone(
    tmp_path: Path, backing: Backing, servers: EmbeddedServers
) -> None:
    with start(tmp_path / "1", backing, "long_term", retention_days=1) as agent:
        agent.wait_for("/ready")
        old = store(agent, "a", "an old note")
        new = store(agent, "a", "a new note")
        with servers.postgres.connect("agent_memory") as connection:
            connection.execute(f"SET search_path = {backing.schema}")
            connection.execute(
                "UPDATE contexts SET created_at = created_at - interval '25 hours'"
                " WHERE context_id = %s",
                [old],
            )
        got = agent.output("retrieve_context", {"customer_id": "a"})
        assert [c["context_id"] for c in got["contexts"]] == [new]
        assert [r["context_id"] for r in search(agent, "note")] == [new]
    with start(tmp_path / "2", backing, "long_term", retention_days=1) as agent:
        agent.wait_for("/ready")
        store(agent, "a", "the first after a start sweeps")
        with servers.postgres.connect("agent_memory") as connection:
            connection.execute(f"SET search_path = {backing.schema}")
            rows = connection.execute("SELECT context_id FROM contexts").fetchall()
            left = connection.execute("SELECT count(*) FROM passages").fetchone()
    assert old not in {row[0] for row in rows}
    assert left == (2,)


def test_a_word_that_is_not_there_stands_for_those_it_begins(
    tmp_path: Path, backing: Backing
) -> None:
    with start(tmp_path, backing, "long_term") as agent:
        agent.wait_for("/ready")
        kept = store(agent, "a", "The subscription was renewed.")
        assert [r["context_id"] for r in search(agent, "subsc")] == [kept]
        assert search(agent, "su") == []


@pytest.mark.parametrize(
    ("language", "text", "query"),
    [
        ("de", "Die Rechnungen wurden bezahlt.", "Rechnung bezahlen"),
        ("ja", "契約 更新", "更新"),
        ("en-GB", "Invoices were paid.", "paying an invoice"),
    ],
)
def test_it_searches_in_the_agents_language(
    tmp_path: Path, backing: Backing, language: str, text: str, query: str
) -> None:
    spec = document("long_term", languages=(language,))
    with start_agent(tmp_path, spec, backing.credentials()) as agent:
        agent.wait_for("/ready")
        kept = store(agent, "a", text)
        assert [r["context_id"] for r in search(agent, query)] == [kept]


def test_many_at_once_are_all_kept(tmp_path: Path, backing: Backing) -> None:
    with start(tmp_path, backing, "hybrid") as agent:
        agent.wait_for("/ready")
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda n: store(agent, "a", f"note {n}"), range(80)))
        got = agent.output("retrieve_context", {"customer_id": "a", "limit": 100})
        assert {c["context_id"] for c in got["contexts"]} == set(ids)


def test_two_agents_make_the_tables_at_once(tmp_path: Path, backing: Backing) -> None:
    with (
        start(tmp_path / "1", backing, "long_term") as one,
        start(tmp_path / "2", backing, "long_term") as two,
    ):
        one.wait_for("/ready")
        two.wait_for("/ready")
        kept = store(one, "a", "shared by both")
        assert [r["context_id"] for r in search(two, "shared")] == [kept]


def test_it_outlives_postgresql(tmp_path: Path, backing: Backing, servers: EmbeddedServers) -> None:
    servers.postgres.stop()
    try:
        agent = start(tmp_path, backing, "long_term")
        body = agent.wait_for("/ready", 503)
        while body["dependencies"][0]["name"] != "redis":
            body = agent.wait_for("/ready", 503)
        states = {d["name"]: d["status"] for d in body["dependencies"]}
        assert states["postgresql"] == "down"
        agent.wait_for_event("postgresql not ready")
        answer = agent.invoke("store_context", {"customer_id": "a", "text": "b"})
        assert (answer.status_code, answer.json()["code"]) == (503, "dependency_down")
        assert answer.headers["retry-after"] == "5"
    finally:
        servers.postgres.start()
    with agent:
        agent.wait_for("/ready")
        store(agent, "a", "after it came")
        servers.postgres.stop()
        try:
            answer = agent.invoke("search_context", {"query": "came"})
            assert answer.json()["code"] == "dependency_down"
            agent.wait_for("/ready", 503)
        finally:
            servers.postgres.start()
        agent.wait_for("/ready")
        assert len(search(agent, "came")) == 1


def test_tables_that_are_gone_are_made_again(
    tmp_path: Path, backing: Backing, servers: EmbeddedServers
) -> None:
    with start(tmp_path, backing, "long_term") as agent:
        agent.wait_for("/ready")
        store(agent, "a", "before")
        with servers.postgres.connect("agent_memory") as connection:
            connection.execute(f"DROP TABLE {backing.schema}.contexts CASCADE")
            connection.execute(f"DROP TABLE {backing.schema}.passages")
        answer = agent.invoke("search_context", {"query": "before"})
        assert (answer.status_code, answer.json()["code"]) == (503, "dependency_down")
        agent.wait_for("/ready")
        store(agent, "a", "apples")
        assert [r["text"] for r in search(agent, "apples before")] == ["apples"]


def test_a_hybrid_memory_does_without_redis_and_believes_nothing_old(
    tmp_path: Path, backing: Backing, servers: EmbeddedServers, admin_redis: redis.Redis
) -> None:
    admin_redis.acl_save()
    with start(tmp_path, backing, "hybrid") as agent:
        agent.wait_for("/ready")
        first = store(agent, "a", "before")
        agent.output("retrieve_context", {"customer_id": "a"})
        servers.redis.stop()
        try:
            second = store(agent, "a", "meanwhile")
            got = agent.output("retrieve_context", {"customer_id": "a"})
            assert [c["context_id"] for c in got["contexts"]] == [second, first]
        finally:
            servers.redis.start()
        got = agent.output("retrieve_context", {"customer_id": "a"})
        assert [c["context_id"] for c in got["contexts"]] == [second, first]


def test_a_short_term_memory_needs_redis(
    tmp_path: Path, backing: Backing, servers: EmbeddedServers, admin_redis: redis.Redis
) -> None:
    admin_redis.acl_save()
    with start(tmp_path, backing, "short_term") as agent:
        agent.wait_for("/ready")
        servers.redis.stop()
        try:
            answer = agent.invoke("retrieve_context", {"customer_id": "a"})
            assert (answer.status_code, answer.json()["code"]) == (503, "dependency_down")
        finally:
            servers.redis.start()


def test_a_summary_keeps_within_its_bounds(tmp_path: Path, backing: Backing) -> None:
    with start(tmp_path, backing, "long_term", max_context_size=200) as agent:
        agent.wait_for("/ready")
        for number in range(5):
            store(agent, "a", f"Note {number} says that the order came late again. " * 2)
        output = agent.output("summarize_context", {"customer_id": "a", "max_sentences": 2})
        assert output["contexts_used"] == 3
        assert output["method"] == "extractive"
        text = "Alpha beats beta. Gamma is quiet. Alpha and beta met gamma. Nothing else."
        output = agent.output("summarize_context", {"text": text, "max_sentences": 2})
        assert output["contexts_used"] == 0
        assert output["summary"] == "Alpha beats beta. Alpha and beta met gamma."
        assert agent.output("summarize_context", {"customer_id": "none"})["summary"] == ""
