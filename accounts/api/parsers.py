"""Request bodies, bounded before they cost memory."""

import json
import re
from collections.abc import Mapping
from typing import IO, Any, Final, NoReturn

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

MAX_DEPTH: Final = 64
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_OTHER = re.compile(rb"[^\[\]{}]+")


class BodyTooLarge(APIException):
    """The body is over ``API_MAX_BODY_BYTES``."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = "The request body is too large."


class BoundedJSONParser(BaseParser):
    """Reads JSON of a bounded size and depth, without NaN and without a key given twice."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the parsed body.

        Raises:
            BodyTooLarge: more bytes than allowed.
            ParseError: not JSON, or nested too deep.

        """
        limit: int = settings.API_MAX_BODY_BYTES
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge(f"Send at most {limit} bytes.")
        if _depth(body) > MAX_DEPTH:
            raise ParseError(f"Nest the JSON at most {MAX_DEPTH} levels deep.", code="too_deep")
        try:
            return json.loads(
                body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
            )
        except UnicodeDecodeError:
            raise ParseError("Send the JSON as UTF-8.", code="invalid_json") from None
        except ValueError as error:
            raise ParseError(f"This is not JSON: {error}", code="invalid_json") from None


def _depth(body: bytes) -> int:
    """Return how deep the brackets nest, counted without parsing: parsing would recurse."""
    depth = deepest = 0
    for byte in _OTHER.sub(b"", _STRING.sub(b"", body)):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    if any("\x00" in key for key in result):
        raise ValueError("a key has a null character")
    return result
