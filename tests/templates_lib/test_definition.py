"""What a template definition may say, and how configuration and specification stay one."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.errors import InvalidInput
from registry.spec import AgentSpec, BuiltinOperation
from templates_lib.definition import TemplateDefinition, parse_definition
from templates_lib.library_loading import LIBRARY
from templates_lib.sources import read_template

MEMORY = read_template(LIBRARY / "memory-agent").definition
BLANK = read_template(LIBRARY / "blank").definition


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the memory agent's definition with one value replaced."""
    document: dict[str, Any] = copy.deepcopy(MEMORY.model_dump(mode="json"))
    current: Any = document
    *parents, last = path.split(".")
    for key in parents:
        current = current[int(key) if key.isdigit() else key]
    current[int(last) if last.isdigit() else last] = value
    return document


def attrs(path: str, value: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse_definition(changed(path, value))
    assert caught.value.code == "invalid_definition"
    assert all(problem.detail and problem.code for problem in caught.value.problems)
    return [problem.attr for problem in caught.value.problems]


@pytest.mark.parametrize("definition", [MEMORY, BLANK], ids=lambda item: item.slug)
def test_a_definition_survives_the_database(definition: TemplateDefinition) -> None:
    assert parse_definition(definition.model_dump(mode="json")) == definition


@pytest.mark.parametrize("definition", [MEMORY, BLANK], ids=lambda item: item.slug)
def test_labels_stay_in_the_library(definition: TemplateDefinition) -> None:
    spec = definition.sample_spec()
    assert isinstance(spec, AgentSpec)
    assert "label" not in spec.canonical_json()
    names = {c.name for c in definition.defaults.capabilities}
    assert {c.to_capability().name for c in definition.defaults.capabilities} == names
    assert [t.to_binding() for t in definition.defaults.tools] == list(spec.tools)
    assert spec.template == definition.reference


def test_the_library_uses_what_the_runtime_has() -> None:
    used = {
        c.implementation.operation
        for c in (*MEMORY.defaults.capabilities, *MEMORY.optional_capabilities)
        if c.implementation.kind == "builtin"
    }
    assert used == set(BuiltinOperation)


@pytest.mark.parametrize(
    ("path", "value", "attr"),
    [
        ("slug", "Memory Agent", "slug"),
        ("slug", "a" * 64, "slug"),
        ("name", "", "name"),
        ("name", "a" * 101, "name"),
        ("name", "a\nb", "name"),
        ("summary", "a" * 121, "summary"),
        ("description", "a" * 301, "description"),
        ("use_case", "a" * 201, "use_case"),
        ("category", "memories", "category"),
        ("complexity", "extreme", "complexity"),
        ("icon", "<svg>", "icon"),
        ("estimated_time", "a" * 21, "estimated_time"),
        ("position", -1, "position"),
        ("position", 10_001, "position"),
        ("version", "1.0", "version"),
        ("version", "01.0.0", "version"),
        ("version", "10000.0.0", "version"),
        ("version", "1.0.0\n", "version"),
        ("changelog", "a" * 5001, "changelog"),
        ("tier_recommendation", 0, "tier_recommendation"),
        ("tier_recommendation", 6, "tier_recommendation"),
        ("best_practices", ["a"] * 21, "best_practices"),
        ("best_practices.0", "", "best_practices.0"),
        ("dependencies.0", "Redis!", "dependencies.0"),
        ("required_capabilities", ["fly"], "required_capabilities.0"),
        ("defaults.capabilities", [], "defaults.capabilities"),
        ("defaults.capabilities.0.label", "", "defaults.capabilities.0.label"),
        ("defaults.capabilities.0.name", "Store", "defaults.capabilities.0.name"),
        ("defaults.tools.0.tool", "Redis DB", "defaults.tools.0.tool"),
        ("defaults.resources.memory_mb", 511, "defaults.resources.memory_mb"),
        ("defaults.resources.memory_mb", 8193, "defaults.resources.memory_mb"),
        ("defaults.config.retention_days", 31, "defaults.config.retention_days"),
        ("defaults.config.other", 1, "defaults.config"),
        ("config_schema", {"type": "array"}, "config_schema"),
        ("scenarios.0.name", "Retrieve Context", "scenarios.1.name"),
        ("scenarios.0.input.text", 5, "scenarios.0.input.text"),
        ("scenarios.1.setup.0.capability", "fly", "scenarios.1.setup.0.capability"),
        ("scenarios.1.setup.0.input", {}, "scenarios.1.setup.0.input"),
        ("examples.0.capability", "fly", "examples.0.capability"),
        ("examples.0.input", {}, "examples.0.input"),
        ("examples.0.output.status", "lost", "examples.0.output.status"),
        (
            "defaults.capabilities.0.examples.0.output.status",
            "lost",
            "defaults.capabilities.0.examples.0.output.status",
        ),
        ("optional_capabilities.0.name", "store_context", "optional_capabilities.0.name"),
        ("optional_capabilities.1.name", "health_check", "optional_capabilities.1.name"),
        ("nothing", 1, "nothing"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, attr: str) -> None:
    assert attr in attrs(path, value)


def test_a_capability_that_is_there_twice_is_no_specification() -> None:
    twice = MEMORY.model_dump(mode="json")["defaults"]["capabilities"]
    found = attrs("defaults.capabilities", [*twice, twice[0]])
    assert found == ["defaults"]


def test_a_long_fault_is_cut_short() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_definition(changed("scenarios.0.input.text", ["x" * 5000]))
    assert all(len(problem.detail) < 400 for problem in caught.value.problems)


@pytest.mark.parametrize("value", [None, [], "text", 5, {}, {"defaults": []}])
def test_other_shapes_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        parse_definition(value)


def test_deep_and_large_documents_are_refused() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(InvalidInput):
        parse_definition({"defaults": deep})
    with pytest.raises(InvalidInput):
        parse_definition({"changelog": "x" * 1_100_000})


@settings(deadline=None)
@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_any_value_anywhere_is_answered(value: Any) -> None:
    for path in ("defaults", "scenarios", "config_schema", "slug", "examples.0", "version"):
        # An error of any other kind would be a fault of ours.
        with suppress(InvalidInput):
            parse_definition(changed(path, value))


def test_a_definition_never_changes() -> None:
    with pytest.raises(ValidationError):
        MEMORY.slug = "other"  # type: ignore[misc]  # what is being tested


# --- Configuration ----------------------------------------------------------------------------


def test_configuration_reaches_the_specification() -> None:
    config, parts = MEMORY.resolve_config(config={"retention_days": 7}, sent={"tier": 3})
    assert config == {"memory_type": "hybrid", "retention_days": 7, "max_context_size": 10000}
    assert parts == {"tier": 3, "memory": {"retention_days": 7}}


def test_the_specification_reaches_configuration() -> None:
    config, parts = MEMORY.resolve_config(config={}, sent={"memory": {"kind": "long_term"}})
    assert config["memory_type"] == "long_term"
    assert parts == {"memory": {"kind": "long_term"}}


def test_the_same_value_in_both_places_is_fine() -> None:
    config, parts = MEMORY.resolve_config(
        config={"memory_type": "hybrid"}, sent={"memory": {"kind": "hybrid"}}
    )
    assert (config["memory_type"], parts["memory"]) == ("hybrid", {"kind": "hybrid"})


def test_nothing_sent_is_the_template() -> None:
    config, parts = MEMORY.resolve_config(config={}, sent={})
    assert (config, parts) == (dict(MEMORY.defaults.config), {})
    config["memory_type"] = "changed"
    assert MEMORY.defaults.config["memory_type"] == "hybrid"
    assert BLANK.resolve_config(config={}, sent={}) == ({}, {})


@pytest.mark.parametrize(
    ("config", "sent", "attr"),
    [
        ({"memory_type": "hybrid"}, {"memory": {"kind": "none"}}, "config.memory_type"),
        ({"memory_type": "elephant"}, {}, "config.memory_type"),
        ({"retention_days": 0}, {}, "config.retention_days"),
        ({"retention_days": 3651}, {}, "config.retention_days"),
        ({"colour": "red"}, {}, "config"),
        ({}, {"memory": {"kind": "none"}}, "memory.kind"),
        ({"max_context_size": 5000}, {"memory": {"retention_days": -1}}, "memory.retention_days"),
    ],
)
def test_configuration_that_does_not_fit_is_named(
    config: dict[str, Any], sent: dict[str, Any], attr: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        MEMORY.resolve_config(config=config, sent=sent)
    assert [problem.attr for problem in caught.value.problems] == [attr]


def test_a_part_of_the_wrong_type_is_left_to_its_own_check() -> None:
    _, parts = MEMORY.resolve_config(config={"retention_days": 7}, sent={"memory": "none"})
    assert parts == {"memory": "none"}
