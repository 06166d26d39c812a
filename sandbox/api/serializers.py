"""The shapes of a test's answers."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.api.serializers import StrictSerializer
from sandbox.enums import Verdict

SANDBOX_STATUSES = ["queued", "running", "completed", "errored", "cancelled"]


@extend_schema_field(OpenApiTypes.OBJECT)
class _AnyObject(serializers.JSONField):
    """A JSON object of the capability's own schema."""


class DifferenceSerializer(serializers.Serializer[Any]):
    """One place where the output is not what was expected."""

    path = serializers.CharField(help_text="As in items[0].id; output for the whole.")
    expected = serializers.JSONField()
    actual = serializers.JSONField()
    sentence = serializers.CharField()


class ScenarioResultSerializer(serializers.Serializer[Any]):
    """What came of one scenario."""

    scenario = serializers.CharField()
    position = serializers.IntegerField()
    capability = serializers.CharField()
    status = serializers.ChoiceField(Verdict.choices)
    duration_ms = serializers.FloatField(allow_null=True, help_text="Around the call.")
    memory_mb = serializers.FloatField(allow_null=True)
    input = _AnyObject()
    expected_output = _AnyObject(allow_null=True)
    output = _AnyObject(allow_null=True)
    differences = DifferenceSerializer(many=True)
    error = serializers.CharField(allow_null=True)
    logs = serializers.ListField(child=serializers.CharField())


class TestErrorSerializer(serializers.Serializer[Any]):
    """Why a test could not be carried out."""

    code = serializers.CharField()
    detail = serializers.CharField(help_text="Says what to do.")


class TestSerializer(serializers.Serializer[Any]):
    """A test and its results so far."""

    test_id = serializers.UUIDField()
    status = serializers.ChoiceField(SANDBOX_STATUSES)
    passed = serializers.BooleanField(help_text="Every scenario passed.")
    container_id = serializers.CharField()
    digest = serializers.CharField(help_text="Of the specification under test.")
    driver = serializers.CharField()
    cancel_requested = serializers.BooleanField()
    error = TestErrorSerializer(allow_null=True)
    ready_ms = serializers.FloatField(allow_null=True, help_text="Start until ready.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    results = ScenarioResultSerializer(many=True)


class NoBodySerializer(StrictSerializer):
    """A request that takes no fields."""
