"""The shapes of a call and its answer."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


@extend_schema_field(OpenApiTypes.OBJECT)
class _AnyObject(serializers.JSONField):
    """A JSON object of the capability's own schema."""


class InvokeResultSerializer(serializers.Serializer[Any]):
    """What the agent answered."""

    output = _AnyObject(help_text="Keeps to the capability's output schema.")
    request_id = serializers.CharField()
    duration_ms = serializers.FloatField(help_text="Around the call.")
