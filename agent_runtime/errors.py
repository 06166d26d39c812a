"""What can go wrong with a call, as problem documents (RFC 9457) with a stable code."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Code(StrEnum):
    """The codes that a caller may rely on."""

    INVALID_JSON = "invalid_json"
    TOO_LARGE = "too_large"
    INVALID_INPUT = "invalid_input"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CAPABILITY_NOT_FOUND = "capability_not_found"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    TIMEOUT = "timeout"
    NO_MODEL_CONNECTED = "no_model_connected"
    UPSTREAM_FAILED = "upstream_failed"
    INVALID_OUTPUT = "invalid_output"
    DEPENDENCY_DOWN = "dependency_down"
    DELIVERY_EXHAUSTED = "delivery_exhausted"
    INTERNAL_ERROR = "internal_error"


_STATUS_AND_TITLE: Final[dict[Code, tuple[int, str]]] = {
    Code.INVALID_JSON: (400, "The body is not valid JSON"),
    Code.TOO_LARGE: (413, "The body is too large"),
    Code.INVALID_INPUT: (422, "The input does not match the capability's schema"),
    Code.NOT_FOUND: (404, "There is nothing at this address"),
    Code.METHOD_NOT_ALLOWED: (405, "This address does not take this method"),
    Code.CAPABILITY_NOT_FOUND: (404, "The agent has no such capability"),
    Code.UNAUTHORIZED: (401, "The call is not signed in"),
    Code.RATE_LIMITED: (429, "Too many calls"),
    Code.BUSY: (503, "The agent is busy"),
    Code.TIMEOUT: (504, "The capability took too long"),
    Code.NO_MODEL_CONNECTED: (424, "No model is connected"),
    Code.UPSTREAM_FAILED: (502, "A service that the capability needs failed"),
    Code.INVALID_OUTPUT: (502, "The output does not match the capability's schema"),
    Code.DEPENDENCY_DOWN: (503, "Something the agent needs cannot be reached"),
    Code.DELIVERY_EXHAUSTED: (500, "The command was given up"),
    Code.INTERNAL_ERROR: (500, "The capability failed"),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field; ``attr`` is its path with dots, empty for the whole."""

    attr: str
    code: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the three texts as a JSON object."""
        return {"attr": self.attr, "code": self.code, "detail": self.detail}


@dataclass(slots=True)
class Problem(Exception):
    """A call that did not succeed, told so that the caller knows what to do next.

    ``detail`` is shown to the caller; ``retry_after`` is whole seconds.
    """

    code: Code
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after: int | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _STATUS_AND_TITLE[self.code][0]

    @property
    def title(self) -> str:
        """The short sentence that goes with the code."""
        return _STATUS_AND_TITLE[self.code][1]

    def to_json(self, request_id: str) -> dict[str, Any]:
        """Return the problem document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": str(self.code),
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.errors:
            document["errors"] = [error.to_json() for error in self.errors]
        return document


class StartError(Exception):
    """The agent cannot start; the message is one sentence that says what to change."""
