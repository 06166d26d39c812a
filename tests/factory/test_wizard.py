from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from accounts.roles import Role
from factory.enums import BlueprintStatus
from factory.models import Blueprint, Tier
from provisioning.models import Deployment
from registry.models import Agent, Secret
from sandbox.models import SandboxTest, Waiver
from templates_lib.models import TemplateVersion
from templates_lib.services import deprecate_version
from tests.builders import install, make_caller
from tests.pages import Visitor

if TYPE_CHECKING:
    from django.test import Client

    from accounts.callers import Caller

pytestmark = pytest.mark.django_db

SENTIMENT_INPUT = '{"text": "string", "customer_id": "string"}'
SENTIMENT_OUTPUT = '{"sentiment": "positive|neutral|negative", "confidence": "float"}'


@pytest.fixture
def caller() -> Caller:
    install()
    return make_caller(Role.OPERATOR)


@pytest.fixture
def visitor(client: Client, caller: Caller) -> Visitor:
    assert caller.user is not None
    client.force_login(caller.user)
    return Visitor(client)


def use_template(visitor: Visitor, slug: str = "memory-agent") -> Visitor:
    visitor.open(reverse("wizard-start"))
    return visitor.press(slug, form="/agents/new", name="template-template")


def fill_basics(visitor: Visitor, **typed: str) -> Visitor:
    given = {"name": "Customer Context Agent", **typed}
    return visitor.press("next", {f"basics-{key}": value for key, value in given.items()})


def at_test_step(visitor: Visitor) -> Visitor:
    fill_basics(use_template(visitor)).press("next")
    return visitor.press("next", {"resources-memory_mb": "4096"})


def at_review(visitor: Visitor) -> Visitor:
    at_test_step(visitor).press("skip", {"test-skip_reason": "The sandbox is shown elsewhere."})
    return visitor.press("next")


def draft_of(visitor: Visitor) -> Blueprint:
    return Blueprint.objects.get(pk=visitor.path.split("/")[3])


def step_of(visitor: Visitor) -> str:
    return visitor.path.rsplit("/", 1)[-1]


# --- The whole way, without scripts -----------------------------------------------------------


def test_the_documents_agent_is_made_step_by_step_without_scripts(
    visitor: Visitor, caller: Caller
) -> None:
    use_template(visitor)
    assert step_of(visitor) == "basics"
    assert "Step 2 of 6" in visitor.html
    fill_basics(
        visitor,
        display_name="Customer Context Manager",
        description="Stores customer conversation history and preferences",
        tier="3",
        tags="customer, memory, sales",
    )
    assert step_of(visitor) == "capabilities"
    visitor.press("skills-add")
    row = "capabilities-skills-4-"
    visitor.press(
        "next",
        {
            f"{row}name": "analyze_sentiment",
            f"{row}description": "Analyze customer sentiment from conversation",
            f"{row}input_schema": SENTIMENT_INPUT,
            f"{row}output_schema": SENTIMENT_OUTPUT,
        },
    )
    assert step_of(visitor) == "resources"
    visitor.press("next", {"resources-memory_mb": "4096"})
    assert step_of(visitor) == "test"
    visitor.press("skip", {"test-skip_reason": "Shown in the browser test."}).press("next")
    assert step_of(visitor) == "review"
    assert "₹15,000" in visitor.html
    assert "Message queues (3)" in visitor.html
    assert "capabilities/analyze_sentiment.py" in visitor.html

    visitor.press("next")

    agent = Agent.objects.get()
    deployment = Deployment.objects.get()
    assert visitor.path == reverse("deployment", args=[deployment.pk])
    assert (agent.agent_id, agent.display_name) == (
        "WowCustomerContext",
        "Customer Context Manager",
    )
    assert (agent.tier, agent.tags) == (3, ["customer", "memory", "sales"])
    assert agent.organization == caller.organization
    spec = deployment.release.agent_spec()
    assert [capability.name for capability in spec.capabilities] == [
        "store_context",
        "retrieve_context",
        "search_context",
        "summarize_context",
        "analyze_sentiment",
    ]
    output = spec.capabilities[4].output_schema["properties"]
    assert output == {
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "confidence": {"type": "number"},
    }
    assert (spec.resources.memory_mb, spec.resources.cpu_cores) == (4096, 1)
    assert deployment.monthly_cost_inr == 15000
    assert Waiver.objects.get().reason == "Shown in the browser test."


