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
from tests.factory.compiling import (
    SENTIMENT,
    compiled,
    definition,
    problems,
    with_capability,
)

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


@pytest.fixture(scope="module")
def memory() -> TemplateDefinition:
    return definition()


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
