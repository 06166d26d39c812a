"""JSON Schemas as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from registry.schemas import SchemaValidator, check_json_schema, expand_schema
from registry.spec import canonical_json


def test_the_order_of_the_short_forms_fields_means_nothing() -> None:
    one = expand_schema({"text": "string", "customer_id": "string"})
    other = expand_schema({"customer_id": "string", "text": "string"})

    assert canonical_json(one) == canonical_json(other)


def test_the_short_form_becomes_a_schema_of_required_fields() -> None:
    short = {"sentiment": "positive|neutral|negative", "confidence": "float"}

    assert expand_schema(short) == {
        "type": "object",
        "properties": {
            "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
            "confidence": {"type": "number"},
        },
        "required": ["confidence", "sentiment"],
        "additionalProperties": False,
    }


def test_optional_fields_and_lists() -> None:
    expanded = expand_schema({"tags": "string[]", "limit": "int?", "kind": "a|b?"})

    assert expanded["required"] == ["tags"]
    assert expanded["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert expanded["properties"]["kind"] == {"type": "string", "enum": ["a", "b"]}


@pytest.mark.parametrize("short", [{"a": "strng"}, {"a": "x||y"}, {"a": "x|x"}, {"a": ""}])
def test_a_short_form_that_says_nothing_known_is_refused(short: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a: "):
        expand_schema(short)


@pytest.mark.parametrize(
    "value",
    [{"type": "object"}, {"type": "object", "title": "x"}, {}, 5, "string", None, {"a": 1}],
)
def test_anything_else_is_left_as_it_is(value: Any) -> None:
    assert expand_schema(value) is value


@pytest.mark.parametrize(
    ("short", "kind"),
    [({"type": "string", "text": "string"}, "string"), ({"items": "int"}, "integer")],
)
def test_a_field_may_be_called_like_a_keyword(short: dict[str, str], kind: str) -> None:
    expanded = expand_schema(short)
    assert expanded["properties"][next(iter(short))] == {"type": kind}


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"type": "object", "properties": 5}, "not a valid JSON Schema: at properties"),
        ({"type": "strange"}, "not a valid JSON Schema"),
        ({"type": "string"}, "Describe an object"),
        ({}, "Describe an object"),
        ({"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}, r"\$ref"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, r"\$ref"),
        ({"type": "object", "allOf": [{"$dynamicRef": "#x"}]}, r"\$dynamicRef"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "a" * 201}}},
            "pattern",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
            "not a valid JSON Schema|pattern",
        ),
    ],
)
def test_what_is_no_schema_of_an_object_is_refused(schema: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_json_schema(schema)


def test_a_reference_that_stays_inside_is_accepted() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"type": "string", "pattern": "^a+$"}},
    }
    assert check_json_schema(schema) is schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"$ref": "#/$defs/a"}},
        },
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
        },
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match=r"\$ref"):
        check_json_schema(schema)


def test_a_schema_of_a_tree_is_accepted_for_each_step_goes_deeper() -> None:
    schema = {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            }
        },
    }
    check_json_schema(schema)
    assert SchemaValidator(schema).is_valid({"root": {"children": [{"children": []}]}})
    assert not SchemaValidator(schema).is_valid({"root": {"children": [5]}})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": r"(a)\1"},
        {"type": "string", "pattern": "(a{1000}){1000}"},
        {"type": "object", "patternProperties": {"(a+)+$": {}}},
        {"type": "object", "$id": "https://example.com/x"},
        {"type": "object", "$anchor": "x"},
        {"allOf": [{"$ref": "#/$defs/missing"}]},
    ],
)
def test_what_could_take_for_ever_or_leave_the_schema_is_refused(part: Any) -> None:
    with pytest.raises(ValueError, match=r"pattern|Leave out|\$ref"):
        check_json_schema({"type": "object", "properties": {"a": part}})


def test_a_hostile_pattern_is_matched_in_no_time() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}},
        "patternProperties": {"^b": {"type": "integer"}},
    }
    validator = SchemaValidator(check_json_schema(schema))

    # Exponential engines would not come back from this in a lifetime.
    assert not validator.is_valid({"a": "a" * 5000 + "!"})
    assert validator.is_valid({"a": "a" * 5000, "b1": 1})
    [error] = validator.iter_errors({"a": "no"})
    assert error.message == "'no' does not match '^(a+)+$'"


def test_properties_may_be_called_like_keywords() -> None:
    names = ("$ref", "$id", "pattern", "patternProperties", "$defs", "allOf")
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    check_json_schema(schema)
    assert SchemaValidator(schema).is_valid(dict.fromkeys(names, "x"))