def test_start_from_blank(visitor: Visitor) -> None:
    use_template(visitor, "blank")
    fill_basics(visitor, name="Tiny Helper")
    assert step_of(visitor) == "capabilities"
    assert draft_of(visitor).template_version == TemplateVersion.objects.get(template__slug="blank")


# --- Nothing typed is lost --------------------------------------------------------------------


def test_going_back_keeps_what_was_typed_even_if_it_is_not_valid(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("goto:basics", {"capabilities-skills-0-input_schema": "{not json"})
    assert step_of(visitor) == "basics"
    assert 'value="Customer Context Agent"' in visitor.html
    visitor.press("next")
    assert "{not json" in visitor.form()["fields"]["capabilities-skills-0-input_schema"]
    assert "not valid JSON" not in visitor.html
    visitor.press("next")
    assert step_of(visitor) == "capabilities"
    assert "This is not valid JSON: line 1, column 2" in visitor.html


def test_save_reload_and_resume(visitor: Visitor) -> None:
    use_template(visitor).press("save", {"basics-name": "Half Done"})
    assert "Draft saved" in visitor.html
    path = visitor.path
    assert 'value="Half Done"' in visitor.open(path).html
    visitor.open(reverse("home"))
    assert "Half Done" in visitor.html
    draft = Blueprint.objects.get()
    visitor.open(reverse("wizard", args=[draft.pk]))
    assert visitor.path == path


def test_a_draft_is_resumed_where_it_was_left_after_signing_in_again(
    visitor: Visitor, caller: Caller
) -> None:
    fill_basics(use_template(visitor)).press("save", {"capabilities-retention_days": "77"})
    draft = draft_of(visitor)
    visitor.client.logout()
    assert caller.user is not None
    visitor.client.force_login(caller.user)
    visitor.open(reverse("wizard", args=[draft.pk]))
    assert step_of(visitor) == "capabilities"
    assert visitor.form()["fields"]["capabilities-retention_days"] == "77"


def test_autosave_keeps_the_page_and_answers_nothing(visitor: Visitor) -> None:
    use_template(visitor)
    response = visitor.client.post(visitor.path, {"do": "autosave", "basics-name": "As Typed"})
    assert (response.status_code, response.content) == (204, b"")
    assert 'value="As Typed"' in visitor.open(visitor.path).html


def test_cancel_keeps_the_draft_and_discard_puts_it_away(visitor: Visitor) -> None:
    use_template(visitor).press("cancel", {"basics-name": "Maybe Later"})
    assert visitor.path == reverse("home")
    draft = Blueprint.objects.get()
    visitor.client.post(reverse("draft-discard", args=[draft.pk]))
    draft.refresh_from_db()
    assert draft.status == BlueprintStatus.ARCHIVED
    assert "Your drafts" not in visitor.open(reverse("home")).html
    assert visitor.open(reverse("wizard", args=[draft.pk])).status == 404


def test_two_tabs_are_two_drafts(visitor: Visitor) -> None:
    use_template(visitor).press("save", {"basics-name": "First Tab"})
    first = visitor.path
    use_template(visitor).press("save", {"basics-name": "Second Tab"})
    assert visitor.path != first
    assert 'value="First Tab"' in visitor.open(first).html


def test_another_template_keeps_the_basics_and_drops_the_rest(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    draft = draft_of(visitor)
    visitor.open(reverse("wizard-step", args=[draft.pk, "template"]))
    visitor.press("blank", form=f"/{draft.pk}/template", name="template-template")
    assert step_of(visitor) == "basics"
    draft.refresh_from_db()
    assert draft.template_version is not None
    assert draft.template_version.template.slug == "blank"
    assert set(draft.wizard_state["step_data"]) == {"template", "basics"}


# --- Each step's errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "", "This field is required."),
        ("name", "x" * 101, "at most 100 characters"),
        ("agent_id", "9 lives", "Begin with a letter"),
        ("agent_id", "ab", "3 to 64"),
        ("description", "x" * 201, "at most 200 characters"),
        ("tier", "9", "Select a valid choice"),
        ("tags", "y" * 41, "at most 40 characters"),
        ("languages", "english please", "Give a language code"),
        ("goal", "g" * 2001, "at most 2000 characters"),
    ],
)
def test_basics_say_what_is_wrong_beside_the_field(
    visitor: Visitor, field: str, value: str, sentence: str
) -> None:
    fill_basics(use_template(visitor), **{field: value})
    assert (visitor.status, step_of(visitor)) == (200, "basics")
    errors = " ".join(visitor.context["form"].errors[field])
    assert sentence in errors
    assert "aria-invalid" in visitor.html or field == "tier"


