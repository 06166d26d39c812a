"""Tests carried out for real, on each runtime."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from ledger.models import ProgressEvent, Transition
from provisioning.instances import credentials_document
from provisioning.stores import memory, queues
from sandbox import runner, stage
from sandbox.enums import SandboxTestStatus, Verdict
from sandbox.models import SandboxTest
from sandbox.runner import run
from sandbox.scenarios import SetupCall, scenarios_for
from sandbox.services import cancel_test, describe_test, gate, start_test
from tests.sandbox.specs import many, scenario, sentiment_spec
from tests.sandbox.traces import NOTHING, fresh, left_behind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings

    from accounts.callers import Caller
    from config.embedded import EmbeddedServers
    from provisioning.drivers.base import RuntimeDriver
    from registry.spec import AgentSpec
    from sandbox.scenarios import ScenarioInput
    from templates_lib.definition import TemplateDefinition


def carried_out(
    caller: Caller, spec: AgentSpec, *scenarios: ScenarioInput
) -> tuple[SandboxTest, dict[str, Any]]:
    test = start_test(caller=caller, spec=spec, scenarios=scenarios)
    run(test.pk)
    test = fresh(test)
    return test, describe_test(test)


def kinds(test: SandboxTest) -> list[str]:
    events = ProgressEvent.objects.filter(subject_id=test.pk).order_by("seq")
    return [event.kind for event in events]


def test_the_memory_agent_passes_its_own_scenarios(
    operator: Caller, memory_agent: TemplateDefinition, driver: RuntimeDriver
) -> None:
    spec = memory_agent.sample_spec(agent_id="WowSandboxed")
    test, told = carried_out(operator, spec, *scenarios_for(spec, memory_agent))
    assert told["error"] is None
    assert {item["scenario"]: item["status"] for item in told["results"]} == dict.fromkeys(
        [item.name for item in memory_agent.scenarios], "PASSED"
    )
    assert (told["status"], told["passed"]) == ("completed", True)
    assert test.torn_down_at is not None
    assert left_behind(driver) == NOTHING
    assert gate(organization=operator.organization, digest=spec.digest).passed
    first = told["results"][0]
    assert first["duration_ms"] > 0
    assert first["memory_mb"] > 1
    assert first["logs"][-1].partition("] ")[2].startswith("Capability completed: store_context")
    assert test.ready_ms is not None
    assert test.ready_ms > 0


def test_what_happens_is_told_while_it_happens(operator: Caller, process: RuntimeDriver) -> None:
    test, told = carried_out(operator, sentiment_spec(), scenario())
    assert told["passed"]
    found = kinds(test)
    assert [kind for kind in found if kind != "log"] == [
        "status", "ready", "scenario", "scenario", "status", "torn_down",
    ]  # fmt: skip
    assert "log" in found
    lines = [
        line
        for event in ProgressEvent.objects.filter(subject_id=test.pk, kind="log")
        for line in event.payload["lines"]
        if event.payload["position"] == 0
    ]
    assert lines == told["results"][0]["logs"]
    steps = Transition.objects.filter(subject_id=test.pk).values_list("from_status", "to_status")
    assert list(steps) == [("queued", "running"), ("running", "passed")]
    last = ProgressEvent.objects.filter(subject_id=test.pk, kind="scenario").last()
    assert last is not None
    assert (last.payload["status"], last.payload["output"]) == (
        "PASSED", {"sentiment": "positive"},
    )  # fmt: skip


def test_scenarios_fail_and_err_each_in_their_way(operator: Caller, process: RuntimeDriver) -> None:
    wants_error = {"error": {"code": "invalid_input", "errors": {"$contains": {"attr": "text"}}}}
    capability = "analyze_sentiment"
    test, told = carried_out(
        operator,
        sentiment_spec(),
        scenario(name="right", capability=capability),
        scenario(name="any", capability=capability, expected_output=None),
        scenario(name="wrong", capability=capability, expected_output={"sentiment": "bad"}),
        scenario(name="refused", capability=capability, input={}),
        scenario(
            name="refused as expected", capability=capability, input={},
            expected_output=wants_error,
        ),
        scenario(name="not refused", capability=capability, expected_output=wants_error),
        scenario(
            name="other refusal", capability=capability, input={},
            expected_output={"error": {"code": "busy"}},
        ),
        scenario(
            name="setup refused", capability=capability,
            setup=(SetupCall(capability=capability, input={"text": 3}),),
        ),
        scenario(
            name="setup right", capability=capability,
            setup=(SetupCall(capability=capability, input={"text": "x"}),),
        ),
    )  # fmt: skip
    results = {item["scenario"]: item for item in told["results"]}
    assert {name: item["status"] for name, item in results.items()} == {
        "right": "PASSED",
        "any": "PASSED",
        "wrong": "FAILED",
        "refused": "FAILED",
        "refused as expected": "PASSED",
        "not refused": "FAILED",
        "other refusal": "FAILED",
        "setup refused": "ERROR",
        "setup right": "PASSED",
    }
    assert (told["status"], told["passed"], test.status) == ("completed", False, "failed")
    assert [item["sentence"] for item in results["wrong"]["differences"]] == [
        'sentiment should be "bad", but is "positive".'
    ]
    assert results["refused"]["error"].startswith("invalid_input: ")
    assert results["refused"]["differences"] == []
    assert results["not refused"]["error"] == "An error was expected, but the call succeeded."
    assert results["other refusal"]["differences"][0]["path"] == "error.code"
    assert "analyze_sentiment did not succeed" in results["setup refused"]["error"]
    assert results["setup refused"]["duration_ms"] is None
    verdict = gate(organization=operator.organization, digest=test.digest)
    assert not verdict.passed
    assert "“not refused”" in verdict.detail
    assert "and 2 more" in verdict.detail


def test_credentials_appear_nowhere(
    operator: Caller, memory_agent: TemplateDefinition, process: RuntimeDriver,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    given: list[dict[str, Any]] = []
    real = credentials_document

    def remember(**arguments: Any) -> dict[str, Any]:
        given.append(real(**arguments))
        return given[-1]

    # Only looks on: the real document goes to the real instance.
    monkeypatch.setattr(stage, "credentials_document", remember)
    spec = memory_agent.sample_spec(agent_id="WowQuiet")
    scenarios = scenarios_for(spec, memory_agent)[:1]
    with caplog.at_level("DEBUG"):
        _, told = carried_out(operator, spec, *scenarios)
    assert told["passed"]
    (document,) = given
    assert (document["egress_url"], document["egress_token"]) == (None, None)
    hidden = [
        document["invoke_token"],
        document["redis_url"].split(":")[2].split("@")[0],
        document["database_url"].split(":")[2].split("@")[0],
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT json_agg(t) FROM sandbox_sandboxtest t)::text"
            " || (SELECT json_agg(r) FROM sandbox_scenarioresult r)::text"
            " || (SELECT json_agg(e) FROM ledger_progressevent e)::text"
            " || (SELECT coalesce(json_agg(a), '[]') FROM ledger_auditentry a)::text"
        )
        (database,) = cursor.fetchone()
    for secret in hidden:
        assert len(secret) > 20
        for place in (database, caplog.text, str(told)):
            assert secret not in place


def started(test: SandboxTest, until: Callable[[], bool]) -> threading.Thread:
    """Run the test in a thread and return once `until` holds."""

    def work() -> None:
        try:
            run(test.pk)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return thread


def some_result(test: SandboxTest) -> bool:
    return test.results.filter(status=Verdict.PASSED).exists()


def test_cancelling_ends_it_between_scenarios(operator: Caller, process: RuntimeDriver) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(50))
    thread = started(test, lambda: some_result(test))
    cancel_test(caller=operator, test=test)
    thread.join(60)
    told = describe_test(fresh(test))
    assert (told["status"], told["passed"], told["cancel_requested"]) == ("cancelled", False, True)
    verdicts = {item["status"] for item in told["results"]}
    assert verdicts == {"PASSED", "SKIPPED"}
    assert left_behind(process) == NOTHING
    assert fresh(test).torn_down_at is not None


def test_cancelling_while_it_is_being_made_ends_it_before_the_first(
    operator: Caller, process: RuntimeDriver
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(2))
    thread = started(test, lambda: fresh(test).status == SandboxTestStatus.RUNNING)
    cancel_test(caller=operator, test=test)
    thread.join(60)
    assert fresh(test).status == SandboxTestStatus.CANCELLED
    assert {item.status for item in test.results.all()} == {Verdict.SKIPPED}
    assert left_behind(process) == NOTHING


def test_an_agent_that_dies_midway_is_an_error_and_nothing_is_left(
    operator: Caller, driver: RuntimeDriver
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(50))
    thread = started(test, lambda: some_result(test))
    driver.remove_instance(test.container_id, grace_seconds=0)
    thread.join(120)
    told = describe_test(fresh(test))
    assert (told["status"], told["error"]["code"]) == ("errored", "agent_stopped")
    assert "Give it more memory" in told["error"]["detail"]
    verdicts = [item["status"] for item in told["results"]]
    assert verdicts.count("ERROR") == 1
    assert verdicts[-1] == "SKIPPED"
    last = told["results"][verdicts.index("ERROR")]
    assert "Look at the log lines" in last["error"]
    assert left_behind(driver) == NOTHING


def test_a_second_delivery_changes_nothing(operator: Caller, process: RuntimeDriver) -> None:
    test, _ = carried_out(operator, sentiment_spec(), scenario())
    before = kinds(test)
    run(test.pk)
    assert kinds(test) == before
    # Nor does a delivery for a test that is gone.
    run(test.organization_id)
    assert kinds(test) == before


def test_an_image_that_does_not_build_says_what_to_do(
    operator: Caller, process: RuntimeDriver
) -> None:
    spec = sentiment_spec(packages=["no-such-package-anywhere==0.0.1"])
    test, told = carried_out(operator, spec, scenario())
    assert told["status"] == "errored"
    assert told["error"]["code"] == "image_failed"
    assert "Check the extra packages" in told["error"]["detail"]
    assert [item["status"] for item in told["results"]] == ["SKIPPED"]
    assert left_behind(process) == NOTHING
    assert not gate(organization=operator.organization, digest=test.digest).passed


def test_a_template_that_is_gone_says_so(operator: Caller, process: RuntimeDriver) -> None:
    spec = sentiment_spec(template={"slug": "gone", "version": "1.0.0"})
    _, told = carried_out(operator, spec, scenario())
    assert told["status"] == "errored"
    assert told["error"]["code"] == "template_not_found"
    assert left_behind(process) == NOTHING


def test_a_runtime_that_is_away_says_so(
    operator: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from provisioning.drivers import docker_engine

    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    # Each call connects anew, to the new address; the real client is left as it is.
    unkept = docker_engine._engine_of.__wrapped__  # noqa: SLF001 - what the cache is around
    monkeypatch.setattr(docker_engine, "_engine_of", unkept)
    settings.RUNTIME_DRIVER = "docker"
    test, told = carried_out(operator, sentiment_spec(), scenario())
    assert (told["status"], told["error"]["code"]) == ("errored", "runtime_unavailable")
    assert "Check that it runs" in told["error"]["detail"]
    # It could not look whether something is left, so the reconciler has to.
    assert test.torn_down_at is None
    assert test.lease_expires_at is not None
    assert test.lease_expires_at <= timezone.now()


def test_a_queue_that_is_away_says_so(
    operator: Caller, process: RuntimeDriver, servers: EmbeddedServers
) -> None:
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=[scenario()])
    servers.redis.stop()
    try:
        run(test.pk)
    finally:
        servers.redis.begin()
        servers.redis.wait_ready()
    told = describe_test(fresh(test))
    assert (told["status"], told["error"]["code"]) == ("errored", "store_unavailable")
    assert "Check that Redis" in told["error"]["detail"]
    assert left_behind(process)["instance"] == []
    assert fresh(test).torn_down_at is None


def test_an_agent_that_never_is_ready_is_given_up(
    operator: Caller, process: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "READY_SECONDS", 3.0)
    real = credentials_document

    def with_wrong_password(**arguments: Any) -> dict[str, Any]:
        document = real(**arguments)
        return document | {"redis_url": document["redis_url"].replace("@", "x@")}

    monkeypatch.setattr(stage, "credentials_document", with_wrong_password)
    _, told = carried_out(operator, sentiment_spec(), scenario())
    assert (told["status"], told["error"]["code"]) == ("errored", "not_ready")
    assert "redis" in told["error"]["detail"]
    assert left_behind(process) == NOTHING


def test_an_agent_that_can_not_start_shows_its_last_words(
    operator: Caller, process: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = credentials_document

    def broken(**arguments: Any) -> dict[str, Any]:
        return real(**arguments) | {"redis_url": "not-an-address"}

    monkeypatch.setattr(stage, "credentials_document", broken)
    _, told = carried_out(operator, sentiment_spec(), scenario())
    assert (told["status"], told["error"]["code"]) == ("errored", "agent_stopped")
    assert "redis_url" in told["error"]["detail"]
    assert left_behind(process) == NOTHING


def test_a_fault_of_the_platform_still_clears_away(
    operator: Caller, process: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(runner, "play", fault)
    test = start_test(caller=operator, spec=sentiment_spec(), scenarios=many(2))
    with pytest.raises(RuntimeError, match="a bug"):
        run(test.pk)
    told = describe_test(fresh(test))
    assert (told["status"], told["error"]["code"]) == ("errored", "internal_error")
    assert [item["status"] for item in told["results"]] == ["ERROR", "SKIPPED"]
    assert left_behind(process) == NOTHING


def test_the_whole_test_is_bounded_in_time(
    operator: Caller, process: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MAX_SECONDS", 0.0)
    _, told = carried_out(operator, sentiment_spec(), *many(2))
    assert (told["status"], told["error"]["code"]) == ("errored", "out_of_time")
    assert [item["status"] for item in told["results"]] == ["SKIPPED", "SKIPPED"]
    assert left_behind(process) == NOTHING


def test_the_same_code_builds_one_image(operator: Caller, process: RuntimeDriver) -> None:
    spec = sentiment_spec()
    first, _ = carried_out(operator, spec, scenario())
    second, _ = carried_out(operator, spec, scenario())
    assert first.image_digest == second.image_digest != ""
    images = [item.name for item in process.list_owned() if item.kind == "image"]
    assert images.count(stage.image_tag(first.image_digest)) == 1


def test_memory_and_queue_are_the_tests_own(
    operator: Caller, memory_agent: TemplateDefinition, process: RuntimeDriver
) -> None:
    spec = memory_agent.sample_spec(agent_id="WowOwn")
    test = start_test(caller=operator, spec=spec, scenarios=scenarios_for(spec, memory_agent)[:1])
    seen: dict[str, list[str]] = {}

    def looked() -> bool:
        seen["queue"], seen["memory"] = queues.list_owned(), memory.list_owned()
        return test.key in seen["queue"] and test.key in seen["memory"]

    started(test, looked).join(60)
    assert left_behind(process) == NOTHING
