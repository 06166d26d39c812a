"""An agent's problem answer (RFC 9457) as one of the platform's errors, code and fields kept."""

from http import HTTPStatus
from typing import Any, Final

from gateway.errors import AgentBusy, AgentTimedOut, ModelNotConnected
from ledger.errors import (
    Conflict,
    DomainError,
    FieldProblem,
    InvalidInput,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from provisioning.agent_client import AgentAnswer

_MAX_CODE: Final = 64
_MAX_TEXT: Final = 1000
_MAX_PROBLEMS: Final = 50

_KINDS: Final[dict[int, type[DomainError]]] = {
    HTTPStatus.BAD_REQUEST: InvalidInput,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidInput,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidInput,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.FAILED_DEPENDENCY: ModelNotConnected,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
    HTTPStatus.GATEWAY_TIMEOUT: AgentTimedOut,
}


def domain_error_of(answer: AgentAnswer) -> DomainError:
    """Return the error that stands for an answer that is not ``ok``."""
    code = _text(answer.body.get("code"), _MAX_CODE) or "agent_failed"
    detail = _text(answer.body.get("detail"), _MAX_TEXT) or (
        f"The agent answered {answer.status}. Look at its log."
    )
    if answer.status == HTTPStatus.UNAUTHORIZED:
        # The platform's own sign-in was refused: nothing that the caller could mend.
        return UpstreamFailed(
            "agent_refused", "The agent does not know the platform. Deploy it again."
        )
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        retry_after = answer.retry_after if (answer.retry_after or "").isdigit() else None
        return AgentBusy(code, detail, retry_after=retry_after)
    kind = _KINDS.get(answer.status, UpstreamFailed)
    return kind(code, detail, problems=_problems(answer.body.get("errors")))


def _problems(errors: Any) -> tuple[FieldProblem, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(
        FieldProblem(
            _text(item.get("attr"), 200),
            _text(item.get("code"), _MAX_CODE) or "invalid",
            _text(item.get("detail"), _MAX_TEXT),
        )
        for item in errors[:_MAX_PROBLEMS]
        if isinstance(item, dict)
    )


def _text(value: Any, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""
