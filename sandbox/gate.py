"""The deploy gate: a specification may be deployed once its test passed, or was skipped in writing.

It passes when of each scenario that counts the newest result is PASSED, and there is at least one.
Each result is a verdict of its own: how the test as a whole ended does not matter, so that what
passed before a test broke off has passed, and what it did not come to has not. Who knows which
scenarios there are now names them; otherwise every name that was ever asked of this digest counts.
A waiver opens it too; the reason stays on record.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from accounts.callers import Caller
from accounts.models import Organization
from accounts.roles import Action
from ledger import audit
from ledger.errors import Conflict, InvalidInput
from sandbox.enums import ACTIVE, Verdict
from sandbox.models import SandboxTest, ScenarioResult, Waiver

MAX_REASON = 500
_NAMED: Final = 3


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """Whether a specification may be deployed, and why or why not."""

    passed: bool
    """It may: its scenarios passed, or the test was waived."""
    waived: bool
    reason: str
    """The waiver's reason; empty unless waived."""
    detail: str
    """For people: what stands, and what to do if it does not pass."""
    failed: tuple[str, ...] = ()
    """Scenarios whose last run did not pass; empty once it passed."""


def gate(
    *, organization: Organization, digest: str, names: Collection[str] | None = None
) -> GateVerdict:
    """Return the gate's verdict on the specification with this digest.

    ``names`` are the scenarios that exist now: each of them has to have passed, and what else was
    run before does not count. With ``None`` every name that was ever asked of the digest counts.
    """
    results = ScenarioResult.objects.filter(test__organization=organization, test__digest=digest)
    asked = sorted(set(results.values_list("name", flat=True) if names is None else names))
    # What was skipped because its test was cancelled says nothing, for or against.
    newest = dict(
        results.exclude(status=Verdict.SKIPPED)
        .order_by("name", "-test__created_at", "-test_id", "-position")
        .distinct("name")
        .values_list("name", "status")
    )
    bad = [name for name in asked if newest.get(name) != Verdict.PASSED]
    if asked and not bad:
        return GateVerdict(
            passed=True, waived=False, reason="", detail=f"{_count(len(asked))} passed."
        )
    waiver = Waiver.objects.filter(organization=organization, digest=digest).first()
    if waiver is not None:
        return GateVerdict(
            passed=True,
            waived=True,
            reason=waiver.reason,
            detail=f"The test was skipped: {waiver.reason}",
        )
    if SandboxTest.objects.of(organization).filter(digest=digest, status__in=ACTIVE).exists():
        detail = "The test is still running. Wait until it has finished."
    elif names is None:
        detail = _not_passed(bad) if asked else _UNTESTED
    else:
        detail = _what_is_missing(asked, bad, newest)
    failed = tuple(name for name in bad if newest.get(name) in _FAILED)
    return GateVerdict(passed=False, waived=False, reason="", detail=detail, failed=failed)


_UNTESTED: Final = "This configuration has not been tested yet. Run its test scenarios."
_FAILED: Final = frozenset({Verdict.FAILED, Verdict.ERROR})


def _what_is_missing(asked: list[str], bad: list[str], newest: Mapping[str, str]) -> str:
    """Return what to do about the scenarios that exist now."""
    if not asked:
        return "There is no test scenario. Add one and run it."
    never = [name for name in bad if name not in newest]
    if len(never) == len(asked):
        return _UNTESTED
    failed = [name for name in bad if name in newest]
    sentences = [_not_passed(failed)] if failed else []
    if never:
        is_one = len(never) == 1
        sentences.append(
            f"{_listed(never)} {'has' if is_one else 'have'} not been run yet. "
            f"Run {'it' if is_one else 'them'}."
        )
    return " ".join(sentences)


def _not_passed(names: list[str]) -> str:
    mend = "it and run it" if len(names) == 1 else "them and run them"
    return f"The last run of {_listed(names)} did not pass. Mend {mend} again."


def _listed(names: list[str]) -> str:
    first = ", ".join(f"“{name}”" for name in names[:_NAMED])
    return f"{first} and {len(names) - _NAMED} more" if len(names) > _NAMED else first


def require_gate(
    *, organization: Organization, digest: str, names: Collection[str] | None = None
) -> None:
    """Do nothing if the specification may be deployed; ``names`` as for ``gate``.

    Raises:
        Conflict: ``sandbox_test_required``; the message says what is missing.

    """
    verdict = gate(organization=organization, digest=digest, names=names)
    if not verdict.passed:
        raise Conflict(
            "sandbox_test_required",
            f"{verdict.detail} Or skip the test with a written reason, which stays on record.",
        )


def waive(*, caller: Caller, digest: str, reason: str) -> Waiver:
    """Let this specification be deployed untested, for a written reason that stays on record.

    Raises:
        NotAllowed: the caller may not deploy.
        InvalidInput: no reason, or one that is too long.

    """
    caller.require(Action.DEPLOY_AGENTS)
    reason = " ".join(reason.split())
    if not reason.isprintable():
        raise InvalidInput.of_field(
            "skip_test_reason", "invalid", "Remove the control characters from the reason."
        )
    if not reason:
        raise InvalidInput.of_field(
            "skip_test_reason", "required", "Write down why the test is skipped."
        )
    if len(reason) > MAX_REASON:
        raise InvalidInput.of_field(
            "skip_test_reason", "max_length", f"Keep the reason to {MAX_REASON} characters."
        )
    waiver = Waiver.objects.create(
        organization=caller.organization, digest=digest, reason=reason, created_by=caller.user
    )
    audit.record(
        "sandbox.test_skipped",
        waiver,
        actor=caller.user,
        detail={"digest": digest, "reason": reason},
    )
    return waiver


def _count(number: int) -> str:
    return "1 scenario" if number == 1 else f"{number} scenarios"
