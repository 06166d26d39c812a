"""What a deployment's page says at each moment of it, in words."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.roles import Role
from ledger import events
from ledger.transitions import transition
from provisioning.enums import DeploymentStatus, StepStatus
from provisioning.models import Deployment, DeploymentStep
from provisioning.services import retry_deployment
from provisioning.steps.registry import STEPS
from registry.enums import Health
from registry.services.agents import delete_agent, record_health
from tests.builders import install, make_caller
from tests.factory.test_pages import as_visitor, make_agent

if TYPE_CHECKING:
    from django.test import Client

    from accounts.callers import Caller
    from tests.pages import Visitor

pytestmark = pytest.mark.django_db
_NAMES = [step.name for step in STEPS]


@pytest.fixture
def caller() -> Caller:
    install()
    return make_caller(Role.OPERATOR)


@pytest.fixture
def visitor(client: Client, caller: Caller) -> Visitor:
    return as_visitor(client, caller)


@pytest.fixture
def deployment(caller: Caller) -> Deployment:
    return make_agent(caller, name="Alpha", agent_id="WowAlpha")[1]


def step(deployment: Deployment, name: str) -> DeploymentStep:
    return deployment.steps.get(name=name)


def begin(deployment: Deployment, name: str, *, ago: float = 0) -> None:
    if deployment.status == DeploymentStatus.PENDING:
        transition(deployment, to=DeploymentStatus.PROVISIONING)
    started = timezone.now() - timedelta(seconds=ago)
    transition(step(deployment, name), to=StepStatus.IN_PROGRESS, started_at=started, attempt=1)


def do(deployment: Deployment, *names: str) -> None:
    for name in names:
        begin(deployment, name, ago=2)
        transition(step(deployment, name), to=StepStatus.COMPLETED, finished_at=timezone.now())


def fail(deployment: Deployment, name: str, sentence: str) -> None:
    begin(deployment, name, ago=3)
    transition(
        step(deployment, name), to=StepStatus.FAILED, error=sentence, finished_at=timezone.now()
    )
    transition(deployment, to=DeploymentStatus.ROLLING_BACK, error_detail=sentence)


def undo(deployment: Deployment, *names: str) -> None:
    for name in names:
        transition(step(deployment, name), to=StepStatus.UNDONE)


def look(visitor: Visitor, deployment: Deployment) -> str:
    visitor.open(reverse("deployment", args=[deployment.pk]))
    assert visitor.status == 200
    return " ".join(re.sub(r"<[^>]+>", " ", visitor.html.partition('id="main"')[2]).split())


def states(visitor: Visitor) -> list[str]:
    return re.findall(r'data-state="(\w+)"', visitor.html)


def heading(visitor: Visitor) -> str:
    found = re.search(r"<h1>(.*?)</h1>", visitor.html)
    assert found is not None
    title = re.search(r"<title>(.*?)</title>", visitor.html)
    assert title is not None
    assert found[1] in title[1]
    return found[1]


def test_the_heading_says_what_became_of_it(visitor: Visitor, deployment: Deployment) -> None:
    said = {}
    for status in (
        DeploymentStatus.PENDING,
        DeploymentStatus.PROVISIONING,
        DeploymentStatus.RUNNING,
        DeploymentStatus.STOPPING,
        DeploymentStatus.ROLLBACK_FAILED,
        DeploymentStatus.STOPPING,
        DeploymentStatus.STOPPED,
    ):
        if status != DeploymentStatus.PENDING:
            transition(deployment, to=status)
        look(visitor, deployment)
        said[status] = heading(visitor)
    assert said == {
        DeploymentStatus.PENDING: "Deploying Agent: WowAlpha",
        DeploymentStatus.PROVISIONING: "Deploying Agent: WowAlpha",
        DeploymentStatus.RUNNING: "Deployed Agent: WowAlpha",
        DeploymentStatus.STOPPING: "Undeploying Agent: WowAlpha",
        DeploymentStatus.ROLLBACK_FAILED: "Something of WowAlpha could not be removed yet",
        DeploymentStatus.STOPPED: "Undeployed Agent: WowAlpha",
    }


def test_each_undo_is_seen_while_it_happens(visitor: Visitor, deployment: Deployment) -> None:
    do(deployment, "build_image", "create_container")
    fail(deployment, "provision_queues", "Redis does not answer. Start it, then retry.")

    text = look(visitor, deployment)
    assert heading(visitor) == "Undoing the deployment of WowAlpha"
    assert states(visitor) == ["done", "done", "failed", "never", "never", "never"]
    assert "0 of 3 steps undone" in text
    assert "remaining" not in text

    undo(deployment, "provision_queues")
    events.publish("deployment", deployment.pk, "undoing", {"step": "create_container"})
    text = look(visitor, deployment)
    assert states(visitor) == ["done", "undoing", "failed", "never", "never", "never"]
    assert "Failed after 3.0 s, undone" in text
    assert "1 of 3 steps undone" in text

    events.publish("deployment", deployment.pk, "undo_failed", {"step": "create_container"})
    transition(deployment, to=DeploymentStatus.ROLLBACK_FAILED, leftovers=["container af-alpha"])
    text = look(visitor, deployment)
    assert states(visitor)[1] == "left"
    assert "container af-alpha" in text

    transition(deployment, to=DeploymentStatus.ROLLING_BACK)
    undo(deployment, "create_container", "build_image")
    transition(deployment, to=DeploymentStatus.FAILED)
    text = look(visitor, deployment)
    assert heading(visitor) == "Deployment of WowAlpha failed"
    assert states(visitor) == ["undone", "undone", "failed", "never", "never", "never"]
    assert "“Provisioning message queues” failed Redis does not answer" in text
    assert "Nothing is left" in text
    assert f"the platform's log under deployment {deployment.pk}" in text
    # How long each took stays to be read after it was undone.
    assert "Done in 2.0 s, undone" in text
    assert "Failed after 3.0 s, undone" in text
    assert 'role="progressbar"' not in visitor.html


def test_a_step_that_hangs_counts_on_and_promises_nothing(
    visitor: Visitor, deployment: Deployment
) -> None:
    begin(deployment, "build_image", ago=1)
    assert "Estimated time remaining" in look(visitor, deployment)
    assert visitor.context["told"]["estimated_seconds_remaining"] > 0

    DeploymentStep.objects.filter(deployment=deployment, name="build_image").update(
        started_at=timezone.now() - timedelta(seconds=75)
    )
    text = look(visitor, deployment)
    assert "This step takes longer than usual" in text
    assert "remaining" not in text
    assert "Working 1 min 15 s" in text
    assert 'data-elapsed="75' in visitor.html


def test_between_two_steps_as_well_a_long_wait_promises_nothing(
    visitor: Visitor, deployment: Deployment
) -> None:
    do(deployment, "build_image")
    assert "Estimated time remaining" in look(visitor, deployment)

    long_ago = timezone.now() - timedelta(seconds=30)
    DeploymentStep.objects.filter(deployment=deployment, name="build_image").update(
        started_at=long_ago, finished_at=long_ago
    )
    text = look(visitor, deployment)
    assert "takes longer than usual until the next step begins" in text
    assert "remaining" not in text


def test_a_step_that_is_tried_again_says_why(visitor: Visitor, deployment: Deployment) -> None:
    begin(deployment, "build_image")
    DeploymentStep.objects.filter(deployment=deployment, name="build_image").update(attempt=2)
    reason = "The Docker engine does not answer."
    events.publish(
        "deployment", deployment.pk, "retrying", {"step": "build_image", "reason": reason}
    )
    text = look(visitor, deployment)
    assert f"It did not work at once: try 2 of 4. {reason}" in text


def test_a_deployment_that_no_worker_takes_says_so(
    visitor: Visitor, deployment: Deployment
) -> None:
    assert "Waiting for a worker" not in look(visitor, deployment)
    Deployment.objects.filter(pk=deployment.pk).update(
        created_at=timezone.now() - timedelta(minutes=1)
    )
    assert "Waiting for a worker longer than usual" in look(visitor, deployment)


def test_what_the_agent_wrote_stands_apart_from_the_sentence(
    visitor: Visitor, deployment: Deployment
) -> None:
    do(deployment, *_NAMES[:-1])
    sentence = "The agent stopped with exit code 1."
    fail(deployment, "health_check", f"{sentence} Its last output:\n<boom>\nsecond line")
    look(visitor, deployment)
    assert visitor.context["failure"].reason == sentence
    assert visitor.context["failure"].output == "<boom>\nsecond line"
    assert "&lt;boom&gt;" in visitor.html


def test_a_running_deployment_says_how_the_agent_is(
    visitor: Visitor, deployment: Deployment
) -> None:
    do(deployment, *_NAMES)
    transition(deployment, to=DeploymentStatus.RUNNING)
    record_health(agent=deployment.agent, health=Health.DEGRADED, detail={})
    text = look(visitor, deployment)
    assert "Agent WowAlpha created successfully!" in text
    assert "registered as DRAFT and degraded" in text


def test_only_the_newest_deployment_of_an_agent_that_is_there_has_buttons(
    visitor: Visitor, caller: Caller, deployment: Deployment
) -> None:
    transition(deployment, to=DeploymentStatus.CANCELLED, error_code="cancelled")
    assert "Retry deploys the same release once more" in look(visitor, deployment)

    again = retry_deployment(caller=caller, deployment=deployment)
    assert "Retry" not in look(visitor, deployment)

    transition(again, to=DeploymentStatus.CANCELLED)
    delete_agent(caller=caller, agent=again.agent)
    text = look(visitor, again)
    assert "This agent was deleted since" in text
    assert "Retry" not in text
    assert "Go to the agent" not in text


def test_a_viewer_sees_a_failure_and_no_buttons(
    client: Client, caller: Caller, deployment: Deployment
) -> None:
    fail(deployment, "build_image", "It does not build.")
    viewer = as_visitor(client, make_caller(Role.VIEWER, caller.organization))
    text = look(viewer, deployment)
    assert "It does not build." in text
    assert 'name="do"' not in viewer.html