@pytest.mark.parametrize("name", ['Quote " Agent', "Line\nbreak", "{{ braces }}", "Emoji 🤖 Agent"])
def test_a_hostile_name_is_shown_and_stays_data(visitor: Visitor, name: str) -> None:
    fill_basics(use_template(visitor), name=name)
    assert visitor.status == 200
    assert step_of(visitor) in ("basics", "capabilities")


@pytest.mark.parametrize(
    ("typed", "where", "sentence"),
    [
        ({"name": "Not A Name"}, "name", "small letters"),
        ({"name": "retrieve_context"}, "name", "twice"),
        ({"input_schema": "[1]"}, "input_schema", "Write an object"),
        ({"input_schema": '{"a": "colour"}'}, "input_schema", "is not a type"),
        ({"output_schema": '{"type": "object", "required": 3}'}, "output_schema", "valid JSON Sch"),
        ({"input_schema": "[" * 90_000}, "input_schema", "less deep"),
        ({"timeout_seconds": "0"}, "timeout_seconds", "greater than or equal to 0.1"),
        ({"timeout_seconds": "601"}, "timeout_seconds", "less than or equal to 600"),
        ({"kind": "http"}, "url", "Give the address"),
        ({"kind": "builtin", "operation": ""}, "operation", "Choose what the runtime does"),
        ({"kind": "http", "url": "ftp://x"}, "url", "http"),
        ({"examples": '[{"input": 1}]'}, "examples", ""),
    ],
)
def test_a_capability_says_what_is_wrong(
    visitor: Visitor, typed: dict[str, str], where: str, sentence: str
) -> None:
    fill_basics(use_template(visitor))
    visitor.press("next", {f"capabilities-skills-3-{key}": value for key, value in typed.items()})
    assert (visitor.status, step_of(visitor)) == (200, "capabilities")
    skills = visitor.context["form"].skills
    found = str(skills.forms[3].errors.get(where, "")) + str(skills.non_form_errors())
    assert sentence in found
    assert found
    assert "Needs attention" in visitor.html or "twice" in visitor.html


