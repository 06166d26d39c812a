"""Bounds on JSON from outside."""

from __future__ import annotations

from typing import Any

import pytest

from registry.json_bounds import (
    MAX_DEPTH,
    MAX_INTEGER_BITS,
    MAX_NODES,
    MAX_TEXT,
    check_json_bounds,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(MAX_DEPTH),
        [0] * (MAX_NODES - 1),
        "x" * MAX_TEXT,
        {"x" * MAX_TEXT: 1},
        2**MAX_INTEGER_BITS - 1,
        {"a": [1.5, None, True, "😀"]},
    ],
)
def test_at_the_bounds_is_accepted(value: Any) -> None:
    assert check_json_bounds(value) is value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (nested(MAX_DEPTH + 1), "levels deep"),
        (nested(100_000), "levels deep"),
        ([0] * MAX_NODES, "values"),
        ("x" * (MAX_TEXT + 1), "JSON's text"),
        ({"x" * (MAX_TEXT + 1): 1}, "JSON's text"),
        (2**MAX_INTEGER_BITS, "bits"),
        (float("inf"), "finite"),
        ({"a": float("nan")}, "finite"),
        ("a\x00b", "NUL"),
        ({"a\x00": 1}, "NUL"),
        (["\ud800"], "NUL"),
    ],
)
def test_over_the_bounds_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_json_bounds(value)
