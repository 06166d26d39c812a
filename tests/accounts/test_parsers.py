"""Bodies are bounded before they are parsed."""

from __future__ import annotations

import io
import json

import pytest
from django.conf import settings
from rest_framework.exceptions import ParseError

from accounts.api.parsers import MAX_DEPTH, BodyTooLarge, BoundedJSONParser


def parse(body: bytes) -> object:
    return BoundedJSONParser().parse(io.BytesIO(body))


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_plain_json_is_read() -> None:
    value = {"name": 'quotes " and [brackets] {in} text \\', "list": [1, 2.5, None, True]}

    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": Infinity}', "invalid_json"),
        (b'{"a": 1, "a": 2}', "invalid_json"),
        (b'{"a\\u0000": 1}', "invalid_json"),
        (nested(MAX_DEPTH + 1), "too_deep"),
        (nested(200_000), "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
    ],
)
def test_what_is_no_usable_json_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(ParseError) as error:
        parse(body)
    assert error.value.get_codes() == code


def test_the_deepest_allowed_nesting_is_read() -> None:
    assert parse(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))


def test_size_at_and_over_the_bound() -> None:
    limit: int = settings.API_MAX_BODY_BYTES
    assert parse(b'"' + b"x" * (limit - 2) + b'"') == "x" * (limit - 2)

    with pytest.raises(BodyTooLarge, match=f"at most {limit} bytes"):
        parse(b'"' + b"x" * (limit - 1) + b'"')
