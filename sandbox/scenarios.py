"""Scenarios: what a test asks an agent and what it expects.

They come from the operator, from the agent's template, or are made from the capabilities' examples
and schemas.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from registry.schemas import SchemaValidator
from registry.spec import AgentSpec, BuiltinImplementation, Capability
from sandbox.compare import ANY
from sandbox.synthesis import allows, synthesise
from templates_lib.definition import Scenario, TemplateDefinition

MAX_EXAMPLES: Final = 3
"""Scenarios made from the examples of one capability."""


@dataclass(frozen=True, kw_only=True)
class SetupCall:
    """A call made before the one that is judged; it has to succeed."""

    capability: str
    input: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScenarioInput:
    """One scenario as it is asked for.

    Without a ``capability`` it is taken from the name ("Store Context" → ``store_context``).
    ``expected_output`` is what the output has to contain (see ``sandbox.compare``); ``None``
    expects any output that keeps to the capability's schema.
    """

    name: str
    input: Mapping[str, Any]
    capability: str = ""
    expected_output: Mapping[str, Any] | None = None
    setup: tuple[SetupCall, ...] = field(default=())


def scenarios_for(
    spec: AgentSpec, definition: TemplateDefinition | None = None
) -> list[ScenarioInput]:
    """Return the scenarios to offer for an agent, at least one for each of its capabilities.

    First those of its template that still fit it, then, for capabilities without one, scenarios
    made from their examples, else from their input schemas. A capability whose schema is too
    peculiar to make an input for gets none.
    """
    made = list(_of_template(spec, definition.scenarios if definition else ()))
    covered = {scenario.capability for scenario in made}
    names = {scenario.name for scenario in made}
    for capability in spec.capabilities:
        if capability.name not in covered:
            for scenario in _generated(capability):
                if scenario.name not in names:
                    names.add(scenario.name)
                    made.append(scenario)
    return made


def _of_template(spec: AgentSpec, scenarios: Iterable[Scenario]) -> Iterator[ScenarioInput]:
    for scenario in scenarios:
        calls = [(call.capability, call.input) for call in scenario.setup]
        calls.append((scenario.capability, scenario.input))
        # The operator may have removed a capability or changed what it takes.
        if all(_accepts(spec.capability(name), payload) for name, payload in calls):
            yield ScenarioInput(
                name=scenario.name,
                capability=scenario.capability,
                input=scenario.input,
                expected_output=scenario.expected_output,
                setup=tuple(
                    SetupCall(capability=call.capability, input=call.input)
                    for call in scenario.setup
                ),
            )


def _accepts(capability: Capability | None, payload: Mapping[str, Any]) -> bool:
    if capability is None:
        return False
    return allows(SchemaValidator(capability.input_schema), payload)


def _generated(capability: Capability) -> Iterator[ScenarioInput]:
    title = _title(capability.name)
    if not capability.examples:
        made = synthesise(capability.input_schema)
        if made is not None:
            yield ScenarioInput(name=title, capability=capability.name, input=made)
        return
    for number, example in enumerate(capability.examples[:MAX_EXAMPLES], start=1):
        yield ScenarioInput(
            name=title if number == 1 else f"{title} {number}",
            capability=capability.name,
            input=example.input,
            expected_output=_expected(capability, example.output),
        )


def _expected(capability: Capability, output: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(capability.implementation, BuiltinImplementation):
        return output
    # The runtime's own operations make ids and times: their fields have to be there.
    return {key: {ANY: True} for key in output}


def _title(name: str) -> str:
    return name.replace("_", " ").title()
