from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from accounts.roles import Role
from factory.enums import BlueprintStatus
from factory.models import Blueprint
from factory.services.blueprints import create_agent
from factory.services.revision import revise_agent
from factory.views.agents import finding_line
from factory.wizard.forms.resources import ResourcesForm
from ledger.errors import FieldProblem
from ledger.transitions import transition
from provisioning.enums import DeploymentStatus
from provisioning.models import Deployment
from registry.models import Agent
from registry.services.lifecycle import register_agent, unregister_agent
from templates_lib.models import TemplateVersion
from templates_lib.services import deprecate_version
from tests.builders import install, make_caller, make_organization, make_request
from tests.pages import Visitor

if TYPE_CHECKING:
    from django.test import Client

    from accounts.callers import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller() -> Caller:
    install()
    return make_caller(Role.OPERATOR)


@pytest.fixture
def visitor(client: Client, caller: Caller) -> Visitor:
    return as_visitor(client, caller)


def as_visitor(client: Client, caller: Caller) -> Visitor:
    assert caller.user is not None
    client.force_login(caller.user)
    return Visitor(client)


def make_agent(caller: Caller, **changes: object) -> tuple[Agent, Deployment]:
    return create_agent(
        caller=caller, request=make_request(**changes), skip_test_reason="Only its page matters."
    )


def end(deployment: Deployment, *path: str) -> None:
    for status in path:
        transition(deployment, to=status)


PAGES = ("/", "/agents/new", "/deployments", "/templates", "/templates/memory-agent", "/account")


# --- Every page -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("role", list(Role))
def test_each_page_opens_for_each_role_that_may(client: Client, path: str, role: str) -> None:
    install()
    visitor = as_visitor(client, make_caller(role)).open(path)
    may = path != "/agents/new" or role not in (Role.VIEWER, Role.APPROVER)
    assert visitor.status == (200 if may else 403)


@pytest.mark.parametrize("path", PAGES)
def test_who_is_not_signed_in_is_led_to_the_sign_in(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response.headers["Location"].startswith(reverse("sign-in"))


def test_unknown_pages_and_things_say_so_kindly(visitor: Visitor) -> None:
    unknown = "3f1f5f0e-8f4e-4a52-9d0c-2f6f5a1b7c11"
    for path in ("/no-such-page", "/agents/Nobody", f"/deployments/{unknown}", "/templates/none"):
        assert visitor.open(path).status == 404
        assert "Go to your agents" in visitor.html


def test_without_an_organisation_a_page_says_what_to_do(client: Client) -> None:
    caller = make_caller()
    caller.organization.memberships.all().delete()
    visitor = as_visitor(client, caller).open("/")
    assert visitor.status == 403
    assert "Ask an admin to add you to one" in visitor.html


def test_a_page_that_failed_is_no_blank_page(client: Client, caller: Caller) -> None:
    client.raise_request_exception = False
    visitor = as_visitor(client, caller)
    agent, deployment = make_agent(caller)
    type(deployment.release).objects.filter(pk=deployment.release_id).update(spec={"broken": 1})
    visitor.open(reverse("agent", args=[agent.agent_id]))
    assert visitor.status == 500
    assert "Something went wrong on our side" in visitor.html


@pytest.mark.parametrize(("driver", "shown"), [("process", True), ("docker", False)])
def test_processes_that_are_not_isolated_are_said_on_every_page(
    visitor: Visitor, settings: pytest.FixtureRequest, driver: str, *, shown: bool
) -> None:
    settings.RUNTIME_DRIVER = driver  # type: ignore[attr-defined]  # pytest-django's fixture
    assert ("not isolated" in visitor.open("/").html) is shown


def test_who_is_in_two_organisations_can_switch(visitor: Visitor, caller: Caller) -> None:
    other = make_organization("other-team")
    assert caller.user is not None
    caller.user.memberships.create(organization=other, role=Role.VIEWER)
    make_agent(caller, name="Only Here Agent")
    visitor.open("/")
    assert "switch-organization" in visitor.html
    visitor.client.post(reverse("switch-organization"), {"organization": "other-team"})
    visitor.open("/")
    assert "Other Team · viewer" in visitor.html
    assert "Only Here" not in visitor.html


# --- Agents -----------------------------------------------------------------------------------


def test_an_empty_list_says_what_to_do_first(visitor: Visitor) -> None:
    visitor.open("/")
    assert "No agents yet" in visitor.html
    assert f'href="{reverse("wizard-start")}"' in visitor.html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"Alpha", "Beta"}),
        ({"q": "alph"}, {"Alpha"}),
        ({"q": "wowbeta"}, {"Beta"}),
        ({"tier": "4"}, {"Beta"}),
        ({"tag": "red"}, {"Alpha"}),
        ({"status": "draft"}, {"Alpha", "Beta"}),
        ({"status": "active"}, set()),
        ({"status": "nonsense", "tier": "x", "page": "-1"}, {"Alpha", "Beta"}),
        ({"q": "%"}, set()),
        ({"q": "\x00"}, {"Alpha", "Beta"}),
    ],
)
def test_agents_are_searched_and_filtered(
    visitor: Visitor, caller: Caller, query: dict[str, str], found: set[str]
) -> None:
    make_agent(caller, name="Alpha", display_name="Alpha", tags=["red", "blue"], tier=3)
    make_agent(caller, name="Beta", display_name="Beta", tags=["blue"], tier=4)
    make_agent(make_caller(), name="Gamma", display_name="Gamma")
    response = visitor.client.get("/", query)
    assert {agent.display_name for agent in response.context["page"]} == found
    rows = visitor.client.get("/", query, headers={"HX-Target": "agent-rows"})
    assert "<html" not in rows.content.decode()


