"""Tiers, prices and blueprints in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from unfold.admin import ModelAdmin, TabularInline

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


class TierPriceInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    """What each tier costs."""

    model = TierPrice
    extra = 0
    max_num = 5
    hide_title = True


@admin.register(PriceBook)
class PriceBookAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Price books. The newest one whose day has come is in force."""

    inlines = [TierPriceInline]
    list_display = ["name", "valid_from", "created_at"]


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
