"""The shapes that every memory shares, and the bounds on what goes into one."""

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from agent_runtime.errors import Code, FieldError, Problem
from agent_runtime.spec import JsonObject

MAX_TEXT: Final = 200_000
MAX_CUSTOMER_ID: Final = 200
MAX_METADATA: Final = 20_000
MAX_QUERY: Final = 2_000
MAX_LIMIT: Final = 100
# Texts given back in one answer, in characters.
MAX_ANSWER: Final = 2_000_000
MAX_RESULT_TEXT: Final = 2_000


@dataclass(frozen=True, slots=True)
class StoredContext:
    """One remembered text."""

    context_id: str
    customer_id: str
    text: str
    metadata: JsonObject
    created_at: datetime

    def to_json(self) -> JsonObject:
        """Return it as callers see it; the time in ISO 8601, UTC."""
        return {
            "context_id": self.context_id,
            "customer_id": self.customer_id,
            "text": self.text,
            "metadata": self.metadata,
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: the context with only the part of its text that matched best."""

    context: StoredContext
    score: float

    def to_json(self) -> JsonObject:
        """Return it as callers see it."""
        return {**self.context.to_json(), "score": round(self.score, 4)}


@dataclass(frozen=True, slots=True)
class Found:
    """The results, best first, and by which method they were found."""

    hits: list[Hit]
    method: str


class ContextMemory(Protocol):
    """Where contexts are kept. Every method raises ``Problem`` when the store is down."""

    async def store(self, context: StoredContext) -> None:
        """Keep one context."""

    async def recent(self, customer_id: str | None, limit: int) -> list[StoredContext]:
        """Return the newest contexts, of one customer or of all, newest first."""

    async def search(self, query: str, customer_id: str | None, limit: int) -> Found:
        """Return the contexts that answer ``query`` best."""


def context_from_json(raw: JsonObject) -> StoredContext:
    """Return the context that :meth:`StoredContext.to_json` wrote."""
    return StoredContext(
        context_id=raw["context_id"],
        customer_id=raw["customer_id"],
        text=raw["text"],
        metadata=raw["metadata"],
        created_at=datetime.fromisoformat(raw["created_at"]),
    )


def new_context_id() -> str:
    """Return an id that nobody can guess."""
    return f"ctx-{secrets.token_hex(8)}"


def read_text(payload: JsonObject, name: str, longest: int, *, required: bool = True) -> str | None:
    """Return the text field ``name``, or ``None`` where it may be left out and is.

    Raises:
        Problem: ``invalid_input``, naming the field.

    """
    value = payload.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value.strip():
        raise _refuse(name, "required", "Send a text that is not empty.")
    if len(value) > longest:
        raise _refuse(name, "max_length", f"Send at most {longest} characters.")
    if "\x00" in value:
        raise _refuse(name, "invalid", "Take the NUL characters out of this text.")
    return value


def read_number(payload: JsonObject, name: str, default: int, highest: int) -> int:
    """Return the whole number ``name``, from 1 to ``highest``.

    Raises:
        Problem: ``invalid_input``, naming the field.

    """
    value = payload.get(name)
    if value is None:
        return default
    if type(value) is not int or not 1 <= value <= highest:
        raise _refuse(name, "invalid", f"Send a whole number from 1 to {highest}.")
    return value


def read_metadata(payload: JsonObject) -> JsonObject:
    """Return the metadata, an object of bounded size.

    Raises:
        Problem: ``invalid_input``, naming the field.

    """
    value: Any = payload.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refuse("metadata", "type", "Send an object.")
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > MAX_METADATA:
        raise _refuse("metadata", "max_length", f"Send at most {MAX_METADATA} characters of JSON.")
    if "\\u0000" in text:
        raise _refuse("metadata", "invalid", "Take the NUL characters out of the metadata.")
    return value


def _refuse(name: str, code: str, detail: str) -> Problem:
    error = FieldError(name, code, detail)
    return Problem(Code.INVALID_INPUT, "Correct the fields named in errors.", errors=(error,))