def test_without_capabilities_there_is_no_agent(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    for _ in range(4):
        visitor.press("skills-remove:0")
    assert "No capabilities yet" in visitor.html
    visitor.press("next")
    assert "Add at least one capability." in visitor.html


def test_a_required_capability_is_asked_for(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("skills-remove:0").press("next")
    assert "store_context" in str(visitor.context["form"].non_field_errors())
    visitor.press("skills-add:store_context").press("next")
    assert step_of(visitor) == "resources"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_cores", "0.4"), ("cpu_cores", "4.1"), ("cpu_cores", "many"), ("memory_mb", "511"),
        ("memory_mb", "8193"), ("storage_gb", "0"), ("storage_gb", "101"),
        ("max_concurrency", "51"), ("priority", "URGENT"), ("max_attempts", "11"),
        ("operation_seconds", "601"), ("workflow_seconds", "0"), ("rate_limit_per_minute", "0"),
        ("environment", "NO_EQUALS_SIGN"), ("environment", "lower=1"),
        ("environment", "API_TOKEN=abc"), ("packages", "https://example.com/x.whl"),
    ],
)  # fmt: skip
def test_resources_outside_their_bounds_are_said_beside_the_field(
    visitor: Visitor, field: str, value: str
) -> None:
    fill_basics(use_template(visitor)).press("next")
    visitor.press("next", {f"resources-{field}": value})
    assert (visitor.status, step_of(visitor)) == (200, "resources")
    assert visitor.context["form"].errors[field]


def test_environment_and_packages_reach_the_specification(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    visitor.press(
        "next",
        {
            "resources-environment": "LOG_LEVEL=debug\nMODE = a=b",
            "resources-packages": "python-dateutil==2.9.0",
        },
    )
    spec = visitor.context["spec"]
    assert [(item.name, item.value) for item in spec.environment] == [
        ("LOG_LEVEL", "debug"),
        ("MODE", "a=b"),
    ]
    assert spec.packages == ("python-dateutil==2.9.0",)


# --- Rows -------------------------------------------------------------------------------------


def test_capabilities_move_up_and_down(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))

    def names() -> list[str]:
        return [form["name"].value() for form in visitor.context["form"].skills.forms]

    before = names()
    visitor.press("skills-down:0")
    assert names() == [before[1], before[0], *before[2:]]
    visitor.press("skills-up:3")
    assert names()[2] == before[3]
    visitor.press("skills-remove:1")
    assert before[0] not in names()


