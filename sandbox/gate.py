"""The deploy gate: a specification may be deployed once its test passed, or was skipped in writing.

It passes when of each scenario name that was asked of this digest the newest result is PASSED, and
at least one was asked; a test that broke off before its verdict has not passed. A waiver opens it
too; the reason stays on record.
"""

from dataclasses import dataclass

from accounts.callers import Caller
from accounts.models import Organization
from accounts.roles import Action
from ledger import audit
from ledger.errors import Conflict, InvalidInput
from sandbox.enums import ACTIVE, Verdict
from sandbox.models import SandboxTest, ScenarioResult, Waiver

MAX_REASON = 500
_NAMED = 3


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


def gate(*, organization: Organization, digest: str) -> GateVerdict:
    """Return the gate's verdict on the specification with this digest."""
    results = ScenarioResult.objects.filter(test__organization=organization, test__digest=digest)
    asked = sorted(set(results.values_list("name", flat=True)))
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
    elif not asked:
        detail = "This configuration has not been tested yet. Run its test scenarios."
    else:
        names = ", ".join(f"“{name}”" for name in bad[:_NAMED])
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        detail = f"The last run of {names}{more} did not pass. Mend it and run it again."
    return GateVerdict(passed=False, waived=False, reason="", detail=detail)


def require_gate(*, organization: Organization, digest: str) -> None:
    """Do nothing if the specification may be deployed.

    Raises:
        Conflict: ``sandbox_test_required``; the message says what is missing.

    """
    verdict = gate(organization=organization, digest=digest)
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
