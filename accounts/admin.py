"""Accounts in the admin."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.models import ApiToken, Membership, Organization, User

# Rights come from memberships; groups would be a second, silent way to give them.
admin.site.unregister(Group)


class MembershipInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    """Members of an organisation, or organisations of a person."""

    model = Membership
    extra = 0
    autocomplete_fields = ["user", "organization"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg,misc]  # unfold ships no types
    """People."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = [MembershipInline]
    list_display = ["username", "email", "is_active", "is_staff", "last_login"]
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password", "must_change_password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )


@admin.register(Organization)
class OrganizationAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Organisations and their members."""

    inlines = [MembershipInline]
    list_display = ["name", "slug", "is_active", "created_at"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """API tokens: to be seen and revoked. They are made on the account page, shown once."""

    list_display = ["name", "user", "organization", "created", "expiry"]
    list_filter = ["organization"]
    search_fields = ["name", "user__username"]
    readonly_fields = ["name", "user", "organization", "token_key", "created", "expiry"]
    exclude = ["digest"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a token made here could not be shown safely."""
        return False
