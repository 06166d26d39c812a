"""How a deployment is told, in numbers and next actions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from provisioning.enums import DeploymentStatus
from provisioning.models import Deployment, DeploymentStep
from provisioning.progress import describe_accepted, describe_deployment, estimate_seconds
from provisioning.steps.registry import STEPS
from registry.models import Agent
from tests.provisioning.saga import STEP_NAMES, make_agent, make_deployment

pytestmark = pytest.mark.django_db
USUAL = sum(step.usual_seconds for step in STEPS)


def finish_steps(deployment: Deployment, *seconds: float) -> None:
    now = timezone.now()
    for position, duration in enumerate(seconds):
        DeploymentStep.objects.filter(deployment=deployment, position=position).update(
            status="completed", started_at=now - timedelta(seconds=duration), finished_at=now
        )


def test_the_answer_to_creating_an_agent() -> None:
    _, deployment = make_deployment(agent_id="WowCustomerContext")
    assert describe_accepted(deployment) == {
        "agent_id": "WowCustomerContext",
        "deployment_id": str(deployment.pk),
        "status": "provisioning",
        "provisioning_steps": [{"step": name, "status": "pending"} for name in STEP_NAMES],
        "estimated_duration_seconds": round(USUAL),
    }


def test_a_deployment_that_has_not_begun() -> None:
    _, deployment = make_deployment()
    told = describe_deployment(deployment)
    assert told == {
        "agent_id": deployment.agent.agent_id,
        "deployment_id": str(deployment.pk),
        "status": "pending",
        "steps": [
            {
                "step": step.name,
                "title": step.title,
                "status": "pending",
                "duration_seconds": None,
                "details": "",
                "error": None,
            }
            for step in STEPS
        ],
        "progress_percent": 0,
        "estimated_seconds_remaining": round(USUAL),
        "registry_status": "DRAFT",
        "error": None,
        "next_actions": ["Wait for the steps to finish, or cancel the deployment"],
    }


def test_estimates_are_medians_of_past_runs() -> None:
    assert estimate_seconds() == round(USUAL, 1)
    for seconds in (1.0, 10.0, 3.0):
        finish_steps(make_deployment()[1], seconds)
    expected = USUAL - STEPS[0].usual_seconds + 3.0
    assert estimate_seconds() == pytest.approx(expected, abs=0.1)


def test_progress_counts_time_and_says_what_remains() -> None:
    for _ in range(3):
        finish_steps(make_deployment()[1], 60, 30, 10, 0, 0, 0)
    _, deployment = make_deployment()
    assert deployment.estimated_seconds == 100
    Deployment.objects.filter(pk=deployment.pk).update(status="provisioning")
    deployment.refresh_from_db()
    finish_steps(deployment, 55)
    told = describe_deployment(deployment)
    assert (told["progress_percent"], told["estimated_seconds_remaining"]) == (60, 40)
    assert told["steps"][0]["duration_seconds"] == 55
    # A step that takes longer than usual neither overshoots nor says that nothing remains; one
    # that takes far longer makes any number a lie.
    for minutes, remaining in ((1, 13), (60, None)):
        deployment.steps.filter(position=1).update(
            status="in_progress", started_at=timezone.now() - timedelta(minutes=minutes)
        )
        told = describe_deployment(deployment)
        assert (told["progress_percent"], told["estimated_seconds_remaining"]) == (87, remaining)
    assert told["steps"][1]["duration_seconds"] == pytest.approx(3600, abs=5)
    finish_steps(deployment, 60, 30, 10, 0, 0, 0)
    told = describe_deployment(deployment)
    assert (told["progress_percent"], told["estimated_seconds_remaining"]) == (99, 1)


@pytest.mark.parametrize(
    ("status", "agent_status", "shown", "first_action"),
    [
        ("running", "draft", "completed", "Activate agent (POST /api/agents/WowX/activate)"),
        (
            "running",
            "active",
            "completed",
            "Invoke a capability (POST /api/agents/WowX/invoke/{capability})",
        ),
        (
            "rolling_back",
            "draft",
            "rolling_back",
            "Wait until everything made has been taken away",
        ),
        ("stopping", "draft", "stopping", "Wait until everything made has been taken away"),
        ("failed", "draft", "failed", "Deploy again (POST /api/agents/WowX/deploy)"),
        ("cancelled", "draft", "cancelled", "Deploy again (POST /api/agents/WowX/deploy)"),
        ("stopped", "draft", "stopped", "Deploy again (POST /api/agents/WowX/deploy)"),
        (
            "rollback_failed",
            "draft",
            "rollback_failed",
            "Wait: what is left is taken away as soon as that works",
        ),
    ],
)
def test_what_to_do_next(status: str, agent_status: str, shown: str, first_action: str) -> None:
    make_deployment(agent_id="WowX")
    Agent.objects.update(status=agent_status)
    Deployment.objects.update(status=status)
    told = describe_deployment(Deployment.objects.select_related("agent").get())
    assert told["status"] == shown
    assert told["next_actions"][0] == first_action
    assert told["registry_status"] == agent_status.upper()
    running = status == "running"
    assert told["progress_percent"] == (100 if running else 0)
    assert told["estimated_seconds_remaining"] == (0 if running else None)


def test_a_running_one_offers_what_the_guide_says() -> None:
    _, deployment = make_deployment(agent_id="WowX")
    Deployment.objects.update(status=DeploymentStatus.RUNNING)
    deployment.refresh_from_db()
    assert describe_deployment(deployment)["next_actions"] == [
        "Activate agent (POST /api/agents/WowX/activate)",
        "Run integration tests",
        "Update documentation",
    ]


def test_why_it_failed_is_told_with_what_is_left() -> None:
    _, deployment = make_deployment()
    Deployment.objects.update(
        status="rollback_failed",
        error_code="step_failed",
        error_detail="Check that Redis answers.",
        leftovers=["message queues agent.x.*"],
    )
    deployment.refresh_from_db()
    assert describe_deployment(deployment)["error"] == {
        "code": "step_failed",
        "detail": "Check that Redis answers.",
        "leftovers": ["message queues agent.x.*"],
    }
    Deployment.objects.update(error_code="")
    deployment.refresh_from_db()
    assert describe_deployment(deployment)["error"]["code"] == "cleanup_failed"


def test_describing_costs_the_same_however_many_deployments_there_were(
    django_assert_num_queries: object,
) -> None:
    caller, agent, _ = make_agent()
    make_deployment(caller)
    latest = Deployment.objects.select_related("agent", "release").first()
    assert latest is not None
    with django_assert_num_queries(2):  # type: ignore[operator]  # pytest-django's fixture
        describe_deployment(latest)
    assert agent.organization == caller.organization
