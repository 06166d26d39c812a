"""What the library's API takes, and the documentation of what it gives."""

from typing import Any

from rest_framework import serializers

from accounts.api.serializers import StrictSerializer
from templates_lib.enums import Category, Complexity


class TemplateFilterSerializer(StrictSerializer):
    """How the list can be narrowed; everything that is given must match."""

    category = serializers.ChoiceField(Category.choices, required=False)
    complexity = serializers.ChoiceField(Complexity.choices, required=False)
    tier = serializers.IntegerField(
        min_value=1, max_value=5, required=False, help_text="The recommended tier."
    )
    use_case = serializers.CharField(
        max_length=100, required=False, help_text="Part of the use case, in any case."
    )
    q = serializers.CharField(
        max_length=100,
        required=False,
        help_text="Words that name, description, use case, capabilities or tools contain.",
    )


class ResourceDefaultsSerializer(serializers.Serializer[Any]):
    """What an agent of the template is given."""

    cpu_cores = serializers.FloatField()
    memory_mb = serializers.IntegerField()
    storage_gb = serializers.IntegerField()


class TemplateSerializer(serializers.Serializer[Any]):
    """A template in the list."""

    id = serializers.SlugField()
    name = serializers.CharField()
    description = serializers.CharField()
    use_case = serializers.CharField()
    category = serializers.ChoiceField(Category.choices)
    icon = serializers.CharField(help_text="Name of a Material Symbol.")
    complexity = serializers.ChoiceField(Complexity.choices)
    estimated_time = serializers.CharField()
    tier_recommendation = serializers.IntegerField(min_value=1, max_value=5)
    default_capabilities = serializers.ListField(
        child=serializers.CharField(), help_text="Short labels, as in store."
    )
    default_tools = serializers.ListField(child=serializers.CharField())
    required_capabilities = serializers.ListField(
        child=serializers.CharField(), help_text="Names of capabilities that can't be removed."
    )
    optional_capabilities = serializers.ListField(
        child=serializers.CharField(), help_text="Names of capabilities that can be added."
    )
    dependencies = serializers.ListField(child=serializers.CharField())
    resource_defaults = ResourceDefaultsSerializer()
    config_schema = serializers.DictField(help_text="JSON Schema of the configuration.")
    version = serializers.CharField()
    deprecated = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    usage_count = serializers.IntegerField(min_value=0, help_text="Agents made from it so far.")


class TemplateListSerializer(serializers.Serializer[Any]):
    """All templates that match, in the order of the library."""

    templates = TemplateSerializer(many=True)


class TemplateDetailSerializer(TemplateSerializer):
    """A template with everything its preview shows."""

    summary = serializers.CharField(help_text="The list's description.")
    capabilities = serializers.ListField(
        child=serializers.DictField(), help_text="Default capabilities with their schemas."
    )
    additional_capabilities = serializers.ListField(
        child=serializers.DictField(), help_text="Optional capabilities with their schemas."
    )
    tools = serializers.ListField(child=serializers.DictField())
    defaults = serializers.DictField(help_text="What fills the fields that are not sent.")
    scenarios = serializers.ListField(child=serializers.DictField())
    best_practices = serializers.ListField(child=serializers.CharField())
    examples = serializers.ListField(child=serializers.DictField())
    changelog = serializers.CharField(allow_blank=True)
    published_at = serializers.DateTimeField(allow_null=True)
