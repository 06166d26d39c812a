"""Scenarios come from the template, from examples, and from schemas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ledger.errors import InvalidInput
from registry.spec import AgentSpec
from sandbox.checks import MAX_SCENARIOS, MAX_SETUP_CALLS, capability_of, check_scenarios
from sandbox.scenarios import ScenarioInput, SetupCall, scenarios_for
from sandbox.synthesis import synthesise
from templates_lib.definition import TemplateDefinition, parse_definition
from tests.builders import make_spec

OBJECT = {"type": "object"}


def capability(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "input_schema": OBJECT,
        "output_schema": OBJECT,
        "implementation": {"kind": "prompt", "instructions": "Answer."},
    } | fields


def spec_with(*capabilities: dict[str, Any]) -> AgentSpec:
    return make_spec(capabilities=list(capabilities))


def definition_with(scenarios: list[dict[str, Any]]) -> TemplateDefinition:
    needs_text = {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    }
    return parse_definition(
        {
            "slug": "sample",
            "name": "Sample",
            "description": "A sample.",
            "summary": "A sample.",
            "use_case": "Testing",
            "category": "custom",
            "complexity": "low",
            "icon": "science",
            "estimated_time": "1 minute",
            "version": "1.0.0",
            "tier_recommendation": 1,
            "defaults": {
                "capabilities": [
                    capability("store_note", label="store", input_schema=needs_text),
                    capability("count_notes", label="count"),
                ]
            },
            "scenarios": scenarios,
        }
    )


SCENARIO = {
    "name": "Count Notes",
    "capability": "count_notes",
    "setup": [{"capability": "store_note", "input": {"text": "hello"}}],
    "input": {},
    "expected_output": {"count": 1},
}


def test_a_name_speaks_of_its_capability() -> None:
    assert capability_of("Store Context") == "store_context"
    assert capability_of("  Analyse -- sentiment! ") == "analyse_sentiment"
    assert capability_of("???") == ""


def test_template_scenarios_come_first_and_cover_their_capability() -> None:
    definition = definition_with([SCENARIO])
    spec = AgentSpec.model_validate(
        definition.sample_spec().to_json_dict() | {"agent_id": "WowSample"}
    )
    found = scenarios_for(spec, definition)
    assert [(item.name, item.capability) for item in found] == [
        ("Count Notes", "count_notes"),
        ("Store Note", "store_note"),
    ]
    assert found[0].setup == (SetupCall(capability="store_note", input={"text": "hello"}),)
    assert found[0].expected_output == {"count": 1}


def test_a_template_scenario_goes_with_its_capability_or_its_setup() -> None:
    definition = definition_with([SCENARIO])
    without_setup = spec_with(capability("count_notes"))
    found = scenarios_for(without_setup, definition)
    assert [(item.name, item.setup, item.expected_output) for item in found] == [
        ("Count Notes", (), None)
    ]


def test_a_template_scenario_goes_when_the_input_no_longer_fits() -> None:
    definition = definition_with([SCENARIO])
    strict = {"type": "object", "properties": {"note": {}}, "required": ["note"]}
    spec = spec_with(capability("store_note", input_schema=strict), capability("count_notes"))
    assert [item.setup for item in scenarios_for(spec, definition)] == [(), ()]


def test_examples_become_scenarios_with_their_output() -> None:
    examples = [{"input": {"n": n}, "output": {"m": n}} for n in range(5)]
    found = scenarios_for(spec_with(capability("echo_it", examples=examples)))
    assert [(item.name, item.input, item.expected_output) for item in found] == [
        ("Echo It", {"n": 0}, {"m": 0}),
        ("Echo It 2", {"n": 1}, {"m": 1}),
        ("Echo It 3", {"n": 2}, {"m": 2}),
    ]


def test_what_the_runtime_makes_up_itself_only_has_to_be_there() -> None:
    spec = spec_with(
        capability(
            "describe_me",
            examples=[{"input": {}, "output": {"agent_id": "x"}}],
            implementation={"kind": "builtin", "operation": "agent.describe"},
        )
    )
    assert scenarios_for(spec)[0].expected_output == {"agent_id": {"$any": True}}


def test_two_capabilities_never_share_a_scenario_name() -> None:
    examples = [{"input": {"n": n}, "output": {}} for n in range(2)]
    spec = spec_with(capability("echo_2"), capability("echo", examples=examples))
    names = [item.name for item in scenarios_for(spec)]
    assert names == ["Echo 2", "Echo"]


def test_a_schema_too_peculiar_gives_no_scenario() -> None:
    strange = {
        "type": "object",
        "properties": {"code": {"type": "string", "pattern": "^Q{7}-[%&]{9}$"}},
        "required": ["code"],
    }
    assert scenarios_for(spec_with(capability("strange_one", input_schema=strange))) == []


PROPERTIES: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "string", "minLength": 20, "maxLength": 30},
    {"type": "string", "maxLength": 2},
    {"type": "string", "pattern": "^[a-z]+-[0-9]+$"},
    {"type": "string", "format": "email"},
    {"type": "string", "format": "date-time"},
    {"type": "integer"},
    {"type": "integer", "minimum": 5, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 5},
    {"type": "integer", "exclusiveMaximum": -5},
    {"type": "integer", "multipleOf": 7, "minimum": 30},
    {"type": "number", "minimum": 0.1, "maximum": 0.2},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "maximum": -3},
    {"type": "number", "multipleOf": 0.5, "maximum": -3},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["null", "integer"]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "uniqueItems": True},
    {"type": "array", "maxItems": 0},
    {"type": "array", "uniqueItems": True, "minItems": 3},
    {"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}], "minItems": 2},
    {"enum": ["x", "y"]},
    {"const": {"deep": [1]}},
    {"default": "d", "type": "string"},
    {"examples": ["e"], "type": "string"},
    {"$ref": "#/$defs/part"},
    {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"const": 1}}}]},
    {"oneOf": [{"type": "string", "maxLength": 1, "minLength": 2}, {"type": "integer"}]},
    {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
    {"type": "object", "minProperties": 2},
    {"properties": {"inner": {"type": "integer"}}, "required": ["inner"]},
    {"items": {"type": "string"}, "minItems": 1},
    {"minimum": 4},
    {},
]


@pytest.mark.parametrize("part", PROPERTIES, ids=str)
def test_made_inputs_keep_to_their_schema(part: dict[str, Any]) -> None:
    schema = {
        "type": "object",
        "properties": {"field": part},
        "required": ["field"],
        "$defs": {"part": {"type": "object", "properties": {"id": {"type": "string"}}}},
    }
    made = synthesise(schema)
    assert made is not None
    assert "field" in made
    Draft202012Validator(schema).validate(made)


@given(st.lists(st.sampled_from(PROPERTIES), min_size=1, max_size=6))
def test_made_inputs_keep_to_their_schema_together(parts: list[dict[str, Any]]) -> None:
    names = [f"f{number}" for number in range(len(parts))]
    schema = {
        "type": "object",
        "properties": dict(zip(names, parts, strict=True)),
        "required": names,
        "additionalProperties": False,
        "$defs": {"part": {"type": "object", "properties": {"id": {"type": "string"}}}},
    }
    made = synthesise(schema)
    assert made is not None
    Draft202012Validator(schema).validate(made)


def test_nothing_is_made_of_what_can_not_be() -> None:
    assert synthesise({"type": "object", "properties": {"a": False}, "required": ["a"]}) is None
    endless = {"$defs": {"x": {"$ref": "#/$defs/x"}}}
    assert (
        synthesise(
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/x", "type": "string", "minLength": 99999}},
                "required": ["a"],
                **endless,
            }
        )
        is None
    )


def problems_of(*scenarios: ScenarioInput) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        check_scenarios(spec_with(capability("echo_it")), scenarios)
    return [(item.attr, item.code) for item in caught.value.problems]


def scenario(**fields: Any) -> ScenarioInput:
    return ScenarioInput(**({"name": "Echo It", "input": {}} | fields))


def test_a_scenario_finds_its_capability_by_its_name() -> None:
    checked = check_scenarios(spec_with(capability("echo_it")), [scenario(name=" Echo It ")])
    assert [(item.name, item.capability) for item in checked] == [("Echo It", "echo_it")]


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": ""}, ("test_scenarios.0.name", "required")),
        ({"name": "x" * 101, "capability": "echo_it"}, ("test_scenarios.0.name", "max_length")),
        ({"name": "a\nb", "capability": "echo_it"}, ("test_scenarios.0.name", "invalid")),
        ({"capability": "other"}, ("test_scenarios.0.capability", "unknown_capability")),
        ({"name": "Other"}, ("test_scenarios.0.capability", "unknown_capability")),
        ({"input": ["x"]}, ("test_scenarios.0.input", "invalid")),
        ({"input": {"a": "\x00"}}, ("test_scenarios.0.input", "invalid")),
        ({"input": {"a": ["\ud800"]}}, ("test_scenarios.0.input", "invalid")),
        ({"input": deep(40)}, ("test_scenarios.0.input", "invalid")),
        ({"expected_output": "x"}, ("test_scenarios.0.expected_output", "invalid")),
        ({"expected_output": {"$no": 1}}, ("test_scenarios.0.expected_output", "invalid")),
        (
            {"setup": (SetupCall(capability="other", input={}),)},
            ("test_scenarios.0.setup.0.capability", "unknown_capability"),
        ),
        (
            {"setup": (SetupCall(capability="echo_it", input={"a": "\x00"}),)},
            ("test_scenarios.0.setup.0.input", "invalid"),
        ),
        (
            {"setup": (SetupCall(capability="echo_it", input={}),) * (MAX_SETUP_CALLS + 1)},
            ("test_scenarios.0.setup", "max_length"),
        ),
    ],
)
def test_a_bad_scenario_is_named(fields: dict[str, Any], problem: tuple[str, str]) -> None:
    assert problem in problems_of(scenario(**fields))


def test_every_bad_scenario_is_named() -> None:
    found = problems_of(scenario(), scenario(name="B", capability="b"), scenario())
    assert found == [
        ("test_scenarios.1.capability", "unknown_capability"),
        ("test_scenarios.2.name", "unique"),
    ]


def test_there_have_to_be_some_and_not_too_many() -> None:
    assert problems_of() == [("test_scenarios", "required")]
    many = [scenario(name=f"n{number}", capability="echo_it") for number in range(MAX_SCENARIOS)]
    assert len(check_scenarios(spec_with(capability("echo_it")), many)) == MAX_SCENARIOS
    assert problems_of(*many, scenario()) == [("test_scenarios", "max_length")]
