"""What validation finds, and the report that it makes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ledger.errors import FieldProblem, InvalidInput
from registry.spec import AgentSpec


class RuleTier(StrEnum):
    """Which of the three groups of rules found it."""

    STRUCTURE = "structure"
    """Is it well formed?"""
    POLICY = "policy"
    """Is it allowed here?"""
    PLATFORM = "platform"
    """Can this installation do it now?"""


class Severity(StrEnum):
    """What a finding means for going on."""

    ERROR = "error"
    """It can't be created like this."""
    WARNING = "warning"
    """It can, but somebody should look."""
    SUGGESTION = "suggestion"
    """It would be better so."""


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found."""

    tier: RuleTier
    rule: str
    severity: Severity
    field: str
    """Dotted path in the request; empty when it is about the whole."""
    message: str

    def to_json_dict(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {key: str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Report:
    """All findings, errors first, and the specification if there is one."""

    findings: tuple[Finding, ...]
    spec: AgentSpec | None

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against creating the agent."""
        return self.spec is not None and not self.errors

    @property
    def errors(self) -> list[str]:
        """The messages that have to be dealt with."""
        return self._messages(Severity.ERROR)

    @property
    def warnings(self) -> list[str]:
        """The messages that somebody should read."""
        return self._messages(Severity.WARNING)

    @property
    def suggestions(self) -> list[str]:
        """The messages that would make it better."""
        return self._messages(Severity.SUGGESTION)

    def _messages(self, severity: Severity) -> list[str]:
        return [finding.message for finding in self.findings if finding.severity == severity]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the report as the API answers it."""
        return {
            "valid": self.valid,
            "errors": self.errors,
            "warnings": self.warnings,
            "suggestions": self.suggestions,
            "findings": [finding.to_json_dict() for finding in self.findings],
        }

    def as_error(self) -> InvalidInput:
        """Return the report's errors as the error that a refused request answers."""
        problems = tuple(
            FieldProblem(finding.field, finding.rule, finding.message)
            for finding in self.findings
            if finding.severity == Severity.ERROR
        )
        message = (
            problems[0].detail
            if len(problems) == 1
            else "Some fields need attention. Each one says what to do."
        )
        return InvalidInput("invalid_input", message, problems=problems)


def error(tier: RuleTier, rule: str, field: str, message: str) -> Finding:
    """Return a finding that forbids creating the agent."""
    return Finding(tier, rule, Severity.ERROR, field, message)


def warning(tier: RuleTier, rule: str, field: str, message: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(tier, rule, Severity.WARNING, field, message)


def suggestion(tier: RuleTier, rule: str, field: str, message: str) -> Finding:
    """Return a finding that would make the agent better."""
    return Finding(tier, rule, Severity.SUGGESTION, field, message)


_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.SUGGESTION: 2}


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings by severity, each group in the order in which they were found."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))
