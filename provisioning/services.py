"""Deploy, retry, cancel, undeploy and discard agents, and find their deployments."""

from decimal import Decimal
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.callers import Caller
from accounts.roles import Action
from ledger import audit
from ledger.errors import Conflict, NotFound
from ledger.transitions import transition
from provisioning import pipeline
from provisioning.engine import CANCELLED
from provisioning.enums import TERMINAL, DeploymentStatus, UndoReason
from provisioning.models import Deployment, DeploymentStep
from provisioning.progress import describe_accepted, describe_deployment, estimate_seconds
from provisioning.steps.registry import STEPS
from registry.enums import AgentStatus
from registry.models import Agent, Release
from registry.services.agents import delete_agent

__all__ = [
    "cancel_deployment",
    "deploy_release",
    "deployment_for",
    "describe_accepted",
    "describe_deployment",
    "discard_agent",
    "estimate_seconds",
    "latest_deployment",
    "retry_deployment",
    "undeploy_agent",
]

_ONE_PER_AGENT: Final = "provisioning_one_per_agent"


def deploy_release(
    *,
    caller: Caller,
    agent: Agent,
    release: Release,
    monthly_cost_inr: Decimal | None = None,
) -> Deployment:
    """Make the rows of a new deployment and queue its work when the transaction commits.

    When the queue is away the deployment waits as pending and is picked up once it is back.

    Raises:
        NotAllowed: the caller may not deploy.
        NotFound: the agent is not the caller's, or was deleted.
        Conflict: ``agent_deployed``, ``deployment_in_progress``, ``cleanup_in_progress``,
            ``agent_deprecated`` or ``release_of_another_agent``.

    """
    caller.require(Action.DEPLOY_AGENTS)
    with transaction.atomic():
        locked = _lock(caller, agent)
        if locked.status == AgentStatus.DEPRECATED:
            raise Conflict(
                "agent_deprecated",
                "This agent is deprecated. Create a new one instead of deploying it.",
            )
        if release.agent_id != agent.pk:
            raise Conflict("release_of_another_agent", "This release is of another agent.")
        try:
            with transaction.atomic():
                deployment = Deployment.objects.create(
                    organization=caller.organization,
                    agent=agent,
                    release=release,
                    driver=settings.RUNTIME_DRIVER,
                    requested_by=caller.user,
                    estimated_seconds=estimate_seconds(),
                    monthly_cost_inr=monthly_cost_inr,
                )
        except IntegrityError as error:
            if _ONE_PER_AGENT not in str(error):
                raise
            raise _in_the_way(agent) from None
        DeploymentStep.objects.bulk_create(
            DeploymentStep(deployment=deployment, name=step.name, position=position)
            for position, step in enumerate(STEPS)
        )
        audit.record(
            "deployment.requested",
            deployment,
            actor=caller.user,
            detail={"agent_id": agent.agent_id, "release": release.number},
        )
        pipeline.enqueue_steps(deployment.pk)
    return deployment


def retry_deployment(*, caller: Caller, deployment: Deployment) -> Deployment:
    """Deploy the same release once more, as a new deployment.

    Raises:
        NotAllowed: the caller may not deploy.
        NotFound: the deployment is not the caller's, or its agent was deleted.
        Conflict: it has not failed, or the agent has another deployment by now.

    """
    caller.require(Action.DEPLOY_AGENTS)
    row = deployment_for(caller, deployment.pk)
    if row.status not in TERMINAL:
        raise _in_the_way(row.agent)
    return deploy_release(
        caller=caller,
        agent=row.agent,
        release=row.release,
        monthly_cost_inr=row.monthly_cost_inr,
    )


def cancel_deployment(*, caller: Caller, deployment: Deployment) -> Deployment:
    """Stop deploying: what has not begun ends at once, what has is undone after its present step.

    Cancelling again, or a deployment that is being undone already, changes nothing.

    Raises:
        NotAllowed: the caller may not deploy.
        NotFound: the deployment is not the caller's.
        Conflict: ``deployment_finished``; it runs or has ended.

    """
    caller.require(Action.DEPLOY_AGENTS)
    with transaction.atomic():
        row = _lock_deployment(caller, deployment)
        if row.status in (DeploymentStatus.ROLLING_BACK, DeploymentStatus.ROLLBACK_FAILED):
            return row
        if row.status not in (DeploymentStatus.PENDING, DeploymentStatus.PROVISIONING):
            raise Conflict(
                "deployment_finished",
                "This deployment is finished. Undeploy the agent to stop it.",
            )
        if row.cancel_requested_at is not None:
            return row
        row.cancel_requested_at = timezone.now()
        row.save(update_fields=["cancel_requested_at"])
        audit.record("deployment.cancelled", row, actor=caller.user)
        if row.status == DeploymentStatus.PENDING:
            transition(
                row,
                to=DeploymentStatus.CANCELLED,
                actor=caller.user,
                reason="Cancelled before it started.",
                undo_reason=UndoReason.CANCELLED,
                error_code=CANCELLED,
                error_detail="Cancelled before anything was made.",
                completed_at=timezone.now(),
            )
    return row


