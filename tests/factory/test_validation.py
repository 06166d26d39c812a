"""Three tiers of rules."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.roles import Role
from factory.models import Tier
from factory.validation import Report, facts, validate, validate_spec
from ledger.errors import NotAllowed
from registry.models import Agent, Tool
from registry.services.agents import reserve_agent
from registry.services.secrets import put_secret
from tests.builders import install, make_caller, make_request, make_spec

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _installed() -> None:
    install()
    facts.forget_driver_info()


def report(caller: Any = None, **changes: Any) -> Report:
    return validate(caller=caller or make_caller(), request=make_request(**changes))


def rules(found: Report, severity: str) -> dict[str, tuple[str, str]]:
    return {
        finding.rule: (finding.field, finding.message)
        for finding in found.findings
        if finding.severity == severity
    }


def test_the_known_example_is_valid_with_its_own_words() -> None:
    found = report()

    assert found.valid
    assert found.errors == []
    assert "Memory usage high for tier 3. Consider tier 4." in found.warnings
    assert "Add health check capability for better monitoring" in found.suggestions


def test_the_answer_has_the_documented_shape() -> None:
    answer = report().to_json_dict()

    assert list(answer) == ["valid", "errors", "warnings", "suggestions", "findings"]
    assert {
        "tier": "policy",
        "rule": "memory_high",
        "severity": "warning",
        "field": "resources.memory_mb",
        "message": "Memory usage high for tier 3. Consider tier 4.",
    } in answer["findings"]


def test_without_a_template_the_blank_one_is_meant() -> None:
    found = validate(caller=make_caller(), request={"name": "Customer Context Agent"})
    assert found.valid
    assert found.spec is not None
    assert found.spec.template.slug == "blank"


@pytest.mark.parametrize("template_id", ["nothing", "", 5, None, "a\x00", ["x"]])
def test_an_unknown_template_is_a_finding(template_id: Any) -> None:
    found = report(template_id=template_id)

    assert not found.valid
    assert [finding.field for finding in found.findings] == ["template_id"]


def test_what_does_not_compile_is_found_field_by_field() -> None:
    found = report(tier=9, tags="x")

    assert not found.valid
    assert {finding.field for finding in found.findings} == {"tier", "tags"}
    assert {finding.tier for finding in found.findings} == {"structure"}
    error = found.as_error()
    assert {problem.attr for problem in error.problems} == {"tier", "tags"}


def test_validating_needs_a_role() -> None:
    viewer = make_caller(Role.VIEWER)
    with pytest.raises(NotAllowed):
        report(viewer)
    with pytest.raises(NotAllowed):
        validate_spec(caller=viewer, spec=make_spec())


# --- Structure --------------------------------------------------------------------------------


def test_examples_have_to_fit_their_schemas() -> None:
    capability = {
        "name": "add",
        "description": "Add numbers.",
        "input_schema": {"a": "int"},
        "output_schema": {"sum": "int"},
        "examples": [
            {"input": {"a": 1}, "output": {"sum": 1}},
            {"input": {"a": "one"}, "output": {"sum": 1}},
        ],
    }
    found = validate(caller=make_caller(), request={"name": "Adder", "capabilities": [capability]})

    field, message = rules(found, "error")["example_does_not_fit"]
    assert field == "capabilities.0.examples.1.input.a"
    assert "input schema of add" in message


def test_remembering_needs_a_memory() -> None:
    capability = {
        "name": "keep",
        "description": "Keep it.",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "implementation": {"kind": "builtin", "operation": "memory.store"},
    }
    found = validate(caller=make_caller(), request={"name": "Me", "capabilities": [capability]})
    assert not found.valid
    assert rules(found, "error")["memory_missing"][0] == "memory.kind"


def test_a_capability_that_is_cut_off_or_not_described_is_pointed_out() -> None:
    capability = {
        "name": "wait",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "timeout_seconds": 60,
        "implementation": {"kind": "prompt", "instructions": "Wait."},
    }
    found = validate(caller=make_caller(), request={"name": "Waiter", "capabilities": [capability]})
    assert rules(found, "warning")["timeout_cut"][0] == "capabilities.0.timeout_seconds"
    assert rules(found, "suggestion")["description_missing"][0] == "capabilities.0.description"


@pytest.mark.parametrize("name", ["health_check", "check_health"])
def test_a_health_check_silences_its_suggestion(name: str) -> None:
    capability = {
        "name": name,
        "description": "Tell how it is.",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
    }
    found = validate(caller=make_caller(), request={"name": "Me", "capabilities": [capability]})
    assert "health_check_missing" not in rules(found, "suggestion")


# --- Policy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory_mb", "rule"),
    [(3276, None), (3277, "memory_high"), (4096, "memory_high"), (4097, "over_tier_bound")],
)
def test_memory_against_the_tiers_bound(memory_mb: int, rule: str | None) -> None:
    found = report(resources={"memory_mb": memory_mb})

    about_memory = [f.rule for f in found.findings if f.field == "resources.memory_mb"]
    assert about_memory == ([rule] if rule else [])
    assert found.valid is (rule != "over_tier_bound")


def test_over_a_bound_names_the_tier_that_holds_it() -> None:
    found = report(resources={"cpu_cores": 3, "memory_mb": 4096, "storage_gb": 80})

    messages = [finding.message for finding in found.findings if finding.severity == "error"]
    assert messages == [
        "Tier 3 allows up to 2 CPU cores. Lower it or choose tier 5.",
        "Tier 3 allows up to 50 GB of storage. Lower it or choose tier 5.",
    ]


def test_over_every_tiers_bound_only_lowering_helps() -> None:
    Tier.objects.filter(number__gt=3).delete()
    found = report(resources={"memory_mb": 8192})
    assert found.errors == ["Tier 3 allows up to 4096 MB of memory. Lower it."]


def test_the_highest_tier_has_none_to_consider() -> None:
    found = report(tier=5, resources={"memory_mb": 8000})
    assert "Memory usage high for tier 5." in found.warnings


def test_a_tier_that_was_removed_is_unknown() -> None:
    Tier.objects.filter(number=3).delete()
    assert rules(report(), "error")["unknown_tier"] == (
        "tier",
        "Choose one of the tiers 1, 2, 4, 5.",
    )


def test_a_full_tier_says_who_can_raise_it() -> None:
    Tier.objects.filter(number=3).update(quota=1)
    caller = make_caller()
    reserve_agent(caller=caller, spec=make_spec(tier=3))

    field, message = rules(report(caller), "error")["tier_quota_full"]

    assert field == "tier"
    assert caller.user is not None
    assert "1 of 1 agents are used" in message
    assert f"ask an admin ({caller.user.username}) to raise the quota" in message


def test_without_admins_the_platforms_are_named() -> None:
    Tier.objects.filter(number=3).update(quota=0)
    found = report(make_caller(Role.OPERATOR))
    assert "an administrator of the platform" in rules(found, "error")["tier_quota_full"][1]


def test_other_organisations_deprecated_and_deleted_agents_use_no_quota() -> None:
    Tier.objects.filter(number=3).update(quota=1)
    caller = make_caller()
    reserve_agent(caller=make_caller(), spec=make_spec(tier=3))
    old = reserve_agent(caller=caller, spec=make_spec(tier=3))
    gone = reserve_agent(caller=caller, spec=make_spec(tier=3))
    Agent.objects.filter(pk=old.pk).update(status="deprecated")
    Agent.objects.filter(pk=gone.pk).update(deleted_at=gone.created_at)

    assert report(caller).valid


def test_the_agent_that_is_changed_does_not_stand_in_its_own_way() -> None:
    Tier.objects.filter(number=3).update(quota=1)
    caller = make_caller()
    agent = reserve_agent(caller=caller, spec=make_spec(tier=3))
    request = make_request(agent_id=agent.agent_id)

    assert not validate(caller=caller, request=request).valid
    assert validate(caller=caller, request=request, agent=agent).valid


@pytest.mark.parametrize("agent_id", ["scaffold", "Generate", "local-dev", "multi-specs"])
def test_words_of_the_api_are_no_ids(agent_id: str) -> None:
    assert "agent_id_reserved" in rules(report(agent_id=agent_id), "error")


def test_the_convention_for_ids_is_a_suggestion() -> None:
    found = report(agent_id="my_agent", name="Helper")
    assert found.valid
    assert "WowHelper" in rules(found, "suggestion")["agent_id_convention"][1]


def test_unknown_and_switched_off_tools_are_errors() -> None:
    Tool.objects.filter(slug="redis").update(is_active=False)
    found = report(tools=["redis", "teleport"])

    unknown = [finding.field for finding in found.findings if finding.rule == "unknown_tool"]
    assert unknown == ["tools.0", "tools.1"]


def test_tools_parameters_and_secrets() -> None:
    caller = make_caller()
    put_secret(caller=caller, name="mine", value="x")
    put_secret(caller=make_caller(), name="theirs", value="x")
    model = {"base_url": "https://api.example/v1", "model": "m"}

    found = report(
        caller,
        tools=[
            {"tool": "chat-model", "parameters": model, "secret": "mine"},
            {"tool": "embeddings-api", "parameters": {"base_url": "nowhere"}, "secret": "theirs"},
            {"tool": "redis", "secret": "mine"},
            "http-api",
        ],
    )

    errors = {finding.field for finding in found.findings if finding.severity == "error"}
    assert errors == {"tools.1.parameters", "tools.1.parameters.base_url", "tools.1.secret"}
    assert rules(found, "warning")["secret_not_used"][0] == "tools.2.secret"
    assert rules(found, "suggestion")["tool_not_connected"][0] == "tools.3.parameters"
    assert "model_not_connected" not in rules(found, "warning")


def test_a_prompt_without_a_model_is_pointed_out() -> None:
    field, message = rules(report(), "warning")["model_not_connected"]
    assert field == "capabilities.4"
    assert "Add the tool “Chat model” with its address." in message


def test_a_calls_secret_has_to_exist() -> None:
    capability = {
        "name": "call_out",
        "description": "Call.",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "implementation": {"kind": "http", "url": "https://x.example/", "secret": "nobody"},
    }
    found = validate(caller=make_caller(), request={"name": "X", "capabilities": [capability]})
    assert rules(found, "error")["unknown_secret"][0] == "capabilities.0.implementation.secret"


@pytest.mark.parametrize("package", ["docker", "Ansible_Core==1", "agent.runtime"])
def test_packages_that_reach_beyond_the_agent_are_refused(package: str) -> None:
    assert "package_refused" in rules(report(packages=[package]), "error")


def test_packages_want_a_version() -> None:
    assert "package_not_pinned" in rules(report(packages=["httpx"]), "warning")
    assert report(packages=["httpx==0.28.1"]).valid


# --- Platform ---------------------------------------------------------------------------------


def test_a_taken_id_comes_with_free_ones() -> None:
    caller = make_caller()
    for agent_id in ("WowContext", "WowContext2"):
        reserve_agent(caller=caller, spec=make_spec(agent_id=agent_id))

    field, message = rules(report(caller, agent_id="wowcontext"), "error")["agent_id_taken"]

    assert field == "agent_id"
    assert "wowcontext3, wowcontext4, wowcontext5" in message
    assert report(make_caller(), agent_id="WowContext").valid


def test_more_than_the_host_has_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    info = facts.driver_info()
    assert info is not None
    monkeypatch.setattr(
        facts,
        "_known",
        {
            info.name: (
                float("inf"),
                type(info)("x", "1", isolated=True, cpu_cores=0.5, memory_mb=600),
            )
        },
    )

    found = report()

    about = [finding.field for finding in found.findings if finding.rule == "over_host_capacity"]
    assert found.valid
    assert about == ["resources.cpu_cores", "resources.memory_mb"]


def test_a_runtime_that_is_away_is_an_error(settings: Any) -> None:
    settings.RUNTIME_DRIVER = "nothing"
    found = report()
    assert "runtime_unavailable" in rules(found, "error")


def test_the_number_of_queries_does_not_grow_with_the_agents() -> None:
    caller = make_caller()
    report(caller)
    with CaptureQueriesContext(
        connection,
    ) as few:
        report(caller)
    for _ in range(20):
        reserve_agent(caller=caller, spec=make_spec(tier=1))
    with CaptureQueriesContext(connection) as many:
        report(caller)

    assert len(many) == len(few) <= 8
