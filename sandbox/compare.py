"""Compare what an agent answered with what was expected, and tell differences so people see them.

The expectation is a part of the answer ("subset"):

- an object has to have the expected fields with the expected values; others may be there too;
- a list has to be as long, and its items are compared one by one;
- numbers are equal within a relative 1e-6 (so 1 and 1.0 are, true and 1 are not);
- anything else has to be equal.

Where that is too strict, a single-key object in place of a value says otherwise:

- ``{"$any": true}``: any value, as long as it is there;
- ``{"$contains": x}``: a text with ``x`` in it; or a list with an item that ``x`` matches, or, if
  ``x`` is a list, one item for each of its items;
- ``{"$unordered": [...]}``: a list with just these items, in any order.

A scenario may expect an error: ``{"error": {"code": "invalid_input"}}`` is compared in the same
way with ``{"error": {"code", "detail", "errors"}}`` of the agent's problem answer.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

REL_TOLERANCE: Final = 1e-6
ABS_TOLERANCE: Final = 1e-9
MAX_DIFFERENCES: Final = 50
MAX_UNORDERED: Final = 100

ANY: Final = "$any"
CONTAINS: Final = "$contains"
UNORDERED: Final = "$unordered"
_MATCHERS: Final = (ANY, CONTAINS, UNORDERED)
_MAX_SHOWN: Final = 300
_WHOLE: Final = "output"
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place where the answer is not what was expected."""

    path: str
    """As in ``items[0].id``; ``output`` for the whole."""
    expected: Any
    actual: Any
    """``None`` if it is missing; the sentence tells the two apart."""
    sentence: str

    def to_json_dict(self) -> dict[str, Any]:
        """Return the difference as it is stored and shown; long values are shortened."""
        return asdict(self) | {
            "expected": _bounded(self.expected),
            "actual": _bounded(self.actual),
        }


def check_expectation(expected: object) -> None:
    """Do nothing if ``expected`` can be compared with.

    Raises:
        ValueError: an unknown or misused ``$`` key; says what is possible.

    """
    stack: list[object] = [expected]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            _check_matcher(item)
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)


def _check_matcher(item: Mapping[str, Any]) -> None:
    keys = [key for key in item if isinstance(key, str) and key.startswith("$")]
    if not keys:
        return
    key = keys[0]
    if key not in _MATCHERS or len(item) != 1:
        raise ValueError(
            f"{key[:40]!r} is no comparison. Use one of {', '.join(_MATCHERS)}, alone in an object."
        )
    value = item[key]
    if key == UNORDERED and not isinstance(value, list | tuple):
        raise ValueError(f"Give {UNORDERED} a list of items.")
    if isinstance(value, list | tuple) and key != ANY and len(value) > MAX_UNORDERED:
        raise ValueError(f"Give {key} at most {MAX_UNORDERED} items.")


def expects_error(expected: Any, output_schema: Mapping[str, Any]) -> bool:
    """Whether the expectation is of an error answer, not of an output.

    It is when ``error`` with a ``code`` is all that it names, unless the capability's own output
    has a field of that name.
    """
    return (
        isinstance(expected, Mapping)
        and set(expected) == {"error"}
        and isinstance(expected["error"], Mapping)
        and "code" in expected["error"]
        and "error" not in output_schema.get("properties", {})
    )


def differences(expected: Any, actual: Any) -> list[Difference]:
    """Return where ``actual`` is not what ``expected`` asks for, at most ``MAX_DIFFERENCES``."""
    found: list[Difference] = []
    _compare(expected, actual, "", found)
    return found[:MAX_DIFFERENCES]


def _matches(expected: Any, actual: Any) -> bool:
    found: list[Difference] = []
    _compare(expected, actual, "", found)
    return not found


def _compare(expected: Any, actual: Any, path: str, found: list[Difference]) -> None:
    if len(found) >= MAX_DIFFERENCES:
        return
    if isinstance(expected, Mapping):
        matcher = _matcher_of(expected)
        if matcher is not None:
            matcher(expected, actual, path, found)
        else:
            _compare_objects(expected, actual, path, found)
    elif isinstance(expected, list | tuple):
        _compare_lists(expected, actual, path, found)
    elif not _equal(expected, actual):
        _differ(
            found, path, expected, actual, f"should be {_show(expected)}, but is {_show(actual)}."
        )


def _compare_objects(
    expected: Mapping[str, Any], actual: Any, path: str, found: list[Difference]
) -> None:
    if not isinstance(actual, Mapping):
        _differ(
            found, path, expected, actual, f"should be an object, but is {_kind_and_value(actual)}."
        )
        return
    for key, value in expected.items():
        below = _below(path, key)
        if key in actual:
            _compare(value, actual[key], below, found)
        elif len(found) < MAX_DIFFERENCES:
            there = ", ".join(_shorten(str(name), 40) for name in list(actual)[:8]) or "nothing"
            _differ(
                found, below, value, None, f"is missing; it should be {_show(value)}. "
                f"There is: {there}.",
            )  # fmt: skip