def undeploy_agent(*, caller: Caller, agent: Agent) -> Deployment:
    """Stop the running agent and take away everything that its deployment made.

    That includes its queues and what it remembers; the agent is a draft afterwards and can be
    deployed again, with an empty memory. Undeploying twice does it once.

    Raises:
        NotAllowed: the caller may not deploy.
        NotFound: the agent is not the caller's, or was deleted.
        Conflict: ``agent_not_deployed``, or another deployment of it is under way.

    """
    caller.require(Action.DEPLOY_AGENTS)
    with transaction.atomic():
        _lock(caller, agent)
        row = Deployment.objects.holding().select_for_update(of=("self",)).filter(agent=agent)
        deployment = row.select_related("agent__organization", "release").first()
        if deployment is None:
            raise Conflict("agent_not_deployed", "Nothing of this agent is running.")
        if deployment.undo_reason == UndoReason.UNDEPLOYED:
            return deployment
        if deployment.status != DeploymentStatus.RUNNING:
            raise _in_the_way(agent)
        transition(
            deployment,
            to=DeploymentStatus.STOPPING,
            actor=caller.user,
            reason="Undeployed.",
            undo_reason=UndoReason.UNDEPLOYED,
            undo_attempts=0,
        )
        audit.record("agent.undeployed", agent, actor=caller.user)
        pipeline.enqueue_undo(deployment.pk)
    return deployment


def discard_agent(*, caller: Caller, agent: Agent) -> None:
    """Delete the agent; its name is free at once.

    A deployment that has not begun is cancelled. What a failed rollback left is taken away in the
    background: the agent's things are named after the agent, not after its name.

    Raises:
        NotAllowed: the caller may not make agents, or it would take stopping a deployment.
        NotFound: the agent is not the caller's, or is deleted already.
        Conflict: ``agent_deployed`` or ``deployment_in_progress``; undeploy or cancel it first.

    """
    caller.require(Action.CREATE_AGENTS)
    with transaction.atomic():
        locked = _lock(caller, agent)
        deployment = Deployment.objects.holding().filter(agent=agent).first()
        if deployment is not None and deployment.status == DeploymentStatus.PENDING:
            cancel_deployment(caller=caller, deployment=deployment)
        elif deployment is not None and deployment.status == DeploymentStatus.ROLLBACK_FAILED:
            Deployment.objects.filter(pk=deployment.pk).update(next_undo_at=timezone.now())
        elif deployment is not None:
            raise _in_the_way(agent)
        delete_agent(caller=caller, agent=locked)
        agent.deleted_at = locked.deleted_at


def latest_deployment(agent: Agent) -> Deployment | None:
    """Return the agent's newest deployment, with its agent and release."""
    return (
        Deployment.objects.filter(agent=agent)
        .select_related("agent", "release", "organization")
        .defer("release__files")
        .first()
    )


def deployment_for(caller: Caller, deployment_id: UUID) -> Deployment:
    """Return the caller's deployment.

    Raises:
        NotFound: ``deployment_not_found``; another organisation's looks the same.

    """
    caller.require(Action.VIEW)
    found = (
        Deployment.objects.of(caller.organization)
        .select_related("agent", "release", "organization")
        .defer("release__files")
        .filter(pk=deployment_id)
        .first()
    )
    if found is None:
        raise NotFound("deployment_not_found", "There is no such deployment.")
    return found


def _lock(caller: Caller, agent: Agent) -> Agent:
    """Return the agent's row, held until the transaction ends: one decision at a time."""
    locked = (
        Agent.objects.of(caller.organization)
        .select_for_update(of=("self",))
        .filter(pk=agent.pk)
        .first()
    )
    if locked is None:
        raise NotFound("agent_not_found", "There is no such agent. Look it up in the agent list.")
    return locked


def _lock_deployment(caller: Caller, deployment: Deployment) -> Deployment:
    locked = (
        Deployment.objects.of(caller.organization)
        .select_for_update(of=("self",))
        .select_related("agent", "release", "organization")
        .filter(pk=deployment.pk)
        .first()
    )
    if locked is None:
        raise NotFound("deployment_not_found", "There is no such deployment.")
    return locked


def _in_the_way(agent: Agent) -> Conflict:
    """Return the error that says which deployment holds the agent and what to do about it."""
    holder = Deployment.objects.holding().filter(agent=agent).first()
    if holder is None:
        return Conflict(
            "deployment_in_progress", "Another deployment of this agent just ended. Try again."
        )
    if holder.status == DeploymentStatus.RUNNING:
        return Conflict("agent_deployed", "This agent is deployed already. Undeploy it first.")
    if holder.status == DeploymentStatus.ROLLBACK_FAILED:
        left = "; ".join(str(item) for item in holder.leftovers) or "something"
        return Conflict(
            "cleanup_in_progress",
            f"The last deployment left this behind: {left}. It is taken away by itself as soon as "
            "that works. Try again then, or delete the agent: its name is free at once.",
        )
    return Conflict(
        "deployment_in_progress",
        f"A deployment of this agent is {holder.get_status_display().lower()}. "
        "Wait until it has ended, or cancel it.",
    )
