"""Expectations are parts of answers, and differences read like sentences."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.compare import (
    MAX_DIFFERENCES,
    Difference,
    check_expectation,
    differences,
    expects_error,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
keys = st.text("abcdefgh_", min_size=1, max_size=6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=5)


def sentences(expected: Any, actual: Any) -> list[str]:
    return [item.sentence for item in differences(expected, actual)]


@given(values)
def test_everything_matches_itself(value: Any) -> None:
    assert differences(value, copy.deepcopy(value)) == []


@given(objects, objects)
def test_more_fields_than_expected_are_no_difference(expected: Any, more: Any) -> None:
    assert differences(expected, more | expected) == []


@given(objects, keys, values)
def test_a_missing_field_is_one_difference_at_its_path(actual: Any, key: str, value: Any) -> None:
    actual.pop(key, None)
    found = differences({key: value}, actual)
    assert [(item.path, item.actual) for item in found] == [(key, None)]
    assert f"{key} is missing" in found[0].sentence


@given(scalars, scalars)
def test_scalars_match_when_python_says_they_are_equal(one: Any, other: Any) -> None:
    same_kind = isinstance(one, bool) == isinstance(other, bool)
    if one == other and same_kind:
        assert differences(one, other) == []
    elif isinstance(one, str | None) or isinstance(other, str | None):
        assert len(differences(one, other)) == 1


@given(st.floats(1e-3, 1e12), st.floats(-9e-7, 9e-7))
def test_numbers_within_the_tolerance_match(number: float, share: float) -> None:
    assert differences(number, number * (1 + share)) == []


@given(st.floats(1, 1e12), st.floats(2e-6, 1))
def test_numbers_beyond_the_tolerance_differ(number: float, share: float) -> None:
    assert len(differences(number, number * (1 + share))) == 1


@given(st.lists(values, max_size=6), st.randoms(use_true_random=False))
def test_unordered_lists_match_in_any_order(items: list[Any], random: Any) -> None:
    shuffled = copy.deepcopy(items)
    random.shuffle(shuffled)
    assert differences({"$unordered": items}, shuffled) == []


@given(values, values)
def test_comparing_never_fails_and_stays_bounded(expected: Any, actual: Any) -> None:
    found = differences(expected, actual)
    assert len(found) <= MAX_DIFFERENCES
    for item in found:
        assert item.sentence.startswith(item.path)


@pytest.mark.parametrize(
    ("expected", "actual", "sentence"),
    [
        ({"status": "stored"}, {"status": "lost"}, 'status should be "stored", but is "lost".'),
        ({"n": 1}, {"n": True}, "n should be 1, but is true."),
        ({"n": 1}, {"n": "1"}, 'n should be 1, but is "1".'),
        ({"n": None}, {"n": 0}, "n should be null, but is 0."),
        ({"a": {"b": 1}}, {"a": [1]}, "a should be an object, but is a list of 1 item."),
        ({"a": [1]}, {"a": {"b": 1}}, "a should be a list, but is an object."),
        ({"a": [1]}, {"a": 7}, "a should be a list, but is 7."),
        ({"a": [1]}, {"a": [1, 2]}, "a should have 1 item, but has 2 items."),
        ({"a": [{"id": 1}]}, {"a": [{"id": 2}]}, "a[0].id should be 1, but is 2."),
        ({"odd key": 1}, {"odd key": 2}, '"odd key" should be 1, but is 2.'),
        (1, 2, "output should be 1, but is 2."),
        ({"x": 1}, {"y": 2}, "x is missing; it should be 1. There is: y."),
        ({"x": 1}, {}, "x is missing; it should be 1. There is: nothing."),
        (
            {"a": {"$contains": "blue"}},
            {"a": "red"},
            'a should contain "blue", but is "red".',
        ),
        ({"a": {"$contains": "x"}}, {"a": 3}, "a should be a text or a list, but is 3."),
        ({"a": {"$contains": 1}}, {"a": "1"}, 'a should be a list, but is "1".'),
        (
            {"a": {"$contains": {"id": 2}}},
            {"a": [{"id": 1}]},
            'a should have an item like {"id": 2}, but has none (left).',
        ),
        ({"a": {"$unordered": [1]}}, {"a": 1}, "a should be a list, but is 1."),
        ({"a": {"$unordered": [1]}}, {"a": [1, 2]}, "a should have 1 item, but has 2 items."),
        ({"n": 10**400}, {"n": 1.5}, None),
    ],
)
def test_a_difference_says_what_is_wrong(expected: Any, actual: Any, sentence: str | None) -> None:
    found = sentences(expected, actual)
    assert len(found) == 1
    if sentence is not None:
        assert found == [sentence]


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": {"$any": True}}, {"a": None}),
        ({"a": {"$contains": "lu"}}, {"a": "blue"}),
        ({"a": {"$contains": {"id": 2}}}, {"a": [{"id": 1}, {"id": 2, "x": 0}]}),
        ({"a": {"$contains": [1, 1]}}, {"a": [1, 2, 1]}),
        ({"n": 1}, {"n": 1.0}),
        # The first wanted item could take either; pairing finds the arrangement that works.
        (
            {"$unordered": [{"a": 1}, {"a": 1, "b": 2}]},
            [{"a": 1, "b": 2}, {"a": 1, "b": 3}],
        ),
    ],
)
def test_what_is_said_otherwise_matches(expected: Any, actual: Any) -> None:
    assert sentences(expected, actual) == []


def test_a_list_item_stands_for_one_wanted_item_only() -> None:
    assert len(sentences({"$contains": [1, 1]}, [1, 2])) == 1
    assert len(sentences({"$unordered": [1, 1]}, [1, 2])) == 1


def test_any_still_has_to_be_there() -> None:
    assert sentences({"a": {"$any": True}}, {}) == [
        'a is missing; it should be {"$any": true}. There is: nothing.'
    ]


def test_differences_are_kept_short() -> None:
    long = "x" * 10_000
    shown = differences({"a": long}, {"a": [long]})[0]
    kept = shown.to_json_dict()
    assert len(kept["expected"]) <= 300
    assert len(kept["actual"]) <= 300
    assert len(kept["sentence"]) < 600
    assert Difference(path="a", expected=1, actual=2, sentence="").to_json_dict()["actual"] == 2


def test_no_more_than_the_limit_is_told() -> None:
    expected = {f"k{n}": n for n in range(200)}
    assert len(differences(expected, {})) == MAX_DIFFERENCES
    assert len(differences(list(range(200)), list(range(1, 201)))) == MAX_DIFFERENCES


@pytest.mark.parametrize(
    "expected",
    [
        {"$regex": "x"},
        {"a": {"$any": True, "b": 1}},
        {"a": [{"$unordered": 3}]},
        {"a": {"$contains": [0] * 101}},
        {"a": {"$unordered": [0] * 101}},
    ],
)
def test_a_misused_comparison_is_refused(expected: Any) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        check_expectation(expected)


def test_a_plain_expectation_is_accepted() -> None:
    check_expectation({"a": [1, {"$any": True}], "b": {"$contains": "$"}, "c": {"$unordered": []}})


def test_an_error_is_expected_only_by_its_own_shape() -> None:
    assert expects_error({"error": {"code": "invalid_input"}}, {"type": "object"})
    assert not expects_error({"error": {"code": "x"}}, {"properties": {"error": {}}})
    assert not expects_error({"error": "x"}, {})
    assert not expects_error({"error": {"detail": "x"}}, {})
    assert not expects_error({"error": {"code": "x"}, "a": 1}, {})
    assert not expects_error(None, {})
