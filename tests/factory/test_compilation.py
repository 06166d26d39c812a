"""From what was sent to a specification."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.compilation import REQUEST_FIELDS, compile_with
from ledger.errors import InvalidInput
from registry.spec import AgentSpec
from templates_lib.definition import TemplateDefinition
from templates_lib.library_loading import LIBRARY
from templates_lib.sources import read_template

SENTIMENT = {
    "name": "analyze_sentiment",
    "description": "Analyze customer sentiment from conversation",
    "input_schema": {"text": "string", "customer_id": "string"},
    "output_schema": {"sentiment": "positive|neutral|negative", "confidence": "float"},
    "timeout_seconds": 30,
}
WHOLE = {
    "template_id": "memory-agent",
    "agent_id": "WowCustomerContext",
    "name": "Customer Context Agent",
    "display_name": "Customer Context Manager",
    "description": "Stores customer conversation history and preferences",
    "tier": 3,
    "tags": ["customer", "memory", "sales"],
    "capabilities": ["store", "retrieve_context", "search_context", "summarize", SENTIMENT],
    "tools": ["Redis", "VectorDB", "Embeddings"],
    "resources": {"memory_mb": 4096},
    "policies": {"retry": {"max_attempts": 5}},
}


def definition(slug: str = "memory-agent") -> TemplateDefinition:
    return read_template(LIBRARY / slug).definition


@pytest.fixture(scope="module")
def memory() -> TemplateDefinition:
    return definition()


def compiled(sent: dict[str, Any], template: TemplateDefinition) -> AgentSpec:
    return compile_with({"name": "My Agent", **sent}, definition=template)


def problems(sent: dict[str, Any], template: TemplateDefinition) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        compiled(sent, template)
    return {problem.attr: problem.detail for problem in caught.value.problems}


# --- Defaults ---------------------------------------------------------------------------------


def test_a_name_is_enough(memory: TemplateDefinition) -> None:
    spec = compile_with({"name": "Customer Context Agent"}, definition=memory)

    assert (spec.agent_id, spec.display_name, spec.tier) == (
        "WowCustomerContext",
        "Customer Context Agent",
        3,
    )
    assert spec.template.slug == "memory-agent"
    assert [c.name for c in spec.capabilities] == [c.name for c in memory.defaults.capabilities]
    assert spec.resources == memory.defaults.resources


def test_what_is_sent_wins_and_only_what_is_sent(memory: TemplateDefinition) -> None:
    spec = compile_with(WHOLE, definition=memory)

    assert spec.resources.model_dump() == {"cpu_cores": 1, "memory_mb": 4096, "storage_gb": 10}
    assert spec.policies.retry.max_attempts == 5
    assert spec.policies.retry.backoff == memory.defaults.policies.retry.backoff
    assert spec.policies.timeouts == memory.defaults.policies.timeouts
    assert [c.name for c in spec.capabilities] == [
        "store_context",
        "retrieve_context",
        "search_context",
        "summarize_context",
        "analyze_sentiment",
    ]
    assert [t.tool for t in spec.tools] == ["redis", "vectordb", "embeddings-api"]


def test_a_value_that_equals_another_default_is_still_the_callers_choice(
    memory: TemplateDefinition,
) -> None:
    # 512 is what a specification without a template has, 2048 what this template has.
    spec = compiled({"resources": {"memory_mb": 512}, "tags": [], "tools": []}, memory)

    assert (spec.resources.memory_mb, spec.tags, spec.tools) == (512, (), ())


def test_the_short_form_and_a_missing_implementation(memory: TemplateDefinition) -> None:
    capability = compile_with(WHOLE, definition=memory).capability("analyze_sentiment")

    assert capability is not None
    assert capability.output_schema["properties"] == {
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "confidence": {"type": "number"},
    }
    assert capability.implementation.kind == "prompt"
    assert capability.implementation.instructions == SENTIMENT["description"]


def test_an_object_of_the_templates_name_is_filled_from_it(memory: TemplateDefinition) -> None:
    sent = [
        {"name": "store_context", "description": "Ours", "timeout_seconds": 5},
        "retrieve_context",
        {
            "name": "search",
            "input_schema": {"query": "string"},
        },
    ]
    store, _, search = compiled({"capabilities": sent}, memory).capabilities

    assert (store.description, store.timeout_seconds) == ("Ours", 5)
    assert store.implementation.kind == "builtin"
    assert store.examples
    # The template's examples speak of the template's schema.
    assert (search.name, search.examples) == ("search_context", ())


def test_an_optional_capability_of_the_template_is_added_by_name(
    memory: TemplateDefinition,
) -> None:
    sent = ["store_context", "retrieve_context", "health_check"]
    health = compiled({"capabilities": sent}, memory).capabilities[-1]
    assert health.implementation.kind == "builtin"


def test_configuration_and_specification_are_two_names_of_one_thing(
    memory: TemplateDefinition,
) -> None:
    by_config = compiled({"config": {"retention_days": 7}}, memory)
    by_field = compiled({"memory": {"retention_days": 7}}, memory)

    assert by_config.memory.retention_days == 7
    assert by_field.config["retention_days"] == 7
    assert by_config.digest == by_field.digest


def test_the_same_request_has_the_same_digest_whatever_its_order(
    memory: TemplateDefinition,
) -> None:
    turned = dict(reversed(WHOLE.items()))
    once, again = (compile_with(sent, definition=memory) for sent in (WHOLE, turned))
    assert once.digest == again.digest


def test_whole_floats_are_whole_numbers(memory: TemplateDefinition) -> None:
    spec = compiled({"tier": 3.0, "resources": {"memory_mb": 4096.0, "cpu_cores": 1.5}}, memory)
    assert (spec.tier, spec.resources.memory_mb, spec.resources.cpu_cores) == (3, 4096, 1.5)


def test_environment_as_an_object_or_a_list(memory: TemplateDefinition) -> None:
    as_object = compiled({"environment": {"LOG_LEVEL": "debug"}}, memory)
    as_list = compiled({"environment": [{"name": "LOG_LEVEL", "value": "debug"}]}, memory)
    assert as_object.environment == as_list.environment


# --- Bounds -----------------------------------------------------------------------------------

PROMPT = {"kind": "prompt", "instructions": "Answer."}


def with_capability(**changes: Any) -> dict[str, Any]:
    return {"capabilities": ["store", "retrieve", {**SENTIMENT, **changes}]}


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


# --- Credentials ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "attr"),
    [
        ({"environment": {"OPENAI_API_KEY": "x"}}, "environment.OPENAI_API_KEY"),
        ({"environment": {"DB_PASSWORD": "x"}}, "environment.DB_PASSWORD"),
        ({"environment": {"AUTH_TOKEN": "x"}}, "environment.AUTH_TOKEN"),
        ({"environment": {"SECRET": "x"}}, "environment.SECRET"),
        ({"environment": {"X": "sk-abcdefghijklmnopqrstuv"}}, "environment.X"),
        ({"environment": {"X": "postgres://me:pw@host/db"}}, "environment.X"),
        ({"environment": {"X": "-----BEGIN RSA PRIVATE KEY-----"}}, "environment.X"),
        ({"environment": [{"name": "X", "value": "ghp_" + "a" * 36}]}, "environment.0"),
        (
            {"tools": [{"tool": "http-api", "parameters": {"base_url": "https://u:p@h.example"}}]},
            "tools.0.parameters.base_url",
        ),
        (
            with_capability(
                implementation={
                    "kind": "http",
                    "url": "https://x.example",
                    "headers": {"Authorization": "Bearer x"},
                }
            ),
            "capabilities.2.implementation.headers.Authorization",
        ),
        (
            with_capability(
                implementation={
                    "kind": "http",
                    "url": "https://x.example",
                    "headers": {"X-Api-Key": "x"},
                }
            ),
            "capabilities.2.implementation.headers.X-Api-Key",
        ),
        (
            with_capability(implementation={"kind": "http", "url": "https://a:b@x.example"}),
            "capabilities.2.implementation.url",
        ),
    ],
)
def test_credentials_belong_in_secrets(
    sent: dict[str, Any], attr: str, memory: TemplateDefinition
) -> None:
    assert "Store it as a secret" in problems(sent, memory)[attr]


@pytest.mark.parametrize(
    "environment",
    [{"LOG_LEVEL": "debug"}, {"MONKEY": "x"}, {"KEYBOARD": "qwerty"}, {"URL": "https://a.example"}],
)
def test_plain_settings_are_no_credentials(
    environment: dict[str, str], memory: TemplateDefinition
) -> None:
    compiled({"environment": environment}, memory)


@pytest.mark.parametrize("name", ["PATH", "PYTHONPATH", "LD_PRELOAD", "AGENT_MODE", "HTTPS_PROXY"])
def test_the_platforms_own_variables_are_kept(name: str, memory: TemplateDefinition) -> None:
    assert (
        "platform sets this"
        in problems({"environment": {name: "x"}}, memory)[f"environment.{name}"]
    )


# --- Anything at all --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(REQUEST_FIELDS)), JSON, max_size=6))
def test_whatever_is_sent_is_compiled_or_refused(sent: dict[str, Any]) -> None:
    refused: InvalidInput | None = None
    try:
        spec = compile_with(sent, definition=_TEMPLATE)
    except InvalidInput as error:
        refused = error
    if refused is None:
        assert AgentSpec.model_validate_json(spec.canonical_json()) == spec
    else:
        assert refused.message
        assert all(problem.detail for problem in refused.problems)


_TEMPLATE = definition()
