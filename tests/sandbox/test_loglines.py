"""Structured lines become sentences without credentials, each put down to its scenario."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from provisioning.drivers.base import TransientDriverError
from sandbox.loglines import MAX_LINE, MAX_LINES, LogTail, Masker, read_line

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = Masker(())


def told(line: Any, mask: Masker = PLAIN) -> str | None:
    found = read_line(line if isinstance(line, str) else json.dumps(line), mask)
    return found.text if found else None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", None),
        ("  \n", None),
        ("plain words", "plain words"),
        ("{not json", "{not json"),
        ('{"no": "event"}', '{"no": "event"}'),
        ("[1]", "[1]"),
        ("{" * 5000, "{" * (MAX_LINE - 1) + "…"),
        ({"event": "connected to Redis"}, "Connected to Redis"),
        (
            {"event": "ready", "timestamp": "2026-01-01T12:00:01.5Z", "level": "info"},
            "[12:00:01] Ready",
        ),
        (
            {"event": "it failed", "level": "error", "status_code": 3, "x": None, "y": ""},
            "Error: It failed (status code 3)",
        ),
        (
            {"event": "done", "capability": "store", "duration_ms": 1.5, "kept": {"a": [1]}},
            'Done: store (duration ms 1.5, kept {"a": [1]})',
        ),
        ({"event": "a\nb\x00\x1b[31mc"}, "A b [31mc"),
        ({"event": ""}, ""),
    ],
)
def test_a_line_is_told_as_people_read_it(line: Any, text: str | None) -> None:
    assert told(line) == text


def test_credentials_are_masked_in_every_kind_of_line() -> None:
    mask = Masker(["s3cret-token", "s3cret", ""])
    assert told({"event": "x", "token": "s3cret-token"}, mask) == "X (token [hidden])"
    assert told("pass s3cret", mask) == "pass [hidden]"
    assert told("to redis://user:pw@host:1/0", mask) == "to redis://[hidden]@host:1/0"


def tail_of(*lines: Any) -> LogTail:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    tail = LogTail(iter(texts), PLAIN, prefix="test-1")
    tail.start()
    tail.stop(60)
    return tail


def test_lines_go_to_the_scenario_of_their_request() -> None:
    tail = tail_of(
        {"event": "own"},
        {"event": "setup", "request_id": "test-1-3-setup2"},
        {"event": "call", "request_id": "test-1-3"},
        {"event": "elsewhere", "request_id": "test-2-3"},
        {"event": "odd", "request_id": 7},
    )
    assert tail.of(3) == ["Setup", "Call"]
    assert [where for where, _ in tail.since(0)] == [None, 3, 3, None, None]
    assert tail.since(4)[0][1].text == "Odd"
    assert (tail.request_id(3), tail.request_id(3, 2)) == ("test-1-3", "test-1-3-setup2")


def test_lines_without_a_request_go_to_the_scenario_that_plays() -> None:
    go = threading.Event()

    def lines() -> Iterator[str]:
        go.wait(10)
        yield "a word"

    tail = LogTail(lines(), PLAIN, prefix="t")
    tail.start()
    tail.play(5)
    go.set()
    tail.stop()
    assert tail.of(5) == ["a word"]


def test_waiting_ends_with_the_calls_last_line_or_the_time() -> None:
    tail = tail_of({"event": "capability completed", "request_id": "test-1-0"})
    tail.wait_for_end(0, 60)
    tail.wait_for_end(1, 0.01)
    assert tail.of(1) == []


def test_what_is_kept_is_bounded() -> None:
    tail = tail_of(*(f'{{"event": "n{n}", "request_id": "test-1-0"}}' for n in range(20_300)))
    assert len(tail.since(0)) == 20_000
    assert len(tail.of(0)) == MAX_LINES


def test_a_runtime_that_breaks_off_ends_the_log_quietly() -> None:
    def lines() -> Iterator[str]:
        yield "first"
        raise TransientDriverError("gone")

    tail = LogTail(lines(), PLAIN, prefix="t")
    tail.start()
    tail.stop()
    assert [line.text for _, line in tail.since(0)] == ["first"]
