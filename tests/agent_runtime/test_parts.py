"""The runtime's small parts by themselves."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent_runtime.bodies import MAX_DEPTH, parse_object
from agent_runtime.credentials import Credentials
from agent_runtime.errors import Problem
from agent_runtime.examples import synthesise
from agent_runtime.limits import Slots, TokenBucket
from agent_runtime.logs import configure_logs, describe_failure, get_logger, hide
from agent_runtime.memory.passages import split_passages, title_of
from agent_runtime.memory.ranking import Candidate, Collection, Ranked, rank, rarity
from agent_runtime.memory.summarize import extract
from agent_runtime.memory.vectors import fuse
from agent_runtime.memory.words import words_of
from agent_runtime.metrics import Metrics
from agent_runtime.redis_client import RedisAddress, RedisClient, RedisUnavailable, encode
from agent_runtime.schemas import SchemaCheck


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def test_depth_at_and_over_its_bound() -> None:
    assert parse_object(nested(MAX_DEPTH))
    with pytest.raises(Problem, match="at most 32 levels"):
        parse_object(nested(MAX_DEPTH + 1))


def test_brackets_in_texts_do_not_count() -> None:
    text = '[{"\\' * 10_000
    assert parse_object(json.dumps({"text": text})) == {"text": text}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_problem(data: bytes) -> None:
    try:
        found: object = parse_object(data)
    except Problem as problem:
        found = problem.code
    assert isinstance(found, dict) or found == "invalid_json"


@given(st.text(max_size=4000), st.integers(0, 3))
def test_passages_cover_a_text_in_order(text: str, blanks: int) -> None:
    whole = (text + "\n" * blanks) * 3
    passages = split_passages(whole)
    kept = "".join(whole[p.start : p.stop] for p in passages)
    assert "".join(kept.split()) == "".join(whole.split())
    assert all(p.stop - p.start <= 1400 for p in passages)
    assert all(a.stop <= b.start for a, b in pairwise(passages))


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Title\n=====\n\nText", "Title"),
        ("# Title\nText", "Title"),
        ("Title\n\nText", "Title"),
        ("A line\nof a paragraph", ""),
        ("One line", ""),
        ("", ""),
        ("x" * 121 + "\n\nText", ""),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert title_of(text) == title


def candidate(context: int, places: dict[str, list[int]], **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "passage": context, "words": 50, "context_words": 50, "context_passages": 1,
    }  # fmt: skip
    return Candidate(context=context, places=places, **{**fields, **changes})


def order(*candidates: Candidate, **rarities: float) -> list[int]:
    collection = Collection(rarities, 50, 50)
    return [r.context for r in rank(candidates, collection)]


def test_what_ranks_before_what() -> None:
    rare = {"rare": 3.0, "often": 0.5}
    assert order(candidate(1, {"often": [1]}), candidate(2, {"rare": [1]}), **rare) == [2, 1]
    near, far = {"rare": [1], "often": [2]}, {"rare": [1], "often": [40]}
    assert order(candidate(1, far), candidate(2, near), **rare) == [2, 1]
    long = candidate(1, {"rare": [1]}, words=500, context_words=500)
    assert order(long, candidate(2, {"rare": [1]}), **rare) == [2, 1]
    many = candidate(3, {"rare": [1]}, context_passages=60)
    assert order(many, candidate(2, {"rare": [1]}), **rare) == [2, 3]
    titled = candidate(1, {"rare": [1]}, in_title=frozenset({"rare"}))
    assert order(candidate(2, {"rare": [1]}), titled, **rare) == [1, 2]
    # Equal ones: the newest first.
    assert order(candidate(1, {"rare": [1]}), candidate(2, {"rare": [1]}), **rare) == [2, 1]
    assert rank([], Collection({}, 1, 1)) == []


def test_rarity_falls_and_is_never_negative() -> None:
    values = [rarity(100, holding) for holding in (1, 10, 50, 100, 200)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0


def test_fusing_prefers_what_both_found() -> None:
    left = [Ranked(1, 10, 9.0), Ranked(2, 20, 8.0)]
    right = [Ranked(2, 21, 0.9), Ranked(3, 30, 0.8)]
    fused = fuse(left, right)
    assert [(r.context, r.passage) for r in fused] == [(2, 21), (1, 10), (3, 30)]
    assert [r.context for r in fuse(left, [])] == [1, 2]


@pytest.mark.parametrize(
    "forms",
    [("plan", "plans"), ("invoice", "invoices"), ("renewed", "renew"),
     ("query", "queries")],
)  # fmt: skip
def test_forms_of_a_word_have_one_stem(forms: tuple[str, ...]) -> None:
    assert len({words_of(form)[0] for form in forms}) == 1


def test_words_that_say_nothing_are_empty() -> None:
    assert words_of("Where is the Class?") == ["", "", "", "class"]
    assert words_of("Größe don't") == ["größe", "don"]


def test_an_extract_does_not_repeat_itself() -> None:
    text = "The order came late. The order came late. Nobody called."
    assert extract([text], 3) == "The order came late. Nobody called."
    assert extract([], 3) == extract(["... ..."], 3) == ""


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}},
        {"properties": {"a": {"const": 3}, "b": {"default": [1]}, "c": {"examples": [2]}}},
        {"type": "object", "properties": {"a": {"type": ["null", "string"]}}},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 20}}},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 2}}},
        {"type": "object", "properties": {"a": {"type": "string", "format": "uuid"}}},
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5}}},
        {"type": "object", "properties": {"a": {"type": "number", "exclusiveMinimum": 5}}},
        {"type": "object", "properties": {"a": {"type": "integer", "maximum": -5}}},
        {"type": "object", "properties": {"a": {"type": "boolean"}}},
        {"type": "object", "properties": {"a": {"type": "null"}}},
        {"type": "object", "properties": {
            "a": {"type": "array", "items": {"type": "integer"}, "minItems": 2}}},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {}]}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}},
         "$defs": {"x": {"type": "integer"}}},
    ],
)  # fmt: skip
def test_a_made_value_keeps_to_its_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(synthesise(schema, schema))


def test_a_schema_that_holds_itself_ends() -> None:
    schema = {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {"$ref": "#/$defs/x"}}}}}
    assert json.dumps(synthesise(schema, schema))
    assert synthesise(True, {}) is None


def test_findings_are_few_and_short() -> None:
    check = SchemaCheck({"type": "object", "additionalProperties": {"type": "integer"}})
    errors = check.errors({f"f{n}": "x" * 5000 for n in range(100)})
    assert len(errors) == 20
    assert all(len(e.detail) <= 300 and not e.detail.startswith("'xxx") for e in errors)
    closed = SchemaCheck({"additionalProperties": False, "patternProperties": {"^a": {}}})
    assert [e.code for e in closed.errors({"b": 1})] == ["additionalProperties"]


@pytest.mark.parametrize(
    ("schema", "value", "detail"),
    [
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"nope": 5},
         "The value fits none of the forms that the schema allows."),
        ({"oneOf": [{}, {}]}, {"nope": 5},
         "The value has to fit exactly one of the forms that the schema allows."),
        ({"type": "object"}, [], "The value has to be an object."),
        ({"type": ["string", "null"]}, {"a": 1}, "The value has to be text or null."),
        ({"enum": ["a", True]}, "x", 'The value has to be one of "a", true.'),
        ({"const": {"a": None}}, "x", 'The value has to be {"a": null}.'),
        ({"minimum": 3}, 1, "The value is less than the minimum of 3."),
        ({"maxLength": 1}, "it's", "The value is too long."),
    ],
)  # fmt: skip
def test_a_finding_is_in_plain_words(schema: dict[str, Any], value: Any, detail: str) -> None:
    assert [error.detail for error in SchemaCheck(schema).errors(value)] == [detail]


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    bucket = TokenBucket(60, clock=lambda: now[0])
    for _ in range(60):
        bucket.take()
    with pytest.raises(Problem) as refused:
        bucket.take()
    assert refused.value.retry_after == 1
    now[0] = 2.5
    bucket.take()
    bucket.take()
    with pytest.raises(Problem):
        bucket.take()


async def test_a_waiting_caller_gets_a_token_when_there_is_one() -> None:
    bucket = TokenBucket(6000)
    for _ in range(6000):
        bucket.take()
    await asyncio.wait_for(bucket.wait(), 5)


async def test_slots_are_given_back_whatever_happens() -> None:
    slots = Slots(1, max_wait=0.01)
    for _ in range(3):
        with suppress(RuntimeError):
            async with slots.hold():
                assert slots.in_use == 1
                raise RuntimeError
        assert slots.in_use == 0
    async with slots.hold():
        with pytest.raises(Problem, match="busy"):
            async with slots.hold():
                raise AssertionError
    async with slots.wait():
        assert slots.in_use == 1
    assert slots.in_use == 0


def test_logs_hide_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        configure_logs()
        hide(Credentials.from_json(
            {"invoke_token": "canary-1", "redis_url": "redis://u:canary-2@h:1/0",
             "egress_token": "canary-3", "database_url": "postgresql://u:canary-4@h/db"}
        ).secrets())  # fmt: skip
        get_logger().info("canary-1 canary-2", detail="canary-3", url="//u:canary-4@h")
        logging.getLogger("library").error("canary-%s failed", 1, exc_info=ValueError("canary-2"))
    finally:
        hide(())
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "canary" not in json.dumps(lines)
    assert lines[0]["event"] == "[hidden] [hidden]"
    assert (lines[1]["source"], lines[1]["error"]) == ("library", "ValueError")


def test_credentials_do_not_show_in_their_representation() -> None:
    shown = repr(Credentials.from_json({"invoke_token": "canary", "egress_token": "canary"}))
    assert "canary" not in shown


def test_a_failure_is_told_without_the_texts_of_the_call() -> None:
    told = describe_failure(KeyError("it's private"), ["it's private"])
    assert "private" not in told["message"]


def test_metrics_escape_labels_and_count_into_buckets() -> None:
    metrics = Metrics()
    metrics.observe('a"b\\', "ok", 0.003)
    metrics.observe('a"b\\', "ok", 100)
    text = metrics.render()
    assert 'capability="a\\"b\\\\",le="0.005"} 1' in text
    assert 'capability="a\\"b\\\\",le="60"} 1' in text
    assert 'le="+Inf"} 2' in text


def test_redis_addresses() -> None:
    address = RedisAddress.from_url("rediss://user:p%40ss@host:7000/2")
    assert address == RedisAddress("host", 7000, 2, "user", "p@ss", tls=True)
    assert "p@ss" not in repr(address)
    assert RedisAddress.from_url("redis://host") == RedisAddress("host", 6379)
    assert (
        encode(("SET", b"k", "é", 1))
        == b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\xc3\xa9\r\n$1\r\n1\r\n"
    )


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400\r\n", b"$999999999999\r\n", b"+" + b"x" * 2_000_000, b"$5\r\nab"]
)
async def test_what_is_no_redis_is_unavailable(answer: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = RedisClient(RedisAddress("127.0.0.1", port), timeout_seconds=2)
        with pytest.raises(RedisUnavailable):
            await client.execute("PING")
        await client.close()
