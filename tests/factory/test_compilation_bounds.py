"""The bounds of what may be sent, and the sentence for what is beyond each."""

from __future__ import annotations

from typing import Any

import pytest

from factory.compilation import compile_with
from ledger.errors import InvalidInput
from templates_lib.definition import TemplateDefinition
from tests.factory.compiling import (
    PROMPT,
    compiled,
    definition,
    problems,
    with_capability,
)


@pytest.fixture(scope="module")
def memory() -> TemplateDefinition:
    return definition()


IN_BOUNDS: list[dict[str, Any]] = [
    {"name": "N"},
    {"name": "N" * 100},
    {"agent_id": "abc"},
    {"agent_id": "a" * 64},
    {"display_name": "D" * 100},
    {"description": ""},
    {"description": "d" * 200},
    {"goal": "g" * 2000},
    {"tier": 1},
    {"tier": 5},
    {"tags": ["t" * 40] * 20},
    {"industry": "i" * 80, "domain": "d" * 80},
    {"languages": ["en", "pt-BR", "zh-Hant-TW"]},
    {"packages": ["httpx", "httpx==0.28.1"]},
    {"resources": {"cpu_cores": 0.5, "memory_mb": 512, "storage_gb": 1}},
    {"resources": {"cpu_cores": 4, "memory_mb": 8192, "storage_gb": 100}},
    {"queues": {"priority": "HIGH", "max_concurrency": 1}},
    {"queues": {"max_concurrency": 50}},
    {"policies": {"rate_limit_per_minute": 1, "retry": {"max_attempts": 10}}},
    {"policies": {"timeouts": {"operation_seconds": 600, "workflow_seconds": 3600}}},
    {"memory": {"kind": "hybrid", "ttl_seconds": 60}},
    {"environment": {"A": "v" * 1000}},
    with_capability(timeout_seconds=0.1),
    with_capability(timeout_seconds=600),
    with_capability(name="ab"),
    with_capability(name="a" * 64),
]
OUT_OF_BOUNDS: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name", "Fill this in."),
    ({"name": "   "}, "name", "Fill this in."),
    ({"name": "N" * 101}, "name", "at most 100 characters"),
    ({"name": "two\nlines"}, "name", "one line"),
    ({"name": "bell\x07"}, "name", "control characters"),
    ({"name": 5}, "name", "Give a text."),
    ({"name": None}, "name", "Give a text."),
    ({"agent_id": "ab"}, "agent_id", "3 to 64"),
    ({"agent_id": "a" * 65}, "agent_id", "3 to 64"),
    ({"agent_id": "1abc"}, "agent_id", "Begin with a letter"),
    ({"agent_id": "a/../b"}, "agent_id", "Begin with a letter"),
    ({"agent_id": "abc\n"}, "agent_id", "Begin with a letter"),
    ({"agent_id": 'a"};{'}, "agent_id", "Begin with a letter"),
    ({"agent_id": ["abc"]}, "agent_id", "Give a text."),
    ({"display_name": "D" * 101}, "display_name", "at most 100"),
    ({"description": "d" * 201}, "description", "at most 200"),
    ({"goal": "g" * 2001}, "goal", "at most 2000"),
    ({"tier": 0}, "tier", "1 or more"),
    ({"tier": 6}, "tier", "5 or less"),
    ({"tier": "3"}, "tier", "whole number"),
    ({"tier": 2.5}, "tier", "whole number"),
    ({"tier": True}, "tier", "whole number"),
    ({"tags": ["t"] * 21}, "tags", "at most 20"),
    ({"tags": ["t" * 41]}, "tags.0", "at most 40"),
    ({"tags": [""]}, "tags.0", "Fill this in."),
    ({"tags": "customer"}, "tags", "Give a list."),
    ({"languages": ["english language"]}, "languages.0", "language code"),
    ({"packages": ["git+https://x"]}, "packages.0", "package name"),
    ({"packages": ["../x"]}, "packages.0", "package name"),
    ({"packages": ["a"] * 21}, "packages", "at most 20"),
    ({"resources": {"cpu_cores": 0.4}}, "resources.cpu_cores", "0.5 or more"),
    ({"resources": {"cpu_cores": 4.1}}, "resources.cpu_cores", "4 or less"),
    ({"resources": {"memory_mb": 511}}, "resources.memory_mb", "512 or more"),
    ({"resources": {"memory_mb": 8193}}, "resources.memory_mb", "8192 or less"),
    ({"resources": {"memory_mb": "4096"}}, "resources.memory_mb", "whole number"),
    ({"resources": {"storage_gb": 0}}, "resources.storage_gb", "1 or more"),
    ({"resources": {"storage_gb": 101}}, "resources.storage_gb", "100 or less"),
    ({"resources": {"gpu": 1}}, "resources.gpu", "no such field"),
    ({"resources": 5}, "resources", "JSON object"),
    ({"memory": []}, "memory", "JSON object"),
    ({"memory": {"kind": "eternal"}}, "memory.kind", "short_term"),
    ({"queues": {"priority": "URGENT"}}, "queues.priority", "Choose one of: HIGH, NORMAL, LOW"),
    ({"queues": {"max_concurrency": 51}}, "queues.max_concurrency", "50 or less"),
    ({"policies": {"network": "host"}}, "policies.network", "Choose one of: internal"),
    ({"policies": {"retry": 3}}, "policies.retry", "JSON object"),
    ({"policies": {"retry": {"max_attempts": 0}}}, "policies.retry.max_attempts", "1 or more"),
    ({"config": 5}, "config", "JSON object"),
    ({"config": {"nothing": 1}}, "config", "nothing"),
    ({"capabilities": "store"}, "capabilities", "Give a list."),
    ({"capabilities": []}, "capabilities", "can't do without store_context"),
    ({"capabilities": ["fly"]}, "capabilities.0", "Choose one of: store_context"),
    ({"capabilities": [5]}, "capabilities.0", "describe it as an object"),
    ({"capabilities": ["store"]}, "capabilities", "can't do without retrieve_context"),
    ({"capabilities": ["store", "retrieve", "store"]}, "capabilities.2.name", "there twice"),
    (with_capability(name="Analyze"), "capabilities.2.name", "small letter"),
    (with_capability(name="a"), "capabilities.2.name", "small letter"),
    (with_capability(name='x"; import os'), "capabilities.2.name", "small letter"),
    (with_capability(name="a" * 65), "capabilities.2.name", "small letter"),
    (with_capability(timeout_seconds=0), "capabilities.2.timeout_seconds", "0.1 or more"),
    (with_capability(timeout_seconds=601), "capabilities.2.timeout_seconds", "600 or less"),
    (with_capability(description=""), "capabilities.2.description", "Describe what"),
    (with_capability(input_schema={"a": "strng"}), "capabilities.2.input_schema", "not a type"),
    (with_capability(input_schema=[]), "capabilities.2.input_schema", "JSON object"),
    (
        with_capability(input_schema={"type": "object", "properties": 5}),
        "capabilities.2.input_schema",
        "not a valid JSON Schema",
    ),
    (
        with_capability(output_schema={"type": "string", "enum": []}),
        "capabilities.2.output_schema",
        "",
    ),
    (with_capability(more=1), "capabilities.2.more", "no such field"),
    (
        with_capability(implementation={"kind": "magic"}),
        "capabilities.2.implementation",
        "builtin, prompt or http",
    ),
    (
        with_capability(implementation={}),
        "capabilities.2.implementation",
        "builtin, prompt or http",
    ),
    (
        with_capability(implementation={**PROMPT, "temperature": 3}),
        "capabilities.2.implementation.temperature",
        "2 or less",
    ),
    (
        with_capability(implementation={"kind": "http", "url": "nowhere"}),
        "capabilities.2.implementation.url",
        "https://",
    ),
    (
        with_capability(
            implementation={"kind": "http", "url": "https://x.example", "headers": {"a b": "c"}}
        ),
        "capabilities.2.implementation.headers.a b",
        "letters, digits and hyphens",
    ),
    ({"tools": "Redis"}, "tools", "Give a list."),
    ({"tools": [5]}, "tools.0", "tool in it"),
    ({"tools": ["Redis", "redis"]}, "tools.1", "there twice"),
    ({"tools": [{"parameters": {}}]}, "tools.0.tool", "missing"),
    ({"tools": [{"tool": "redis", "secret": "a b"}]}, "tools.0.secret", "name of a secret"),
    ({"environment": 5}, "environment", "as an object"),
    ({"environment": {"lower": "x"}}, "environment.lower", "capital letters"),
    ({"environment": {"A": "v" * 1001}}, "environment.A", "at most 1000"),
    ({"environment": {"A": 5}}, "environment.A", "Give a text."),
    (
        {"environment": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "environment.1.name",
        "there twice",
    ),
]


