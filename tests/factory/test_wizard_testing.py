"""Step 5, the deploy gate and the deployment."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from factory.enums import BlueprintStatus
from factory.models import Blueprint, Tier
from factory.services import creation
from factory.services.creation import pass_gate
from factory.wizard.testing import example_input, mocked_answer
from ledger.errors import Conflict
from provisioning.models import Deployment
from registry.models import Agent
from registry.schemas import SchemaValidator
from registry.services.agents import reserve_agent
from registry.spec import Capability
from sandbox.models import SandboxTest, Waiver
from templates_lib.services import render_and_check
from tests.builders import make_spec
from tests.factory.walking import (
    at_review,
    at_test_step,
    draft_of,
    draft_path,
    step_of,
)

if TYPE_CHECKING:
    from accounts.callers import Caller
    from registry.spec import AgentSpec
    from sandbox.services import GateVerdict
    from templates_lib.rendering import RenderedProject
    from tests.pages import Visitor

pytestmark = pytest.mark.django_db


# --- The test step --------------------------------------------------------------------------------


def test_run_all_starts_one_test_with_every_scenario(visitor: Visitor) -> None:
    at_test_step(visitor).press("run-all")
    test = SandboxTest.objects.get()
    names = list(test.results.values_list("name", flat=True))
    assert names[:3] == ["Store Context", "Retrieve Context", "Search Context"]
    panel = visitor.client.get(reverse("wizard-live", args=[draft_of(visitor).pk, "panel"]))
    assert f'data-test="{test.pk}"' in panel.content.decode()
    visitor.press("stop")
    test.refresh_from_db()
    assert test.status == "cancelled"


def test_one_scenario_is_run_by_its_name(visitor: Visitor) -> None:
    at_test_step(visitor).press("run:Search Context")
    assert list(SandboxTest.objects.get().results.values_list("name", flat=True)) == [
        "Search Context"
    ]


def test_an_own_scenario_is_kept_and_run(visitor: Visitor) -> None:
    at_test_step(visitor).press("scenarios-add")
    row = "test-scenarios-0-"
    typed = {
        f"{row}name": "My own",
        f"{row}capability": "store_context",
        f"{row}input": '{"customer_id": "c-1", "text": "hello"}',
        f"{row}expected_output": '{"status": "stored"}',
    }
    visitor.press("save", typed).press("run:My own")
    result = SandboxTest.objects.get().results.get()
    assert (result.name, result.capability) == ("My own", "store_context")
    assert result.expected_output == {"status": "stored"}
    visitor.press("stop").press("scenarios-remove:0")
    assert "run:My own" not in visitor.html


def test_a_kept_scenario_is_said_to_wait_for_its_run(visitor: Visitor) -> None:
    at_test_step(visitor).press("scenarios-add").press("keep:0", {f"{OWN}name": "My own"})
    assert "“My own” is kept and not yet run" in visitor.html
    assert "Draft saved" not in visitor.html
    judge(visitor)
    visitor.press("keep:0")
    assert "“My own” is kept and was run like this before" in visitor.html
    visitor.press("keep:0", {f"{OWN}expected_output": '{"status": "stored"}'})
    assert "“My own” is kept and not yet run" in visitor.html
    visitor.press("keep:0", {f"{OWN}name": "Store Context"})
    assert "Another scenario is called “Store Context”" in visitor.html
    visitor.press("keep:0", {f"{OWN}input": "{broken"})
    assert "This is not valid JSON: line 1, column 2. Check commas and quotes." in visitor.html


def test_skipping_is_offered_until_all_has_passed(visitor: Visitor) -> None:
    at_test_step(visitor)
    label = visitor.html.split("Skip the test because")[1].split("</label>")[0]
    assert "optional" not in label
    judge(visitor, Store_Context="FAILED")
    assert not visitor.context["gate"].passed
    assert "hidden" not in visitor.html.split('id="skip"')[1].split(">")[0]
    judge(visitor)
    assert "Ready to deploy" in visitor.html
    assert "hidden" in visitor.html.split('id="skip"')[1].split(">")[0]


def test_an_own_scenario_with_broken_json_is_said_and_not_run(visitor: Visitor) -> None:
    at_test_step(visitor).press("scenarios-add")
    visitor.press("next", {"test-scenarios-0-name": "Broken", "test-scenarios-0-input": "{broken"})
    assert step_of(visitor) == "test"
    assert "not valid JSON" in visitor.html


def test_skipping_needs_a_reason(visitor: Visitor) -> None:
    at_test_step(visitor).press("skip")
    assert 'class="notice bad"' in visitor.html
    assert not Waiver.objects.exists()


def test_an_untested_agent_is_not_deployed(visitor: Visitor) -> None:
    at_test_step(visitor).press("next")
    assert step_of(visitor) == "review"
    visitor.press("next")
    assert step_of(visitor) == "review"
    assert "test" in str(visitor.context["form"].non_field_errors())
    assert not Agent.objects.exists()


# --- The deploy gate --------------------------------------------------------------------------


OWN = "test-scenarios-0-"


def add_own(visitor: Visitor, name: str = "My own") -> Visitor:
    typed = {
        f"{OWN}name": name,
        f"{OWN}capability": "store_context",
        f"{OWN}input": '{"customer_id": "c-1", "text": "hello"}',
    }
    return visitor.press("scenarios-add").press("save", typed)


def judge(visitor: Visitor, **verdicts: str) -> None:
    """Let a test end with ``verdicts`` by scenario name; what is not named passed."""
    visitor.press("run-all")
    test = SandboxTest.objects.latest("created_at")
    for result in test.results.all():
        result.status = verdicts.get(result.name.replace(" ", "_"), "PASSED")
        result.save()
    SandboxTest.objects.filter(pk=test.pk).update(status="failed" if verdicts else "passed")
    visitor.open(draft_path("test"))


def review_gate(visitor: Visitor) -> GateVerdict:
    found: GateVerdict = visitor.open(draft_path("review")).context["gate"]
    return found


def test_a_failed_scenario_that_was_removed_does_not_keep_the_gate_closed(
    visitor: Visitor, caller: Caller
) -> None:
    judge(add_own(at_test_step(visitor)), My_own="FAILED")
    closed = visitor.context["gate"]
    assert (closed.passed, closed.failed) == (False, ("My own",))
    assert review_gate(visitor) == closed
    visitor.press("next")
    assert closed.detail in visitor.html
    assert not Agent.objects.exists()

    visitor.open(draft_path("test")).press("scenarios-remove:0")
    assert visitor.context["gate"].passed
    assert review_gate(visitor).passed
    visitor.press("next")
    assert Agent.objects.of(caller.organization).count() == 1


def test_a_scenario_that_was_added_and_not_run_closes_the_gate(visitor: Visitor) -> None:
    judge(at_test_step(visitor))
    assert visitor.context["gate"].passed
    add_own(visitor, "One more")
    closed = visitor.context["gate"]
    assert (closed.passed, closed.failed) == (False, ())
    assert closed.detail == "“One more” has not been run yet. Run it."
    assert review_gate(visitor) == closed
    visitor.press("next")
    assert closed.detail in visitor.html
    assert not Agent.objects.exists()


def test_the_api_judges_every_scenario_that_was_ever_run(visitor: Visitor, caller: Caller) -> None:
    judge(add_own(at_test_step(visitor)), My_own="FAILED")
    visitor.press("scenarios-remove:0")
    digest = visitor.context["spec"].digest
    pass_gate(caller, digest, None, ["Store Context"])
    with pytest.raises(Conflict, match="“My own” did not pass"):
        pass_gate(caller, digest, None)
    pass_gate(caller, digest, "Known, and removed in the wizard.")
    assert Waiver.objects.get().digest == digest


def test_a_failure_looks_like_one_and_is_open(visitor: Visitor) -> None:
    judge(add_own(at_test_step(visitor)), My_own="FAILED")
    rows = {row.scenario.name: row for row in visitor.context["rows"]}
    assert [name for name, row in rows.items() if row.failed] == ["My own"]
    assert '<div class="notice bad"' in visitor.html
    assert f'data-failed="{rows["My own"].result.pk}" open' in visitor.html
    assert "You can go on, but the agent can't be deployed yet." in visitor.html
    visitor.press("next")
    assert 'aria-disabled="true" aria-describedby="deploy-reason"' in visitor.html
    assert "Deploying is closed. The last run of “My own” did not pass." in visitor.html


@pytest.mark.parametrize(
    ("implementation", "examples", "sentence"),
    [
        ({"kind": "builtin", "operation": "agent.describe"}, 1, ""),
        ({"kind": "prompt", "instructions": "x"}, 1, "the capability's example: no model was"),
        ({"kind": "prompt", "instructions": "x"}, 0, "made from the output schema: no model was"),
        ({"kind": "http", "url": "https://x.example"}, 1, "example: no service was called."),
    ],
)
def test_what_the_sandbox_answers_itself_is_told(
    implementation: dict[str, str], examples: int, sentence: str
) -> None:
    capability = Capability.model_validate(
        {
            "name": "look_up",
            "input_schema": {"type": "object", "properties": {"q": {"type": "integer"}}},
            "output_schema": {"type": "object"},
            "examples": [{"input": {"q": 7}, "output": {}}] * examples,
            "implementation": implementation,
        }
    )
    assert sentence in mocked_answer(capability)
    assert bool(sentence) == bool(mocked_answer(capability))
    assert example_input(capability) == {"q": 7 if examples else 1}


def test_a_new_scenario_begins_with_a_name_and_an_input_that_fits(visitor: Visitor) -> None:
    at_test_step(visitor).press("scenarios-add").press("scenarios-add")
    typed = visitor.form()["fields"]
    assert typed[f"{OWN}name"] == "My scenario 1"
    assert typed["test-scenarios-1-name"] == "My scenario 2"
    capability = visitor.context["spec"].capability(typed[f"{OWN}capability"])
    SchemaValidator(capability.input_schema).validate(json.loads(typed[f"{OWN}input"]))
    assert "None" not in visitor.html
    visitor.press("run:My scenario 1")
    assert SandboxTest.objects.get().results.get().capability == capability.name


# --- Deploying ------------------------------------------------------------------------------------


def test_pressing_deploy_twice_makes_one_agent(visitor: Visitor) -> None:
    at_review(visitor)
    path, fields = visitor.path, visitor.form()["fields"]
    first = visitor.client.post(path, {**fields, "do": "next"})
    again = visitor.client.post(path, {**fields, "do": "next"})
    assert (first.status_code, again.status_code) == (302, 302)
    assert Agent.objects.count() == Deployment.objects.count() == 1
    assert again.headers["Location"] == reverse("agent", args=["WowCustomerContext"])
    assert visitor.open(path).path == reverse("agent", args=["WowCustomerContext"])


@pytest.mark.django_db(transaction=True)
def test_the_draft_can_be_written_while_its_agent_is_rendered(
    visitor: Visitor, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_review(visitor)
    path, fields = visitor.path, visitor.form()["fields"]
    rendering, go_on = threading.Event(), threading.Event()
    real = render_and_check
    answers: list[str] = []

    def slowly(spec: AgentSpec) -> RenderedProject:
        rendering.set()
        assert go_on.wait(60)
        return real(spec)

    def press() -> None:
        client = Client()
        assert caller.user is not None
        client.force_login(caller.user)
        answers.append(client.post(path, {**fields, "do": "next"}).headers["Location"])
        connection.close()

    monkeypatch.setattr(creation, "render_and_check", slowly)
    presser = threading.Thread(target=press)
    presser.start()
    assert rendering.wait(60)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '3s'")
    visitor.open(draft_path("basics")).press("save", {"basics-goal": "Typed meanwhile."})
    assert "Draft saved" in visitor.html
    go_on.set()
    presser.join(60)
    # What was read at the review is deployed, not what was typed since.
    deployment = Deployment.objects.get()
    assert answers == [reverse("deployment", args=[deployment.pk])]
    assert deployment.release.agent_spec().goal != "Typed meanwhile."
    assert Blueprint.objects.get(agent=deployment.agent).status == BlueprintStatus.DEPLOYED


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [("archived", "This draft was put away."), ("deployed", "This draft became an agent already.")],
)
def test_a_draft_that_ended_while_its_agent_was_rendered_becomes_no_agent(
    visitor: Visitor, caller: Caller, monkeypatch: pytest.MonkeyPatch, ends: str, sentence: str
) -> None:
    at_review(visitor)
    draft = draft_of(visitor)
    others = [reserve_agent(caller=caller, spec=make_spec())] if ends == "deployed" else []
    real = render_and_check

    def meanwhile(spec: AgentSpec) -> RenderedProject:
        agent = others[0] if others else None
        Blueprint.objects.filter(pk=draft.pk).update(status=ends, agent=agent)
        return real(spec)

    monkeypatch.setattr(creation, "render_and_check", meanwhile)
    visitor.press("next")
    assert step_of(visitor) == "review"
    assert sentence in str(visitor.context["form"].non_field_errors())
    assert list(Agent.objects.all()) == others
    assert Blueprint.objects.get(pk=draft.pk).status == ends


def test_a_full_tier_says_who_can_raise_it(visitor: Visitor) -> None:
    at_review(visitor)
    Tier.objects.filter(number=3).update(quota=0)
    visitor.press("next")
    assert step_of(visitor) == "review"
    assert "admin" in str(visitor.context["form"].non_field_errors())
    assert not Agent.objects.exists()
