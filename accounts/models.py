"""Users, organisations, memberships and API tokens."""

import uuid
from typing import ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models
from knox.models import AbstractAuthToken, AuthTokenManager

from accounts.roles import Role


class User(AbstractUser):  # type: ignore[django-manager-missing]  # knox ships no types
    """A person who signs in. Rights come from memberships, not from Django's groups."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    must_change_password = models.BooleanField(
        default=False, help_text="Asks for a new password at the next sign-in."
    )

    class Meta(AbstractUser.Meta):
        pass


class Organization(models.Model):  # type: ignore[django-manager-missing]  # knox ships no types
    """Everything that an operator makes belongs to one organisation and stays inside it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(
        max_length=40,
        unique=True,
        validators=[
            RegexValidator(
                r"^[a-z0-9][a-z0-9-]*$", "Use small letters, digits and hyphens, as in my-team."
            )
        ],
    )
    name = models.CharField(max_length=100)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="accounts.Membership", related_name="organizations"
    )

    class Meta:
        verbose_name = "organisation"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in an organisation."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="memberships",
        verbose_name="organisation",
    )
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["organization__name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "organization"], name="accounts_membership_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.organization}: {self.role}"


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox ships no types
    """A long-lived token of one person for one organisation. Only its digest is kept."""

    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="api_tokens",
        verbose_name="organisation",
    )
    name = models.CharField(max_length=100, help_text="What the token is for.")

    objects: ClassVar[models.Manager[Self]] = AuthTokenManager()

    class Meta:
        verbose_name = "API token"
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key}…)"
