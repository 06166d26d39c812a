"""Serializers that accept only what they know."""

from typing import Any

from rest_framework import serializers


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know, naming each, instead of ignoring them."""

    def to_internal_value(self, data: Any) -> Any:
        """Validate ``data``; see DRF."""
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            unknown = sorted(str(name)[:100] for name in data.keys() - writable)
            if unknown:
                known = ", ".join(sorted(writable))
                raise serializers.ValidationError(
                    {
                        name: serializers.ErrorDetail(
                            f"There is no such field. Known fields: {known}.", code="unknown_field"
                        )
                        for name in unknown[:20]
                    }
                )
        return super().to_internal_value(data)


class SignInSerializer(StrictSerializer):
    """User name and password."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=200, trim_whitespace=False)


class RefreshSerializer(StrictSerializer):
    """A refresh token."""

    refresh = serializers.CharField(max_length=4000)


class TokensSerializer(serializers.Serializer[Any]):
    """What signing in gives."""

    access = serializers.CharField(help_text="Send it as Authorization: Bearer ….")
    refresh = serializers.CharField(help_text="Gets the next access token.")
    expires_in = serializers.IntegerField(help_text="Seconds that the access token is good for.")


class FieldProblemSerializer(serializers.Serializer[Any]):
    """What is wrong with one field."""

    attr = serializers.CharField(help_text="Dotted path of the field, as in capabilities.0.name.")
    code = serializers.CharField()
    detail = serializers.CharField(help_text="Says what to do.")


class ProblemSerializer(serializers.Serializer[Any]):
    """An error (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="For programs; stays the same when words change.")
    detail = serializers.CharField(help_text="For people; says what to do.")
    errors = FieldProblemSerializer(many=True, required=False)  # type: ignore[assignment]  # the name of the answer's field
