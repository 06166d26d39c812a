"""Bounds on JSON that comes from outside: depth, number of values, length of the text."""

import math
import re
from typing import Any, Final, TypeVar

T = TypeVar("T")

MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000
MAX_TEXT: Final = 1_000_000
MAX_INTEGER_BITS: Final = 1024
# What neither PostgreSQL's JSON nor UTF-8 can hold.
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_UNSTORABLE_MESSAGE: Final = "Remove the NUL and half characters: they can't be stored."


def check_json_bounds(value: T) -> T:
    """Return ``value`` if it is small enough to walk, store and show.

    Walks with a stack of its own, so a deep document costs no recursion.

    Raises:
        ValueError: deeper than ``MAX_DEPTH``, more than ``MAX_NODES`` values, more than
            ``MAX_TEXT`` characters of text in all, or something that can't be stored.

    """
    stack: list[tuple[Any, int]] = [(value, 1)]
    nodes = text = 0
    while stack:
        item, depth = stack.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"Nest the JSON at most {MAX_DEPTH} levels deep.")
        if nodes > MAX_NODES:
            raise ValueError(f"Keep the JSON to at most {MAX_NODES} values.")
        if isinstance(item, str):
            text += len(item)
        elif isinstance(item, dict):
            text += sum(len(str(key)) for key in item)
            if any(_UNSTORABLE.search(str(key)) for key in item):
                raise ValueError(_UNSTORABLE_MESSAGE)
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list | tuple):
            stack.extend((child, depth + 1) for child in item)
        if text > MAX_TEXT:
            raise ValueError(f"Keep the JSON's text to at most {MAX_TEXT} characters.")
        _check_scalar(item)
    return value


def is_storable(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold ``text``."""
    return not _UNSTORABLE.search(text)


def _check_scalar(item: object) -> None:
    if isinstance(item, str) and _UNSTORABLE.search(item):
        raise ValueError(_UNSTORABLE_MESSAGE)
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError("Use finite numbers: JSON has neither infinity nor NaN.")
    if isinstance(item, int) and item.bit_length() > MAX_INTEGER_BITS:
        raise ValueError(f"Use whole numbers of at most {MAX_INTEGER_BITS} bits.")
