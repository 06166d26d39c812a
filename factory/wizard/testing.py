"""Step 5: what is tested, how it stands, and its buttons."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import messages
from django.utils.datastructures import MultiValueDict

from accounts.callers import Caller
from factory.wizard.compose import Composition
from factory.wizard.fields import format_json
from factory.wizard.forms.base import StepContext, StepForm
from factory.wizard.forms.testing import TestForm
from factory.wizard.storage import WizardRequest
from ledger.errors import InvalidInput
from registry.spec import BuiltinImplementation, Capability, PromptImplementation
from sandbox.enums import ACTIVE, Verdict
from sandbox.models import SandboxTest, ScenarioResult
from sandbox.scenarios import scenarios_for
from sandbox.services import ScenarioInput, cancel_test, gate, start_test, waive
from sandbox.synthesis import synthesise

_NEWEST_TESTS: Final = 20


@dataclass(frozen=True)
class ScenarioRow:
    """A scenario with what came of it last, if it was run."""

    scenario: ScenarioInput
    result: ScenarioResult | None
    is_own: bool
    position: int
    mocked: str
    """Who answers in the sandbox instead of a model or a service; empty for the real thing."""

    @property
    def failed(self) -> bool:
        """Whether the last run ended without passing."""
        return self.result is not None and self.result.status in (Verdict.FAILED, Verdict.ERROR)


def offered(
    composition: Composition, form: StepForm, context: StepContext
) -> list[tuple[ScenarioInput, bool]]:
    """Return the scenarios to run, each with whether it is the operator's own."""
    if composition.spec is None:
        return []
    found = [(scenario, False) for scenario in scenarios_for(composition.spec, context.definition)]
    assert isinstance(form, TestForm)  # noqa: S101 - told to the type checker
    names = {scenario.name for scenario, _ in found}
    for row in form.scenarios.forms if form.is_bound else ():
        # A row of a page that was left unfinished lacks what could not be read.
        data = row.cleaned_data if row.is_valid() else {}
        if "input" in data and data.get("name", "") not in ("", *names):
            names.add(data["name"])
            own = ScenarioInput(
                name=data["name"],
                capability=data["capability"],
                input=data["input"],
                expected_output=data.get("expected_output"),
            )
            found.append((own, True))
    return found


def scenario_names(
    composition: Composition, form: StepForm, context: StepContext
) -> tuple[str, ...]:
    """Return the names that the deploy gate goes by: of the scenarios that there are now."""
    return tuple(scenario.name for scenario, _ in offered(composition, form, context))


def mocked_answer(capability: Capability | None) -> str:
    """Return who answers for a model or a service in the sandbox; nothing where neither is asked.

    What the agent's runtime does in its sandbox mode: see ``agent_runtime.examples``.
    """
    if capability is None or isinstance(capability.implementation, BuiltinImplementation):
        return ""
    source = (
        "Answered from the capability's example"
        if capability.examples
        else "Answered with a value made from the output schema"
    )
    is_prompt = isinstance(capability.implementation, PromptImplementation)
    return f"{source}: {'no model was asked' if is_prompt else 'no service was called'}."


def example_input(capability: Capability) -> dict[str, Any]:
    """Return an input to begin with: the first example's, else one made from the schema."""
    if capability.examples:
        return dict(capability.examples[0].input)
    return synthesise(capability.input_schema) or {}


def new_scenario(
    argument: str, composition: Composition, data: MultiValueDict[str, str]
) -> dict[str, str]:
    """Return the fields of a scenario that is added, for the capability named or the first one."""
    if composition.spec is None:
        return {"input": "{}"}
    capability = composition.spec.capability(argument) or composition.spec.capabilities[0]
    taken = {values[0] for key, values in data.lists() if key.endswith("-name") and values}
    number = next(n for n in itertools.count(1) if f"My scenario {n}" not in taken)
    return {
        "name": f"My scenario {number}",
        "capability": capability.name,
        "input": format_json(example_input(capability)),
    }


