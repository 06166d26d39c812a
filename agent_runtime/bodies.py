"""JSON from outside: bounded before it is read, so that a hostile body costs no memory."""

import json
import math
import re
from typing import Any, Final

from agent_runtime.errors import Code, Problem

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 20_000

_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{}"))


def parse_object(body: bytes | str) -> dict[str, Any]:
    """Return the JSON object in ``body``.

    Raises:
        Problem: ``invalid_json``: not JSON, not an object, nested too deep, too many values, or
            with a number or a text that JSON cannot carry.

    """
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    _check_structure(data)
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise Problem(Code.INVALID_JSON, "Send the body as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise Problem(
            Code.INVALID_JSON,
            f"{error.msg} at line {error.lineno}, column {error.colno}: send one JSON object.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise Problem(Code.INVALID_JSON, f"{error}") from None
    if not isinstance(value, dict):
        raise Problem(Code.INVALID_JSON, "Send a JSON object, as in {}.")
    _check_texts(value)
    return value


def _check_structure(data: bytes) -> None:
    if data.count(b"{") + data.count(b"[") + data.count(b",") <= MAX_DEPTH:
        return
    bare = _STRINGS.sub(b"", data)
    if bare.count(b"{") + bare.count(b"[") + bare.count(b",") > MAX_VALUES:
        raise Problem(Code.INVALID_JSON, f"Keep the JSON to at most {MAX_VALUES} values.")
    depth = 0
    for byte in bare.translate(None, _NOT_STRUCTURE):
        depth += 1 if byte in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Problem(Code.INVALID_JSON, f"Nest the JSON at most {MAX_DEPTH} levels deep.")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"JSON has no {name}: send a number or null.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("A number is too large: send one below 1.8e308.")
    return number


def _check_texts(value: object) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise Problem(
                    Code.INVALID_JSON, "A text has half a surrogate pair: send valid Unicode."
                ) from None
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