def _compare_lists(
    expected: Sequence[Any], actual: Any, path: str, found: list[Difference]
) -> None:
    if not isinstance(actual, list | tuple):
        _differ(
            found, path, expected, actual, f"should be a list, but is {_kind_and_value(actual)}."
        )
        return
    for index, (wanted, got) in enumerate(zip(expected, actual, strict=False)):
        _compare(wanted, got, f"{path}[{index}]", found)
    if len(expected) != len(actual):
        _differ(
            found,
            path,
            expected,
            actual,
            f"should have {_items(len(expected))}, but has {_items(len(actual))}.",
        )


def _compare_any(_: Any, __: Any, ___: str, ____: list[Difference]) -> None:
    """Anything is right; being missing was noticed before."""


def _compare_contains(
    expected: Mapping[str, Any], actual: Any, path: str, found: list[Difference]
) -> None:
    wanted = expected[CONTAINS]
    if isinstance(actual, str) and isinstance(wanted, str):
        if wanted not in actual:
            _differ(
                found, path, expected, actual,
                f"should contain {_show(wanted)}, but is {_show(actual)}.",
            )  # fmt: skip
    elif not isinstance(actual, list | tuple):
        kind = "a text or a list" if isinstance(wanted, str) else "a list"
        _differ(
            found, path, expected, actual, f"should be {kind}, but is {_kind_and_value(actual)}."
        )
    else:
        items = wanted if isinstance(wanted, list | tuple) else [wanted]
        for item in _unmatched(items, actual):
            _differ(
                found, path, expected, actual,
                f"should have an item like {_show(item)}, but has none (left).",
            )  # fmt: skip


def _compare_unordered(
    expected: Mapping[str, Any], actual: Any, path: str, found: list[Difference]
) -> None:
    wanted = expected[UNORDERED]
    if not isinstance(actual, list | tuple):
        _differ(
            found, path, expected, actual, f"should be a list, but is {_kind_and_value(actual)}."
        )
        return
    for item in _unmatched(wanted, actual):
        _differ(
            found, path, expected, actual,
            f"should have an item like {_show(item)}, but has none (left).",
        )  # fmt: skip
    if len(wanted) != len(actual):
        _differ(
            found,
            path,
            expected,
            actual,
            f"should have {_items(len(wanted))}, but has {_items(len(actual))}.",
        )


def _matcher_of(
    expected: Mapping[str, Any],
) -> Callable[[Mapping[str, Any], Any, str, list[Difference]], None] | None:
    if len(expected) != 1:
        return None
    return {ANY: _compare_any, CONTAINS: _compare_contains, UNORDERED: _compare_unordered}.get(
        next(iter(expected))
    )


def _unmatched(wanted: Sequence[Any], actual: Sequence[Any]) -> list[Any]:
    """Return the wanted items that get no item of their own, in the best pairing.

    Augmenting paths (Kuhn): an item that could be paired with several doesn't take another's only
    partner.
    """
    partners = [
        [index for index, got in enumerate(actual) if _matches(item, got)] for item in wanted
    ]
    holder: dict[int, int] = {}

    def pair(item: int, tried: set[int]) -> bool:
        for index in partners[item]:
            if index not in tried:
                tried.add(index)
                if index not in holder or pair(holder[index], tried):
                    holder[index] = item
                    return True
        return False

    return [wanted[item] for item in range(len(wanted)) if not pair(item, set())]


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        if isinstance(expected, int) and isinstance(actual, int):
            return expected == actual
        try:
            return math.isclose(expected, actual, rel_tol=REL_TOLERANCE, abs_tol=ABS_TOLERANCE)
        except OverflowError:
            return False
    return type(expected) is type(actual) and bool(expected == actual)


def _differ(found: list[Difference], path: str, expected: Any, actual: Any, sentence: str) -> None:
    path = path or _WHOLE
    found.append(
        Difference(
            path=path,
            expected=expected,
            actual=actual,
            sentence=f"{_shorten(path, 200)} {sentence}",
        )
    )


def _below(path: str, key: str) -> str:
    name = key if _PLAIN_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
    name = _shorten(name, 60)
    return f"{path}.{name}" if path else name


def _items(number: int) -> str:
    return "1 item" if number == 1 else f"{number} items"


def _kind_and_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {_items(len(value))}"
    return _show(value)


def _show(value: Any) -> str:
    return _shorten(json.dumps(value, ensure_ascii=False, default=str), 120)


def _bounded(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= _MAX_SHOWN else _shorten(text, _MAX_SHOWN)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
