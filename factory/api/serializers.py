"""Shapes of the factory's requests and answers, and the agent list's query."""

from typing import Any, Final

from rest_framework import serializers

from accounts.api.serializers import StrictSerializer
from registry.enums import AgentStatus, Health
from registry.models import Agent

ORDERINGS: Final = {
    name: (name, "-id" if name.startswith("-") else "id")
    for field in ("created_at", "updated_at", "agent_id", "name", "tier")
    for name in (field, f"-{field}")
}


class AgentRequestSerializer(serializers.Serializer[Any]):
    """What an agent is asked to be. Fields that are not sent are filled by the template."""

    template_id = serializers.CharField(
        required=False, help_text="As in memory-agent; blank when it is left out."
    )
    agent_id = serializers.CharField(
        required=False, help_text="Made from the name when it is left out."
    )
    name = serializers.CharField(max_length=100)
    display_name = serializers.CharField(required=False, max_length=100)
    description = serializers.CharField(required=False, max_length=200, allow_blank=True)
    goal = serializers.CharField(required=False, max_length=2000, allow_blank=True)
    tier = serializers.IntegerField(required=False, min_value=1, max_value=5)
    tags = serializers.ListField(child=serializers.CharField(max_length=40), required=False)
    industry = serializers.CharField(required=False, max_length=80, allow_blank=True)
    domain = serializers.CharField(required=False, max_length=80, allow_blank=True)
    languages = serializers.ListField(child=serializers.CharField(), required=False)
    capabilities = serializers.ListField(
        child=serializers.JSONField(),
        required=False,
        help_text="Names of the template's capabilities, or objects. Schemas take the short form, "
        "too.",
    )
    tools = serializers.ListField(
        child=serializers.JSONField(),
        required=False,
        help_text="Names of tools, or objects with tool, parameters and the name of a secret.",
    )
    memory = serializers.DictField(required=False)
    resources = serializers.DictField(required=False)
    queues = serializers.DictField(required=False)
    policies = serializers.DictField(required=False)
    environment = serializers.DictField(child=serializers.CharField(), required=False)
    packages = serializers.ListField(child=serializers.CharField(), required=False)
    config = serializers.DictField(
        required=False, help_text="Values of the template's own configuration."
    )


class CreateAgentRequestSerializer(AgentRequestSerializer):
    """An agent to create and deploy."""

    skip_test_reason = serializers.CharField(
        required=False, max_length=500, help_text="Why the sandbox test is skipped; kept on record."
    )


class AgentPatchSerializer(serializers.Serializer[Any]):
    """How the agent is shown."""

    display_name = serializers.CharField(required=False, max_length=100)
    description = serializers.CharField(required=False, max_length=200, allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField(max_length=40), required=False)


class FindingSerializer(serializers.Serializer[Any]):
    """One thing that a rule found."""

    tier = serializers.ChoiceField(["structure", "policy", "platform"])
    rule = serializers.CharField()
    severity = serializers.ChoiceField(["error", "warning", "suggestion"])
    field = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class ReportSerializer(serializers.Serializer[Any]):
    """What validation found."""

    valid = serializers.BooleanField()
    errors = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]  # a field of that name; DRF's own attribute is not used here
    warnings = serializers.ListField(child=serializers.CharField())
    suggestions = serializers.ListField(child=serializers.CharField())
    findings = FindingSerializer(many=True)


class BreakdownSerializer(serializers.Serializer[Any]):
    """Rupees a month."""

    compute = serializers.IntegerField()
    memory = serializers.IntegerField()
    storage = serializers.IntegerField()
    network = serializers.IntegerField()
    other = serializers.IntegerField()


class CostSerializer(serializers.Serializer[Any]):
    """What an agent costs."""

    monthly_cost_inr = serializers.IntegerField()
    breakdown = BreakdownSerializer()
    comparison = serializers.DictField(
        child=serializers.IntegerField(), help_text="tier_2, tier_3 … → the total there."
    )


class StartedTestSerializer(serializers.Serializer[Any]):
    """A test that was accepted."""

    test_id = serializers.UUIDField()
    status = serializers.CharField()
    container_id = serializers.CharField()


class TemplateNameSerializer(serializers.Serializer[Any]):
    """The template version that an agent was made from."""

    id = serializers.CharField(source="template_slug")
    version = serializers.CharField(source="template_version")


class AgentSerializer(serializers.ModelSerializer[Agent]):
    """An agent in a list."""

    status = serializers.ChoiceField(choices=AgentStatus.choices)
    health = serializers.ChoiceField(choices=Health.choices)
    template = TemplateNameSerializer(source="*")
    release = serializers.IntegerField(
        source="current_release.number",
        default=None,
        allow_null=True,
        help_text="The release that runs; null while nothing runs.",
    )
    owner = serializers.CharField(source="owner.username", default=None, allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Agent
        fields = [
            "id", "agent_id", "name", "display_name", "description", "tier", "tags", "template",
            "status", "health", "health_checked_at", "registered_at", "release", "owner",
            "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class AgentPageSerializer(serializers.Serializer[Any]):
    """One page of agents."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AgentSerializer(many=True)


class ReleaseSerializer(serializers.Serializer[Any]):
    """One release."""

    number = serializers.IntegerField()
    digest = serializers.CharField()
    created_at = serializers.DateTimeField()


class AgentDetailSerializer(AgentSerializer):
    """An agent with its newest specification and its releases."""

    spec = serializers.SerializerMethodField(help_text="Of the newest release.")
    releases = serializers.SerializerMethodField(help_text="The newest twenty.")

    class Meta(AgentSerializer.Meta):
        fields = [*AgentSerializer.Meta.fields, "spec", "releases"]
        read_only_fields = fields

    def get_spec(self, agent: Agent) -> dict[str, Any] | None:
        """Return the newest release's specification."""
        return agent.releases.order_by("-number").values_list("spec", flat=True).first()

    def get_releases(self, agent: Agent) -> list[dict[str, Any]]:
        """Return the newest releases."""
        rows = agent.releases.order_by("-number").values("number", "digest", "created_at")[:20]
        return [dict(row) for row in rows]


class AgentQuerySerializer(StrictSerializer):
    """What narrows and orders the list of agents."""

    status = serializers.ChoiceField(choices=AgentStatus.choices, required=False)
    tier = serializers.IntegerField(required=False, min_value=1, max_value=5)
    tag = serializers.CharField(required=False, max_length=40)
    template = serializers.CharField(required=False, max_length=63, help_text="As in memory-agent.")
    q = serializers.CharField(required=False, max_length=100, help_text="In names or description.")
    ordering = serializers.ChoiceField(choices=sorted(ORDERINGS), default="-created_at")
    cursor = serializers.CharField(required=False, max_length=500)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=200)
