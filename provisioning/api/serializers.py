"""Shapes of what the API says about deployments."""

from typing import Any

from rest_framework import serializers

from provisioning.enums import StepStatus
from registry.enums import AgentStatus, Health

PROVISIONING_STATUSES = [
    "pending",
    "provisioning",
    "completed",
    "rolling_back",
    "failed",
    "rollback_failed",
    "cancelled",
    "stopping",
    "stopped",
]


class ProvisioningStepSerializer(serializers.Serializer[Any]):
    """One step of a deployment."""

    step = serializers.CharField()
    title = serializers.CharField()
    status = serializers.ChoiceField(choices=StepStatus.choices)
    duration_seconds = serializers.FloatField(allow_null=True)
    details = serializers.CharField()
    error = serializers.CharField(
        allow_null=True, help_text="Why it failed and what to do; kept when it was undone."
    )


class DeploymentErrorSerializer(serializers.Serializer[Any]):
    """Why a deployment did not work."""

    code = serializers.CharField()
    detail = serializers.CharField()
    leftovers = serializers.ListField(
        child=serializers.CharField(), help_text="What could not be taken away yet."
    )


class ProvisioningSerializer(serializers.Serializer[Any]):
    """How the newest deployment of an agent stands."""

    agent_id = serializers.CharField()
    deployment_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=PROVISIONING_STATUSES)
    steps = ProvisioningStepSerializer(many=True)
    progress_percent = serializers.IntegerField(min_value=0, max_value=100)
    estimated_seconds_remaining = serializers.IntegerField(
        allow_null=True,
        help_text="Null when nothing honest can be said: a step takes longer than usual, or what "
        "was made is being undone.",
    )
    registry_status = serializers.CharField(help_text="DRAFT, ACTIVE, PAUSED, …")
    error = DeploymentErrorSerializer(allow_null=True)
    next_actions = serializers.ListField(child=serializers.CharField())


class AcceptedStepSerializer(serializers.Serializer[Any]):
    """A step that will be done."""

    step = serializers.CharField()
    status = serializers.ChoiceField(choices=StepStatus.choices)


class AcceptedDeploymentSerializer(serializers.Serializer[Any]):
    """A deployment that was accepted and is under way."""

    agent_id = serializers.CharField()
    deployment_id = serializers.UUIDField()
    status = serializers.CharField()
    provisioning_steps = AcceptedStepSerializer(many=True)
    estimated_duration_seconds = serializers.IntegerField()


class AgentDeploymentStatusSerializer(serializers.Serializer[Any]):
    """An agent's state in one look."""

    agent_id = serializers.CharField()
    status = serializers.ChoiceField(choices=AgentStatus.choices)
    health = serializers.ChoiceField(choices=Health.choices)
    health_checked_at = serializers.DateTimeField(allow_null=True)
    release = serializers.IntegerField(
        allow_null=True, help_text="Number of the release that runs; null while nothing runs."
    )
    registered_at = serializers.DateTimeField(allow_null=True)
    deployment_id = serializers.UUIDField(allow_null=True)
    deployment_status = serializers.ChoiceField(choices=PROVISIONING_STATUSES, allow_null=True)
    progress_percent = serializers.IntegerField(allow_null=True)
