"""Errors as ``application/problem+json`` (RFC 9457), the one shape for programs."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from ledger.errors import DomainError, FieldProblem

PROBLEM_TYPE: Final = "application/problem+json"


def problem(
    status: int, code: str, detail: str, fields: Iterable[FieldProblem] = ()
) -> dict[str, Any]:
    """Return the body of a problem answer; ``errors`` only where fields are named."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    errors = [{"attr": item.attr, "code": item.code, "detail": item.detail} for item in fields]
    if errors:
        body["errors"] = errors
    return body


def problem_of(error: DomainError) -> dict[str, Any]:
    """Return the body that tells ``error``."""
    return problem(error.status, error.code, error.message, error.problems)