def test_an_agents_page_shows_what_it_is(visitor: Visitor, caller: Caller) -> None:
    agent, deployment = make_agent(caller, name="Alpha", agent_id="WowAlpha")
    visitor.open(reverse("agent", args=["wowalpha"]))
    assert visitor.status == 200
    for text in ("WowAlpha", "store_context", f"/api/agents/{agent.agent_id}/invoke", "A month"):
        assert text in visitor.html
    assert reverse("deployment", args=[deployment.pk]) in visitor.html


def test_another_organisations_agent_is_not_found(client: Client, caller: Caller) -> None:
    agent, deployment = make_agent(caller)
    stranger = as_visitor(client, make_caller())
    for path in (
        reverse("agent", args=[agent.agent_id]),
        reverse("agent", args=[agent.pk]),
        reverse("deployment", args=[deployment.pk]),
    ):
        assert stranger.open(path).status == 404
    for path in (
        reverse("agent-do", args=[agent.agent_id]),
        reverse("agent-try", args=[agent.agent_id, "store_context"]),
        reverse("deployment", args=[deployment.pk]),
    ):
        assert client.post(path, {"do": "discard", "payload": "{}"}).status_code == 404
    assert Agent.objects.present().filter(pk=agent.pk).exists()


def test_a_viewer_sees_an_agent_and_no_buttons(client: Client, caller: Caller) -> None:
    agent, _ = make_agent(caller)
    viewer = as_visitor(client, make_caller(Role.VIEWER, caller.organization))
    viewer.open(reverse("agent", args=[agent.agent_id]))
    assert viewer.context["buttons"] == []
    viewer.client.post(reverse("agent-do", args=[agent.agent_id]), {"do": "discard"})
    assert Agent.objects.present().filter(pk=agent.pk).exists()


def test_a_failed_agent_is_deployed_again_or_deleted(visitor: Visitor, caller: Caller) -> None:
    agent, deployment = make_agent(caller)
    end(deployment, DeploymentStatus.CANCELLED)
    path = reverse("agent", args=[agent.agent_id])
    visitor.open(path).press("deploy", form="/do")
    again = Deployment.objects.exclude(pk=deployment.pk).get()
    assert visitor.path == reverse("deployment", args=[again.pk])
    end(again, DeploymentStatus.CANCELLED)
    visitor.open(path).press("discard", form="/do")
    assert visitor.path == reverse("home")
    assert not Agent.objects.present().exists()


