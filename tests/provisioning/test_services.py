"""What a person may do with deployments, and what is refused with which sentence."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, transaction

from accounts.roles import Role
from ledger.errors import Conflict, NotAllowed, NotFound
from ledger.models import AuditEntry, Transition
from ledger.transitions import transition
from provisioning.enums import DeploymentStatus, UndoReason
from provisioning.models import Deployment
from provisioning.services import (
    cancel_deployment,
    deploy_release,
    deployment_for,
    discard_agent,
    latest_deployment,
    retry_deployment,
    undeploy_agent,
)
from registry.models import Agent
from registry.services.agents import reserve_agent
from tests.builders import make_caller, make_spec
from tests.provisioning.saga import STEP_NAMES, make_agent, make_deployment

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import DjangoCaptureOnCommitCallbacks

pytestmark = pytest.mark.django_db


def move(deployment: Deployment, *statuses: DeploymentStatus) -> None:
    for status in statuses:
        transition(deployment, to=status)


def test_deploying_makes_a_pending_deployment_with_all_its_steps() -> None:
    caller, agent, release = make_agent()
    deployment = deploy_release(
        caller=caller, agent=agent, release=release, monthly_cost_inr=Decimal(15000)
    )
    assert deployment.status == DeploymentStatus.PENDING
    assert deployment.requested_by == caller.user
    assert deployment.monthly_cost_inr == 15000
    assert deployment.estimated_seconds > 0
    assert [(s.name, s.status) for s in deployment.steps.all()] == [
        (name, "pending") for name in STEP_NAMES
    ]
    assert latest_deployment(agent) == deployment
    entry = AuditEntry.objects.get(event="deployment.requested")
    assert entry.additional_data == {"agent_id": agent.agent_id, "release": 1}
    assert entry.actor == caller.user


def test_the_work_is_queued_when_the_transaction_commits(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        _, deployment = make_deployment()
        assert Deployment.objects.get(pk=deployment.pk).enqueued_at is None
    assert Deployment.objects.get(pk=deployment.pk).enqueued_at is not None


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_who_may_not_deploy_may_do_none_of_it(role: Role) -> None:
    caller, deployment = make_deployment()
    other = make_caller(role, caller.organization)
    agent, release = deployment.agent, deployment.release
    attempts: list[Callable[[], object]] = [
        lambda: deploy_release(caller=other, agent=agent, release=release),
        lambda: retry_deployment(caller=other, deployment=deployment),
        lambda: cancel_deployment(caller=other, deployment=deployment),
        lambda: undeploy_agent(caller=other, agent=agent),
        lambda: discard_agent(caller=other, agent=agent),
    ]
    for attempt in attempts:
        with pytest.raises(NotAllowed):
            attempt()
    assert deployment_for(other, deployment.pk) == deployment


def test_another_organisation_finds_nothing() -> None:
    _, deployment = make_deployment()
    stranger = make_caller()
    agent, release = deployment.agent, deployment.release
    attempts: list[Callable[[], object]] = [
        lambda: deploy_release(caller=stranger, agent=agent, release=release),
        lambda: retry_deployment(caller=stranger, deployment=deployment),
        lambda: cancel_deployment(caller=stranger, deployment=deployment),
        lambda: undeploy_agent(caller=stranger, agent=agent),
        lambda: discard_agent(caller=stranger, agent=agent),
        lambda: deployment_for(stranger, deployment.pk),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    assert Deployment.objects.get().status == DeploymentStatus.PENDING


def test_an_unknown_deployment_is_not_found() -> None:
    with pytest.raises(NotFound, match="no such deployment"):
        deployment_for(make_caller(), uuid.uuid4())


def test_a_release_of_another_agent_is_refused() -> None:
    caller, agent, _ = make_agent()
    _, _, release = make_agent(caller)
    with pytest.raises(Conflict) as caught:
        deploy_release(caller=caller, agent=agent, release=release)
    assert caught.value.code == "release_of_another_agent"


def test_a_deprecated_agent_is_not_deployed() -> None:
    caller, agent, release = make_agent()
    Agent.objects.filter(pk=agent.pk).update(status="deprecated")
    with pytest.raises(Conflict) as caught:
        deploy_release(caller=caller, agent=agent, release=release)
    assert caught.value.code == "agent_deprecated"


@pytest.mark.parametrize(
    ("way", "code", "says"),
    [
        ([], "deployment_in_progress", "is pending"),
        (["provisioning"], "deployment_in_progress", "is provisioning"),
        (["provisioning", "rolling_back"], "deployment_in_progress", "is rolling back"),
        (["provisioning", "running"], "agent_deployed", "Undeploy it first"),
        (["provisioning", "running", "stopping"], "deployment_in_progress", "is stopping"),
        (
            ["provisioning", "rolling_back", "rollback_failed"],
            "cleanup_in_progress",
            "left this behind: image x; container y",
        ),
    ],
)
def test_one_deployment_holds_an_agent(way: list[str], code: str, says: str) -> None:
    caller, deployment = make_deployment()
    move(deployment, *(DeploymentStatus(status) for status in way))
    Deployment.objects.update(leftovers=["image x", "container y"])
    attempts: list[Callable[[], object]] = [
        lambda: deploy_release(caller=caller, agent=deployment.agent, release=deployment.release),
        lambda: retry_deployment(caller=caller, deployment=deployment),
    ]
    for again in attempts:
        with pytest.raises(Conflict, match=says) as caught:
            again()
        assert caught.value.code == code
    assert Deployment.objects.count() == 1


def test_the_database_itself_refuses_a_second_owner() -> None:
    _, deployment = make_deployment()
    for status in DeploymentStatus:
        held = status not in ("failed", "cancelled", "stopped")
        fields = {
            "organization": deployment.organization,
            "agent": deployment.agent,
            "release": deployment.release,
            "driver": "process",
            "status": status,
        }
        if held:
            with pytest.raises(IntegrityError), transaction.atomic():
                Deployment.objects.create(**fields)
        else:
            Deployment.objects.create(**fields)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_retrying_deploys_the_same_release_anew(end: str) -> None:
    caller, deployment = make_deployment()
    Deployment.objects.update(monthly_cost_inr=Decimal(7))
    move(deployment, DeploymentStatus.ROLLING_BACK, DeploymentStatus(end))
    again = retry_deployment(caller=caller, deployment=deployment)
    assert again.pk != deployment.pk
    assert (again.release, again.status) == (deployment.release, "pending")
    assert again.monthly_cost_inr == 7
    assert latest_deployment(deployment.agent) == again
    assert again.instance_name != deployment.instance_name


def test_cancelling_before_it_began_ends_it_at_once() -> None:
    caller, deployment = make_deployment()
    cancelled = cancel_deployment(caller=caller, deployment=deployment)
    assert cancelled.status == DeploymentStatus.CANCELLED
    assert cancelled.undo_reason == UndoReason.CANCELLED
    assert cancelled.completed_at is not None
    assert Transition.objects.get(to_status="cancelled").actor == caller.user
    with pytest.raises(Conflict, match="is finished"):
        cancel_deployment(caller=caller, deployment=deployment)


def test_cancelling_under_way_asks_once() -> None:
    caller, deployment = make_deployment()
    move(deployment, DeploymentStatus.PROVISIONING)
    first = cancel_deployment(caller=caller, deployment=deployment)
    second = cancel_deployment(caller=caller, deployment=deployment)
    assert first.status == second.status == DeploymentStatus.PROVISIONING
    assert first.cancel_requested_at == second.cancel_requested_at is not None
    assert AuditEntry.objects.filter(event="deployment.cancelled").count() == 1


def test_cancelling_what_is_being_undone_changes_nothing() -> None:
    caller, deployment = make_deployment()
    move(deployment, DeploymentStatus.PROVISIONING, DeploymentStatus.ROLLING_BACK)
    same = cancel_deployment(caller=caller, deployment=deployment)
    assert same.status == DeploymentStatus.ROLLING_BACK
    assert same.cancel_requested_at is None


def test_cancelling_a_running_one_says_to_undeploy() -> None:
    caller, deployment = make_deployment()
    move(deployment, DeploymentStatus.PROVISIONING, DeploymentStatus.RUNNING)
    with pytest.raises(Conflict, match="Undeploy the agent"):
        cancel_deployment(caller=caller, deployment=deployment)


def test_undeploying_twice_does_it_once() -> None:
    caller, deployment = make_deployment()
    move(deployment, DeploymentStatus.PROVISIONING, DeploymentStatus.RUNNING)
    first = undeploy_agent(caller=caller, agent=deployment.agent)
    second = undeploy_agent(caller=caller, agent=deployment.agent)
    assert first == second == deployment
    assert second.status == DeploymentStatus.STOPPING
    assert Transition.objects.filter(to_status="stopping").count() == 1


def test_undeploying_what_does_not_run_is_refused() -> None:
    caller, agent, release = make_agent()
    with pytest.raises(Conflict) as caught:
        undeploy_agent(caller=caller, agent=agent)
    assert caught.value.code == "agent_not_deployed"
    deploy_release(caller=caller, agent=agent, release=release)
    with pytest.raises(Conflict) as caught:
        undeploy_agent(caller=caller, agent=agent)
    assert caught.value.code == "deployment_in_progress"


def test_discarding_frees_the_name() -> None:
    caller, deployment = make_deployment(agent_id="WowAgain")
    discard_agent(caller=caller, agent=deployment.agent)
    assert Deployment.objects.get().status == DeploymentStatus.CANCELLED
    assert deployment.agent.deleted_at is not None
    again = reserve_agent(caller=caller, spec=make_spec(agent_id="wowagain"))
    assert again.key != deployment.agent.key
    with pytest.raises(NotFound):
        discard_agent(caller=caller, agent=deployment.agent)


def test_discarding_leaves_what_could_not_be_removed_to_the_reconciler() -> None:
    caller, deployment = make_deployment()
    move(deployment, DeploymentStatus.ROLLING_BACK, DeploymentStatus.ROLLBACK_FAILED)
    discard_agent(caller=caller, agent=deployment.agent)
    row = Deployment.objects.get()
    assert row.status == DeploymentStatus.ROLLBACK_FAILED
    assert row.next_undo_at is not None
    assert Agent.objects.get().deleted_at is not None


@pytest.mark.parametrize("way", [["provisioning"], ["provisioning", "running"]])
def test_what_is_deployed_is_not_discarded(way: list[str]) -> None:
    caller, deployment = make_deployment()
    move(deployment, *(DeploymentStatus(status) for status in way))
    with pytest.raises(Conflict):
        discard_agent(caller=caller, agent=deployment.agent)
    assert Agent.objects.get().deleted_at is None