def test_page(
    caller: Caller, composition: Composition, form: StepForm, context: StepContext
) -> dict[str, Any]:
    """Return the scenarios with their newest results, the running test and the gate's verdict."""
    spec = composition.spec
    if spec is None:
        return {"rows": [], "composition": composition}
    tests = list(
        SandboxTest.objects.of(caller.organization)
        .filter(digest=spec.digest)
        .prefetch_related("results")[:_NEWEST_TESTS]
    )
    newest = _newest_results(tests)
    scenarios = offered(composition, form, context)
    names = [scenario.name for scenario, _ in scenarios]
    running = next((test for test in tests if test.status in ACTIVE), None)
    return {
        "spec": spec,
        "rows": [
            ScenarioRow(
                scenario,
                newest.get(scenario.name),
                is_own,
                position,
                mocked_answer(spec.capability(scenario.capability)),
            )
            for position, (scenario, is_own) in enumerate(scenarios)
        ],
        "running": running,
        "latest": tests[0] if tests else None,
        "gate": gate(organization=caller.organization, digest=spec.digest, names=names),
        "mocked": sum(
            bool(mocked_answer(spec.capability(item.capability))) for item, _ in scenarios
        ),
        "example_inputs": [
            (item.name, format_json(example_input(item))) for item in spec.capabilities
        ],
    }


# pytest collects what is called test_*; this is a page.
test_page.__test__ = False  # type: ignore[attr-defined]  # a function takes attributes


def _newest_results(tests: Sequence[SandboxTest]) -> dict[str, ScenarioResult]:
    """Return scenario name → newest result; one that waits does not hide an older verdict."""
    found: dict[str, ScenarioResult] = {}
    for test in tests:
        for result in test.results.all():
            if result.status == Verdict.SKIPPED:
                continue
            found.setdefault(result.name, result)
    return found


def press(
    verb: str,
    argument: str,
    request: WizardRequest,
    *,
    composition: Composition,
    form: StepForm,
    context: StepContext,
) -> str | None:
    """Do what a button of the step says; return where to look next, ``None`` if none of these.

    Raises:
        DomainError: the test can't be started, or the reason for skipping it is missing.

    """
    if verb == "keep":
        return _keep(argument, request, composition, form, context)
    if verb not in ("run", "run-all", "stop", "skip"):
        return None
    if composition.spec is None:
        raise composition.error or InvalidInput(
            "draft_incomplete", "Finish the steps before this one first."
        )
    caller, spec = context.caller, composition.spec
    if verb == "skip":
        reason = request.POST.get("test-skip_reason", "").strip()
        waive(caller=caller, digest=spec.digest, reason=reason)
        messages.success(request, "The test is skipped. Your reason is on record.")
        return "#verdict"
    if verb == "stop":
        for test in SandboxTest.objects.of(caller.organization).filter(
            digest=spec.digest, status__in=ACTIVE
        ):
            cancel_test(caller=caller, test=test)
        return "#scenarios"
    scenarios = [scenario for scenario, _ in offered(composition, form, context)]
    if verb == "run":
        scenarios = [scenario for scenario in scenarios if scenario.name == argument]
    if not scenarios:
        raise InvalidInput("no_scenarios", "There is no such scenario. Add one first.")
    start_test(caller=caller, spec=spec, scenarios=scenarios)
    return "#scenarios"


def _keep(
    argument: str,
    request: WizardRequest,
    composition: Composition,
    form: StepForm,
    context: StepContext,
) -> str:
    """Say of the scenario whose button was pressed that it is kept, and what it waits for."""
    assert isinstance(form, TestForm)  # noqa: S101 - told to the type checker
    place = int(argument) if argument.isascii() and argument.isdigit() else -1
    if not 0 <= place < len(form.scenarios.forms):
        return "#scenarios"
    row = form.scenarios.forms[place]
    if not row.is_valid():
        return f"?check=1#scenario-{place}"
    name = row.cleaned_data["name"]
    own = (scenario for scenario, is_own in offered(composition, form, context) if is_own)
    found = next((scenario for scenario in own if scenario.name == name), None)
    if found is None or found.input != row.cleaned_data["input"]:
        messages.warning(
            request, f"Another scenario is called “{name}”. Give this one a name of its own."
        )
    else:
        ran = _was_run(context.caller, composition, found)
        waits = "was run like this before" if ran else "not yet run: press Run all above"
        messages.success(request, f"The scenario “{name}” is kept and {waits}.")
    return f"?open=scenario-{place}#scenario-{place}"


def _was_run(caller: Caller, composition: Composition, scenario: ScenarioInput) -> bool:
    if composition.spec is None:
        return False
    tests = SandboxTest.objects.of(caller.organization).filter(digest=composition.spec.digest)
    last = (
        ScenarioResult.objects.filter(test__in=tests, name=scenario.name)
        .exclude(status=Verdict.SKIPPED)
        .order_by("-test__created_at")
        .first()
    )
    return last is not None and (last.capability, last.input, last.expected_output) == (
        scenario.capability,
        scenario.input,
        scenario.expected_output,
    )