@pytest.mark.parametrize("sent", IN_BOUNDS)
def test_at_the_bounds_is_accepted(sent: dict[str, Any], memory: TemplateDefinition) -> None:
    compiled(sent, memory)


@pytest.mark.parametrize(("sent", "attr", "sentence"), OUT_OF_BOUNDS)
def test_out_of_bounds_says_what_to_do(
    sent: dict[str, Any], attr: str, sentence: str, memory: TemplateDefinition
) -> None:
    found = problems(sent, memory)

    assert attr in found, found
    assert sentence in found[attr]


def test_each_problem_is_told_once(memory: TemplateDefinition) -> None:
    found = problems(
        {
            "name": "N" * 200,
            "tier": 9,
            "resources": [],
            "capabilities": ["fly", "store", "retrieve", "retrieve"],
        },
        memory,
    )
    assert set(found) == {"name", "tier", "resources", "capabilities.0", "capabilities.3.name"}


def test_a_missing_name_is_told_at_the_name(memory: TemplateDefinition) -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_with({}, definition=memory)
    assert [(p.attr, p.detail) for p in caught.value.problems] == [
        ("name", "This is missing. Fill it in.")
    ]


def test_unknown_fields_are_errors(memory: TemplateDefinition) -> None:
    found = problems({"tyer": 3, "x" * 500: 1}, memory)

    assert set(found) == {"tyer", "x" * 100}
    assert "Known fields: agent_id" in found["tyer"]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"config": {"a": float("nan")}}, "finite"),
        ({"config": {"a": "x" * 1_000_001}}, "characters"),
        ({"config": {"a": list(range(20_001))}}, "values"),
        ({"goal": "a\x00b"}, "NUL"),
        ({"goal": "\ud800"}, "half characters"),
        ({"tier": 10**400}, "bits"),
    ],
)
def test_what_can_not_be_stored_is_refused(
    sent: dict[str, Any], sentence: str, memory: TemplateDefinition
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        compiled(sent, memory)


def test_deep_json_is_refused_without_recursion(memory: TemplateDefinition) -> None:
    deep: Any = 1
    for _ in range(50_000):
        deep = {"a": deep}
    with pytest.raises(InvalidInput, match="levels deep"):
        compiled({"config": deep}, memory)
    with pytest.raises(InvalidInput, match="levels deep"):
        compiled(with_capability(input_schema=deep), memory)