def test_a_new_release_that_was_not_tested_is_not_deployed_by_a_button(
    visitor: Visitor, caller: Caller
) -> None:
    agent, deployment = make_agent(caller)
    end(deployment, DeploymentStatus.CANCELLED)
    revise_agent(caller=caller, agent=agent, request=make_request(goal="Something else"))

    visitor.open(reverse("agent", args=[agent.agent_id])).press("deploy", form="/do")

    assert visitor.path == reverse("agent", args=[agent.agent_id])
    for text in ("has not been tested yet", "skip the test with a written reason", "API guide"):
        assert text in visitor.html
    assert list(Deployment.objects.all()) == [deployment]


def test_what_has_no_effect_yet_is_said_in_the_wizard() -> None:
    fields = ResourcesForm.base_fields
    assert "not enforced" in str(fields["storage_gb"].help_text)
    assert "does not follow it yet" in str(fields["priority"].help_text)
    assert "nothing is ended by it yet" in str(fields["workflow_seconds"].help_text)


def test_that_a_new_release_costs_the_memory_is_said_in_the_apis_description(
    client: Client,
) -> None:
    schema = client.get("/api/schema?format=json").json()
    described = schema["paths"]["/api/agents/{agent_id}"]["put"]["description"]
    assert "Undeploying deletes its memory" in " ".join(described.split())


def test_what_can_not_be_done_now_is_said(visitor: Visitor, caller: Caller) -> None:
    agent, _ = make_agent(caller)
    for verb in ("activate", "pause", "resume", "deprecate", "undeploy", "deploy"):
        response = visitor.client.post(
            reverse("agent-do", args=[agent.agent_id]), {"do": verb}, follow=True
        )
        assert response.status_code == 200
        assert 'class="notice bad"' in response.content.decode()
    response = visitor.client.post(reverse("agent-do", args=[agent.agent_id]), {"do": "fly"})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("attr", "detail", "line"),
    [
        ("user.name", "Send this field.", "user.name: Send this field."),
        ("", "The value fits none of the forms.", "The input fits none of the forms."),
        ("", "Nothing fits.", "The input: Nothing fits."),
    ],
)
def test_a_finding_on_the_whole_input_says_so(attr: str, detail: str, line: str) -> None:
    assert finding_line(FieldProblem(attr, "anyOf", detail)) == line


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ('{"a": 1,,}', "not valid JSON: line 1, column 9. Check commas and quotes."),
        ("[]", "Write an object"),
        ("", "required"),
        ("{}", ""),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_trying_a_capability_says_what_is_wrong(
    visitor: Visitor, caller: Caller, payload: str, sentence: str, headers: dict[str, str]
) -> None:
    agent, _ = make_agent(caller)
    response = visitor.client.post(
        reverse("agent-try", args=[agent.agent_id, "store_context"]),
        {"payload": payload},
        headers=headers,
    )
    html = response.content.decode()
    assert response.status_code == 200
    assert 'class="notice bad"' in html
    assert sentence in html
    assert ("<html" in html) is not bool(headers)


def test_an_unknown_capability_is_not_found(visitor: Visitor, caller: Caller) -> None:
    agent, _ = make_agent(caller)
    url = reverse("agent-try", args=[agent.agent_id, "fly_away"])
    assert visitor.client.post(url, {"payload": "{}"}).status_code == 404


# --- Deployments ------------------------------------------------------------------------------


def test_deployments_are_filtered_by_status(visitor: Visitor, caller: Caller) -> None:
    assert "No deployments" in visitor.open("/deployments").html
    _, deployment = make_agent(caller)
    make_agent(make_caller())
    assert list(visitor.open("/deployments").context["page"]) == [deployment]
    assert list(visitor.open("/deployments?status=failed").context["page"]) == []
    assert list(visitor.open("/deployments?status=nonsense").context["page"]) == [deployment]