def test_nonsense_in_a_button_changes_nothing(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    fields = visitor.form()["fields"]
    for button in ("skills-remove:99", "skills-up:-1", "skills-down:²", "skills-spin:0", "x" * 900):
        response = visitor.client.post(visitor.path, {**fields, "do": button}, follow=True)
        assert response.status_code == 200
    visitor.open(draft_path(visitor, "capabilities"))
    assert len(visitor.context["form"].skills.forms) == 4


def draft_path(visitor: Visitor, step: str) -> str:
    return reverse("wizard-step", args=[Blueprint.objects.latest("created_at").pk, step])


def test_tools_are_added_tested_and_removed(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("tools-add", {"add_tool": "http-api"})
    slugs = [form["tool"].value() for form in visitor.context["form"].tools.forms]
    assert slugs[-1] == "http-api"
    place = len(slugs) - 1
    visitor.press(f"tools-test:{place}")
    assert "also needs: base_url" in visitor.html
    visitor.press("next", {f"capabilities-tools-{place}-param_base_url": "not an address"})
    assert "begins with https://" in str(visitor.context["form"].tools.forms[place].errors)
    visitor.press(f"tools-remove:{place}").press("next")
    assert step_of(visitor) == "resources"


def test_the_platforms_redis_is_connected_for_real(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("tools-test:0")
    check = visitor.context["tool_rows"][0]["check"]
    assert check["ok"] is True
    assert "Connected" in visitor.html


def test_a_secret_is_kept_by_name_and_its_value_nowhere_else(
    visitor: Visitor, caller: Caller
) -> None:
    fill_basics(use_template(visitor))
    visitor.press("secret-add", {"secret_name": "emb-key", "secret_value": "canary-7141"})
    assert Secret.objects.get().organization == caller.organization
    assert "canary-7141" not in visitor.html
    assert "canary-7141" not in str(draft_of(visitor).wizard_state)
    assert '<option value="emb-key">' in visitor.html


def test_a_secret_without_a_name_is_refused_in_words(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("secret-add", {"secret_name": "", "secret_value": "canary-7142"})
    assert not Secret.objects.exists()
    assert 'class="notice bad"' in visitor.html
    assert "canary-7142" not in visitor.html


# --- Fragments --------------------------------------------------------------------------------


def test_the_checks_follow_what_is_typed(visitor: Visitor, caller: Caller) -> None:
    use_template(visitor)
    url = reverse("wizard-live", args=[draft_of(visitor).pk, "checks"])
    query = {"basics-name": "Customer Context Agent", "basics-tier": "3"}
    html = visitor.client.get(url, query).content.decode()
    assert "Agent ID is unique" in html
    assert "Name meets naming conventions" in html
    assert "Tier 3 quota available (0/10 used)" in html
    assert 'data-suggested-id="WowCustomerContext"' in html
    Tier.objects.filter(number=3).update(quota=0)
    assert "is full" in visitor.client.get(url, query).content.decode()
    bad = visitor.client.get(url, {"basics-name": "ok", "basics-agent_id": "9"}).content.decode()
    assert "Begin with a letter" in bad
    del caller


def test_a_taken_id_is_said_as_one_types_and_at_the_end(visitor: Visitor, caller: Caller) -> None:
    at_review(visitor).press("next")
    use_template(visitor)
    url = reverse("wizard-live", args=[draft_of(visitor).pk, "checks"])
    html = visitor.client.get(url, {"basics-name": "customer context"}).content.decode()
    assert "WowCustomerContext is taken" in html
    at_review(visitor).press("next")
    assert step_of(visitor) == "review"
    assert Agent.objects.of(caller.organization).count() == 1
    assert visitor.context["problems"][0].url.endswith("/basics?check=1")


def test_the_cost_follows_every_change(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    url = reverse("wizard-live", args=[draft_of(visitor).pk, "cost"])
    fields = visitor.form()["fields"] | {"resources-memory_mb": "4096"}
    html = visitor.client.get(url, fields).content.decode()
    assert "₹15,000" in html
    assert "₹10,000" in html
    assert "₹22,000" in html
    assert "Memory usage high for tier 3. Consider tier 4." in html
    unknown = visitor.client.get(url, fields | {"resources-memory_mb": "lots"}).content.decode()
    assert "₹" not in unknown


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SENTIMENT_OUTPUT, "Valid schema: sentiment, confidence."),
        ('{"type": "object"}', "Valid schema: any fields."),
        ("{", "not valid JSON"),
        ('{"a": "nothing known"}', "is not a type"),
        ("   ", ""),
    ],
)
def test_a_schema_is_checked_as_it_is_typed(visitor: Visitor, text: str, sentence: str) -> None:
    response = visitor.client.post(
        reverse("wizard-schema"),
        {"capabilities-skills-0-input_schema": text},
        headers={"HX-Trigger-Name": "capabilities-skills-0-input_schema"},
    )
    assert response.status_code == 200
    assert sentence in response.content.decode()


def test_an_unknown_fragment_and_writing_to_one_are_refused(visitor: Visitor) -> None:
    use_template(visitor)
    draft = draft_of(visitor)
    assert visitor.open(reverse("wizard-live", args=[draft.pk, "nothing"])).status == 404
    assert visitor.client.post(reverse("wizard-live", args=[draft.pk, "cost"])).status_code == 405


# --- The test step ----------------------------------------------------------------------------


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


# --- Deploying --------------------------------------------------------------------------------


def test_pressing_deploy_twice_makes_one_agent(visitor: Visitor) -> None:
    at_review(visitor)
    path, fields = visitor.path, visitor.form()["fields"]
    first = visitor.client.post(path, {**fields, "do": "next"})
    again = visitor.client.post(path, {**fields, "do": "next"})
    assert (first.status_code, again.status_code) == (302, 302)
    assert Agent.objects.count() == Deployment.objects.count() == 1
    assert again.headers["Location"] == reverse("agent", args=["WowCustomerContext"])
    assert visitor.open(path).path == reverse("agent", args=["WowCustomerContext"])


def test_a_full_tier_says_who_can_raise_it(visitor: Visitor) -> None:
    at_review(visitor)
    Tier.objects.filter(number=3).update(quota=0)
    visitor.press("next")
    assert step_of(visitor) == "review"
    assert "admin" in str(visitor.context["form"].non_field_errors())
    assert not Agent.objects.exists()


# --- What should not be ------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["capabilities", "resources", "test", "review"])
def test_a_step_cannot_be_reached_before_those_before_it(visitor: Visitor, step: str) -> None:
    use_template(visitor)
    visitor.open(draft_path(visitor, step))
    assert step_of(visitor) == "basics"
    assert "Finish “Configure Basics” first." in visitor.html


def test_posting_to_review_does_not_jump_over_steps(visitor: Visitor) -> None:
    use_template(visitor)
    response = visitor.client.post(draft_path(visitor, "review"), {"do": "next"}, follow=True)
    assert response.redirect_chain[-1][0].endswith("/basics?check=1")
    assert not Agent.objects.exists()


def test_an_unknown_step_leads_back_and_done_does_nothing(visitor: Visitor) -> None:
    use_template(visitor)
    for step in ("done", "nowhere"):
        assert step_of(visitor.open(draft_path(visitor, step))) == "basics"
    assert visitor.client.post(draft_path(visitor, "done"), {"do": "next"}).status_code == 404


def test_a_withdrawn_template_leads_back_to_choosing(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    draft = draft_of(visitor)
    assert draft.template_version is not None
    deprecate_version(actor=None, version=draft.template_version)
    visitor.open(reverse("wizard-step", args=[draft.pk, "capabilities"]))
    assert step_of(visitor) == "template"
    assert "was withdrawn" in visitor.html
    visitor.press("blank", form=f"/{draft.pk}/template", name="template-template")
    assert 'value="Customer Context Agent"' in visitor.html


def test_an_unknown_template_is_refused_in_words(visitor: Visitor) -> None:
    response = visitor.client.post(
        reverse("wizard-start"), {"template-template": "no-such"}, follow=True
    )
    assert "There is no template" in response.content.decode()
    assert not Blueprint.objects.exists()


def test_a_tampered_state_is_no_error(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    draft = draft_of(visitor)
    path = visitor.path
    for state in (
        {"step": "nowhere"},
        {"step": "review", "step_data": {"basics": {"basics-tier": ["99"]}}},
        {"step_data": {"capabilities": {"capabilities-skills-TOTAL_FORMS": ["-7"]}}},
        {"step_data": {"capabilities": {"capabilities-skills-TOTAL_FORMS": ["999999999"]}}},
    ):
        Blueprint.objects.filter(pk=draft.pk).update(wizard_state=state)
        assert visitor.open(path).status == 200
        assert visitor.open(reverse("wizard", args=[draft.pk])).status == 200


def test_anothers_draft_is_not_found(visitor: Visitor, client: Client, caller: Caller) -> None:
    use_template(visitor)
    path = visitor.path
    for other in (make_caller(Role.ADMIN, caller.organization), make_caller(Role.ADMIN)):
        assert other.user is not None
        client.force_login(other.user)
        assert client.get(path).status_code == 404
        assert client.post(path, {"do": "next"}).status_code == 404
    assert client.get(reverse("wizard", args=[uuid.uuid4()])).status_code == 404


def test_a_viewer_may_not_open_the_wizard(client: Client) -> None:
    install()
    viewer = make_caller(Role.VIEWER)
    assert viewer.user is not None
    client.force_login(viewer.user)
    response = client.get(reverse("wizard-start"))
    assert response.status_code == 403
    assert "Ask an admin" in response.content.decode()
