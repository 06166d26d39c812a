"""What a scenario has to be before it may run. Problems name the scenario and its field."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ledger.errors import FieldProblem, InvalidInput
from registry.json_bounds import check_json_bounds
from registry.spec import AgentSpec
from sandbox.compare import check_expectation
from sandbox.scenarios import ScenarioInput

MAX_SCENARIOS: Final = 50
MAX_SETUP_CALLS: Final = 10
MAX_NAME: Final = 100
FIELD: Final = "test_scenarios"

_NOT_PRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")


def capability_of(name: str) -> str:
    """Return the capability that a scenario's name speaks of ("Store Context" → store_context)."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def check_scenarios(spec: AgentSpec, scenarios: Sequence[ScenarioInput]) -> list[ScenarioInput]:
    """Return the scenarios with their capabilities filled in.

    Raises:
        InvalidInput: none, too many, or some that can't be run against ``spec``.

    """
    if not scenarios:
        raise InvalidInput.of_field(FIELD, "required", "Give at least one test scenario.")
    if len(scenarios) > MAX_SCENARIOS:
        raise InvalidInput.of_field(
            FIELD, "max_length", f"Run at most {MAX_SCENARIOS} scenarios at a time."
        )
    problems: list[FieldProblem] = []
    checked: list[ScenarioInput] = []
    seen: set[str] = set()
    for index, scenario in enumerate(scenarios):
        at = f"{FIELD}.{index}"
        name = scenario.name.strip()
        capability = scenario.capability or capability_of(name)
        problems += _check_name(at, name, seen)
        problems += _check_capability(f"{at}.capability", spec, capability)
        problems += _check_json(f"{at}.input", scenario.input)
        problems += _check_expected(f"{at}.expected_output", scenario.expected_output)
        problems += _check_setup(at, spec, scenario)
        seen.add(name)
        checked.append(replace(scenario, name=name, capability=capability))
    if problems:
        detail = problems[0].detail if len(problems) == 1 else "Some test scenarios can't be run."
        raise InvalidInput("invalid_input", detail, problems=tuple(problems))
    return checked


def _check_name(at: str, name: str, seen: set[str]) -> list[FieldProblem]:
    attr = f"{at}.name"
    if not name:
        return [FieldProblem(attr, "required", "Give the scenario a name.")]
    if len(name) > MAX_NAME:
        return [FieldProblem(attr, "max_length", f"Keep the name to {MAX_NAME} characters.")]
    if _NOT_PRINTABLE.search(name):
        return [FieldProblem(attr, "invalid", "Write the name on one line.")]
    if name in seen:
        # The deploy gate goes by names: two of the same would hide one of them.
        return [FieldProblem(attr, "unique", f"Two scenarios are called {name!r}. Rename one.")]
    return []


def _check_capability(attr: str, spec: AgentSpec, capability: str) -> list[FieldProblem]:
    if spec.capability(capability) is not None:
        return []
    known = ", ".join(item.name for item in spec.capabilities[:20])
    return [
        FieldProblem(
            attr,
            "unknown_capability",
            f"The agent has no capability {capability[:64]!r}. Name one of: {known}.",
        )
    ]


def _check_json(attr: str, value: object) -> list[FieldProblem]:
    if not isinstance(value, Mapping):
        return [FieldProblem(attr, "invalid", 'Give a JSON object, as in {"text": "hello"}.')]
    try:
        check_json_bounds(value)
    except ValueError as error:
        return [FieldProblem(attr, "invalid", str(error))]
    return []


def _check_expected(attr: str, value: Mapping[str, Any] | None) -> list[FieldProblem]:
    if value is None:
        return []
    if problems := _check_json(attr, value):
        return problems
    try:
        check_expectation(value)
    except ValueError as error:
        return [FieldProblem(attr, "invalid", str(error))]
    return []


def _check_setup(at: str, spec: AgentSpec, scenario: ScenarioInput) -> list[FieldProblem]:
    if len(scenario.setup) > MAX_SETUP_CALLS:
        return [
            FieldProblem(
                f"{at}.setup", "max_length", f"Make at most {MAX_SETUP_CALLS} calls beforehand."
            )
        ]
    problems: list[FieldProblem] = []
    for index, call in enumerate(scenario.setup):
        problems += _check_capability(f"{at}.setup.{index}.capability", spec, call.capability)
        problems += _check_json(f"{at}.setup.{index}.input", call.input)
    return problems