def test_a_waiting_deployment_is_cancelled(visitor: Visitor, caller: Caller) -> None:
    _, deployment = make_agent(caller)
    path = reverse("deployment", args=[deployment.pk])
    visitor.open(path)
    assert "Look again" in visitor.html
    visitor.press("cancel", form=path)
    deployment.refresh_from_db()
    assert deployment.status == DeploymentStatus.CANCELLED
    assert "Look again" not in visitor.html


def test_a_failed_deployment_says_what_failed_and_is_retried(
    visitor: Visitor, caller: Caller
) -> None:
    _, deployment = make_agent(caller)
    fail(deployment, "provision_queues", "Redis does not answer. Start it, then retry.")
    path = reverse("deployment", args=[deployment.pk])
    visitor.open(path)
    assert "“Provisioning message queues” failed" in visitor.html
    assert "Redis does not answer" in visitor.html
    visitor.press("retry", form=path)
    assert visitor.path != path
    assert Deployment.objects.count() == 2
    stale = visitor.client.post(path, {"do": "retry"}, follow=True)
    assert 'class="notice bad"' in stale.content.decode()
    assert visitor.client.post(path, {"do": "spin"}, follow=True).status_code == 200


def fail(deployment: Deployment, step: str, sentence: str) -> None:
    row = deployment.steps.get(name=step)
    transition(row, to="in_progress")
    transition(row, to="failed", error=sentence)
    end(deployment, DeploymentStatus.PROVISIONING, DeploymentStatus.ROLLING_BACK)
    transition(row, to="undone")
    transition(deployment, to=DeploymentStatus.FAILED, error_detail=sentence)


def test_the_list_says_of_each_agent_whether_it_runs(visitor: Visitor, caller: Caller) -> None:
    agent, deployment = make_agent(caller)

    def badges() -> list[str]:
        return re.findall(r'class="badge \w*"\s+data-status="(\w+)"', visitor.open("/").html)

    assert badges() == ["pending", "draft"]
    end(deployment, DeploymentStatus.PROVISIONING, DeploymentStatus.RUNNING)
    register_agent(agent=agent, release=deployment.release, endpoint="http://127.0.0.1:1")
    assert badges() == ["unknown", "draft"]
    assert "It goes back to draft: nobody can call it" in visitor.open(agent_path(agent)).html

    unregister_agent(agent=agent)
    end(deployment, DeploymentStatus.STOPPING, DeploymentStatus.STOPPED)
    assert badges() == ["not_deployed", "draft"]
    assert "Not deployed" in visitor.html
    assert "Not deployed" in visitor.open(agent_path(agent)).html


def agent_path(agent: Agent) -> str:
    return reverse("agent", args=[agent.agent_id])


def test_the_list_of_deployments_says_why_one_failed_in_one_sentence(
    visitor: Visitor, caller: Caller
) -> None:
    _, deployment = make_agent(caller)
    fail(deployment, "register_agent", "It could not be registered. It stopped.\nTraceback")
    html = visitor.open("/deployments").html
    assert "It could not be registered." in html
    assert "It stopped" not in html


def test_discarding_a_failed_deployment_frees_the_name(visitor: Visitor, caller: Caller) -> None:
    _, deployment = make_agent(caller, name="Alpha", agent_id="WowAlpha")
    fail(deployment, "register_agent", "It broke.")
    path = reverse("deployment", args=[deployment.pk])
    visitor.open(path).press("discard", form=path)
    assert "Its name is free again" in visitor.html
    make_agent(caller, name="Alpha", agent_id="WowAlpha")


