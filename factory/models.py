"""Blueprints, tiers and the price book."""

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from accounts.models import Organization
from factory.enums import BLUEPRINT_TRANSITIONS, BlueprintStatus
from registry.models import Agent
from templates_lib.models import TemplateVersion


class BlueprintQuerySet(models.QuerySet["Blueprint"]):
    """Reusable reads."""

    def of(self, organization: Organization) -> "BlueprintQuerySet":
        """Blueprints of one organisation."""
        return self.filter(organization=organization)


class Blueprint(models.Model):
    """What an operator asked for: exactly the fields that were sent, before any default."""

    TRANSITIONS = BLUEPRINT_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        related_name="blueprints",
        verbose_name="organisation",
    )
    template_version = models.ForeignKey(
        TemplateVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="blueprints"
    )
    agent = models.ForeignKey(
        Agent, null=True, blank=True, on_delete=models.SET_NULL, related_name="blueprints"
    )
    name = models.CharField(max_length=100, blank=True)
    request = models.JSONField(default=dict, help_text="The fields that were sent, as sent.")
    wizard_state = models.JSONField(
        default=dict, blank=True, help_text="The wizard's pages so far, to be resumed."
    )
    status = models.CharField(
        max_length=20,
        choices=BlueprintStatus.choices,
        default=BlueprintStatus.DRAFT,
        editable=False,
    )
    findings = models.JSONField(default=list, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="blueprints"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = BlueprintQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at", "-id"]

    def __str__(self) -> str:
        return self.name or "unnamed draft"


class IdempotencyKey(models.Model):
    """One accepted request of an organisation, so that sending it twice does it once."""

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", verbose_name="organisation"
    )
    key = models.CharField(max_length=200)
    request_digest = models.CharField(max_length=64)
    deployment_id = models.UUIDField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "key"], name="factory_idempotency_key_unique"
            )
        ]

    def __str__(self) -> str:
        return self.key


class Tier(models.Model):
    """How much an agent of this tier may use, and how many of them an organisation may have."""

    number = models.PositiveSmallIntegerField(
        primary_key=True, validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    name = models.CharField(max_length=40)
    description = models.CharField(max_length=200, blank=True)
    quota = models.PositiveIntegerField(
        default=10, help_text="Agents of this tier that an organisation may have."
    )
    max_cpu_cores = models.DecimalField("Max CPU (cores)", max_digits=3, decimal_places=1)
    max_memory_mb = models.PositiveIntegerField("Max memory (MB)")
    max_storage_gb = models.PositiveIntegerField("Max storage (GB)")

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"Tier {self.number}: {self.name}"


class PriceBook(models.Model):
    """Prices from a day on. The newest one whose day has come is in force."""

    name = models.CharField(max_length=100)
    valid_from = models.DateTimeField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-valid_from"]

    def __str__(self) -> str:
        return self.name


class TierPrice(models.Model):
    """What one tier costs, in Indian rupees."""

    price_book = models.ForeignKey(PriceBook, on_delete=models.CASCADE, related_name="prices")
    tier = models.ForeignKey(Tier, on_delete=models.CASCADE, related_name="prices")
    cpu_core_month = models.DecimalField(
        "CPU, per reserved core-month (₹)",
        max_digits=10,
        decimal_places=2,
        help_text="One reserved core for a month.",
    )
    cpu_core_busy_hour = models.DecimalField(
        "CPU, per busy core-hour (₹)",
        max_digits=10,
        decimal_places=2,
        help_text="One core for an hour of answering requests.",
    )
    memory_gb_month = models.DecimalField(
        "Memory, per GB-month (₹)", max_digits=10, decimal_places=2
    )
    storage_gb_month = models.DecimalField(
        "Storage, per GB-month (₹)", max_digits=10, decimal_places=2
    )
    network_thousand_requests = models.DecimalField(
        "Network, per 1,000 requests (₹)", max_digits=10, decimal_places=2
    )
    other_month = models.DecimalField(
        "Other, flat per month (₹)",
        max_digits=10,
        decimal_places=2,
        help_text="Flat: logs, metrics, backups.",
    )

    class Meta:
        ordering = ["tier"]
        constraints = [
            models.UniqueConstraint(fields=["price_book", "tier"], name="factory_price_unique")
        ]

    def __str__(self) -> str:
        return f"{self.price_book}: {self.tier}"
