"""Tiers, prices and blueprints in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from unfold.admin import ModelAdmin, StackedInline

from factory.models import Blueprint, PriceBook, Tier, TierPrice

# Plumbing of libraries: the schedule comes from the settings at each start, and refresh tokens are
# nobody's to edit.
admin.site.unregister(
    [
        BlacklistedToken,
        ClockedSchedule,
        CrontabSchedule,
        IntervalSchedule,
        OutstandingToken,
        PeriodicTask,
        SolarSchedule,
    ]
)


@admin.register(Tier)
class TierAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Quotas and bounds of the tiers."""

    list_display = ["number", "name", "quota", "cores", "memory", "storage"]
    list_display_links = ["number", "name"]

    @admin.display(description="CPU cores at most", ordering="max_cpu_cores")
    def cores(self, tier: Tier) -> str:
        """Return the bound of the processor."""
        return f"{tier.max_cpu_cores:g}"

    @admin.display(description="Memory at most", ordering="max_memory_mb")
    def memory(self, tier: Tier) -> str:
        """Return the bound of the memory."""
        return f"{tier.max_memory_mb:,} MB"

    @admin.display(description="Storage at most", ordering="max_storage_gb")
    def storage(self, tier: Tier) -> str:
        """Return the bound of the storage."""
        return f"{tier.max_storage_gb} GB"

    def get_readonly_fields(self, request: HttpRequest, obj: Tier | None = None) -> list[str]:
        """Keep the number of an existing tier: agents name it."""
        return ["number"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes a tier: set its quota to 0 instead."""
        return False


class TierPriceInline(StackedInline):  # type: ignore[misc]  # unfold ships no types
    """What each tier costs. Stacked: in a table, seven columns leave the tier's name no room."""

    model = TierPrice
    fields = [
        "tier",
        ("cpu_core_month", "cpu_core_busy_hour", "memory_gb_month"),
        ("storage_gb_month", "network_thousand_requests", "other_month"),
    ]
    extra = 0
    max_num = 5
    hide_title = True

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Leave out the buttons that edit the tier itself."""
        formset = super().get_formset(request, obj, **kwargs)
        widget = formset.form.base_fields["tier"].widget
        for what in ("add", "change", "delete", "view"):
            setattr(widget, f"can_{what}_related", False)
        return formset


@admin.register(PriceBook)
class PriceBookAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Price books. The newest one whose day has come is in force."""

    inlines = [TierPriceInline]
    list_display = ["name", "valid_from", "created_at"]

    def has_delete_permission(self, request: HttpRequest, obj: PriceBook | None = None) -> bool:
        """Keep the only book in force: without one no cost could be told."""
        allowed: bool = super().has_delete_permission(request, obj)
        if obj is None or not allowed:
            return allowed
        in_force = PriceBook.objects.filter(valid_from__lte=timezone.now())
        others = in_force.exclude(pk=obj.pk)
        return obj.valid_from > timezone.now() or others.exists()

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer no deletion of several at once: together they may be all that is in force."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


@admin.register(Blueprint)
class BlueprintAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """What operators asked for; to be looked at only."""

    list_display = ["name", "organization", "status", "agent", "created_by", "updated_at"]
    list_filter = ["status", "organization"]
    list_select_related = ["organization", "agent", "created_by"]
    search_fields = ["name"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds one here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes one here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes one here."""
        return False