def test_editing_what_no_wizard_made_says_so(visitor: Visitor, caller: Caller) -> None:
    _, deployment = make_agent(caller)
    fail(deployment, "register_agent", "It broke.")
    path = reverse("deployment", args=[deployment.pk])
    visitor.open(path)
    assert "wizard" not in visitor.html.partition('id="main"')[2]
    answer = visitor.client.post(path, {"do": "edit"}, follow=True)
    assert "no draft to edit" in answer.content.decode()


def test_a_failed_agent_of_the_wizard_is_edited_and_deployed_under_its_name(
    visitor: Visitor,
) -> None:
    visitor.open(reverse("wizard-start"))
    visitor.press("memory-agent", form="/agents/new", name="template-template")
    visitor.press("next", {"basics-name": "Second Chance"}).press("next").press("next")
    visitor.press("skip", {"test-skip_reason": "Only what follows matters."}).press("next")
    visitor.press("next")
    deployment = Deployment.objects.get()
    fail(deployment, "create_container", "The port is taken.")
    path = reverse("deployment", args=[deployment.pk])
    visitor.open(path)
    assert "Edit gives this agent up and opens its settings as a draft" in visitor.html
    visitor.press("edit", form=path)
    assert visitor.path.endswith("/review")
    review = visitor.path
    visitor.open(path)
    assert "This agent was taken back into a draft" in visitor.html
    assert "was deleted since" not in visitor.html
    assert f'href="{review.removesuffix("/review")}"' in visitor.html
    visitor.open(review)
    visitor.press("next")
    agent = Agent.objects.present().get()
    assert (agent.agent_id, agent.name) == ("WowSecondChance", "Second Chance")
    assert visitor.path == reverse("deployment", args=[agent.deployments.get().pk])
    visitor.open(path)
    assert "The draft is not among your open ones any more" in visitor.html


def test_of_editing_all_happens_or_nothing(visitor: Visitor, caller: Caller) -> None:
    agent, deployment = make_agent(caller)
    fail(deployment, "create_container", "The port is taken.")
    too_large = {"step_data": {"basics": {"basics-goal": ["x" * 2_000_000]}}}
    Blueprint.objects.update(wizard_state=too_large)
    path = reverse("deployment", args=[deployment.pk])

    answer = visitor.client.post(path, {"do": "edit"}, follow=True)

    assert 'class="notice bad"' in answer.content.decode()
    assert Agent.objects.present().get() == agent
    draft = Blueprint.objects.get()
    assert (draft.agent, draft.status) == (agent, BlueprintStatus.DEPLOYED)


# --- Templates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"memory-agent", "blank"}),
        ({"q": "semantic search"}, {"memory-agent"}),
        ({"category": "memory"}, {"memory-agent"}),
        ({"complexity": "high"}, {"blank"}),
        ({"tier": "3"}, {"memory-agent"}),
        ({"q": "submarine"}, set()),
        ({"category": "nonsense"}, {"memory-agent", "blank"}),
    ],
)
@pytest.mark.parametrize("path", ["/templates", "/agents/new"])
def test_templates_are_searched_and_filtered(
    visitor: Visitor, path: str, query: dict[str, str], found: set[str]
) -> None:
    response = visitor.client.get(path, query)
    assert {card.template.slug for card in response.context["cards"]} == found
    assert ("No template fits" in response.content.decode()) is not bool(found)
    part = visitor.client.get(path, query, headers={"HX-Target": "template-cards"})
    assert "<html" not in part.content.decode()


def test_a_templates_page_tells_all_of_it(visitor: Visitor) -> None:
    visitor.open("/templates/memory-agent")
    for text in ("Use Template", "Best practices", "health_check", "store_context", "Changelog"):
        assert text in visitor.html


def test_a_withdrawn_template_is_shown_and_not_offered(visitor: Visitor) -> None:
    for version in TemplateVersion.objects.all():
        deprecate_version(actor=None, version=version)
    visitor.open("/templates/memory-agent")
    assert "Deprecated" in visitor.html
    assert "Use Template" not in visitor.html
    assert "No template is published yet" in visitor.open("/templates").html
