"""Errors that a person caused or can mend, raised where the fact is known.

They are mapped once in the API (problem+json), once in the portal (a message beside the field or
at the top of the page) and once in the provisioning engine. The message says what to do next;
causes and secrets belong in the log, never in a message.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field of what was sent."""

    attr: str
    """Dotted path of the field, as in ``capabilities.0.name``."""
    code: str
    detail: str


class DomainError(Exception):
    """A rule of the product was not met."""

    status: ClassVar[int] = 400

    def __init__(self, code: str, message: str, *, problems: tuple[FieldProblem, ...] = ()) -> None:
        """``code`` is for programs, ``message`` for people, ``problems`` name the fields."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.problems = problems


class InvalidInput(DomainError):
    """What was sent can't be used; ``problems`` says which field and why."""

    status = 400

    @classmethod
    def of_field(cls, attr: str, code: str, detail: str) -> "InvalidInput":
        """Return the error for one field."""
        return cls("invalid_input", detail, problems=(FieldProblem(attr, code, detail),))


class NotAllowed(DomainError):
    """The caller's role does not permit this."""

    status = 403


class NotFound(DomainError):
    """There is no such thing for this caller; another organisation's things look the same."""

    status = 404


class Conflict(DomainError):
    """The request is fine, but not in the present state."""

    status = 409


class InvalidTransition(Conflict):
    """The row was not in a status from which the wanted one can be reached."""


class TooManyRequests(DomainError):
    """A quota or a rate is used up."""

    status = 429


class UpstreamFailed(DomainError):
    """Another program (an agent, a model, a tool) failed to answer properly."""

    status = 502


class Unavailable(DomainError):
    """A part that this needs is not there right now; trying again later may work."""

    status = 503
