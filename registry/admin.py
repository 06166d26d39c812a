"""Agents, releases, tools and secrets in the admin. A status is only ever looked at here."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts.callers import Caller
from accounts.models import User
from accounts.roles import Role
from ledger.errors import DomainError
from ledger.read_only import ReadOnly
from registry.enums import AgentStatus, Health
from registry.json_bounds import check_json_bounds
from registry.models import Agent, Release, Secret, Tool
from registry.schemas import check_json_schema
from registry.services.secrets import MAX_SECRET_LENGTH, delete_secret, put_secret
from registry.spec import SECRET_NAME_PATTERN


def _portal_page(agent: Agent) -> str | None:
    return None if agent.deleted_at else reverse("agent", args=[agent.agent_id])


class ReleaseInline(ReadOnly, TabularInline):  # type: ignore[misc]  # unfold ships no types
    """The releases of an agent."""

    model = Release
    fields = ["number", "digest", "files_digest", "created_by", "created_at"]
    readonly_fields = fields
    extra = 0
    show_change_link = True
    hide_title = True


_STATUS_COLOURS = {
    AgentStatus.ACTIVE.label: "success",
    AgentStatus.PAUSED.label: "warning",
    AgentStatus.FAILED.label: "danger",
    AgentStatus.DRAFT.label: "info",
}
_HEALTH_COLOURS = {
    Health.HEALTHY.label: "success",
    Health.DEGRADED.label: "warning",
    Health.UNREACHABLE.label: "danger",
}


@admin.register(Agent)
class AgentAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Agents of all organisations, deleted ones included."""

    inlines = [ReleaseInline]
    list_display = [
        "agent_id", "organization", "shown_status", "shown_health", "tier", "owner", "created_at",
    ]  # fmt: skip
    fields = [
        "organization", "agent_id", "name", "display_name", "description", "tier", "tags",
        "template_slug", "template_version", "owner", "status", "current_release", "endpoint",
        "registered_at", "health", "health_detail", "health_checked_at", "created_at",
        "updated_at", "deleted_at",
    ]  # fmt: skip
    readonly_fields = fields
    list_filter = ["status", "health", "tier", "template_slug", "organization"]
    list_select_related = ["organization", "owner"]
    search_fields = ["agent_id", "name", "display_name"]

    def view_on_site(self, agent: Agent) -> str | None:
        """Return the agent's page in the portal; a deleted agent has none."""
        return _portal_page(agent)

    @display(description="Status", ordering="status", label=_STATUS_COLOURS)  # type: ignore[untyped-decorator]  # unfold ships no types
    def shown_status(self, agent: Agent) -> str:
        """Return the status as a coloured label."""
        return agent.get_status_display()

    @display(description="Health", ordering="health", label=_HEALTH_COLOURS)  # type: ignore[untyped-decorator]  # as above
    def shown_health(self, agent: Agent) -> str:
        """Return the health as a coloured label."""
        return agent.get_health_display()


@admin.register(Release)
class ReleaseAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Releases with their specifications."""

    list_display = ["agent", "number", "short_digest", "created_by", "created_at"]
    list_select_related = ["agent", "created_by"]
    search_fields = ["agent__agent_id", "digest"]
    exclude = ["files"]

    def view_on_site(self, release: Release) -> str | None:
        """Return the page of the release's agent in the portal."""
        return _portal_page(release.agent)

    @admin.display(description="Digest")
    def short_digest(self, release: Release) -> str:
        """Return as much of the digest as tells releases apart."""
        return release.digest[:12]


class ToolForm(forms.ModelForm[Tool]):
    """A tool whose parameters have a usable schema."""

    class Meta:
        model = Tool
        fields = [
            "slug", "name", "description", "kind", "parameters_schema", "accepts_secret",
            "is_active",
        ]  # fmt: skip

    def clean_parameters_schema(self) -> dict[str, Any]:
        """Refuse what is no schema of an object."""
        schema = self.cleaned_data["parameters_schema"] or {"type": "object"}
        try:
            if not isinstance(schema, dict):
                raise forms.ValidationError("Give a JSON object.")
            return check_json_schema(check_json_bounds(schema))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


@admin.register(Tool)
class ToolAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """The tools that operators choose from. Switch one off instead of deleting it."""

    form = ToolForm
    list_display = ["name", "slug", "kind", "accepts_secret", "is_active"]
    list_filter = ["kind", "is_active"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}

    def get_readonly_fields(self, request: HttpRequest, obj: Tool | None = None) -> list[str]:
        """Keep the slug and kind of an existing tool: specifications name them."""
        return ["slug", "kind"] if obj else []

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: Tool | None = None
    ) -> dict[str, list[str]]:
        """Make the slug from the name of a new tool."""
        return {} if obj else self.prepopulated_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes one: agents refer to it by name."""
        return False


class SecretForm(forms.ModelForm[Secret]):
    """Writes a value that nobody reads back."""

    name = forms.RegexField(
        SECRET_NAME_PATTERN,
        max_length=100,
        error_messages={"invalid": "Use letters, digits, dots, hyphens and underscores."},
    )
    value = forms.CharField(
        max_length=MAX_SECRET_LENGTH,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="It is encrypted and can't be shown again.",
    )

    class Meta:
        model = Secret
        fields = ["organization", "name"]


@admin.register(Secret)
class SecretAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Secrets by name: written anew or removed, never shown."""

    form = SecretForm
    fields = ["organization", "name", "value"]
    list_display = ["name", "organization", "created_by", "created_at", "rotated_at"]
    list_filter = ["organization"]
    list_select_related = ["organization", "created_by"]
    search_fields = ["name"]

    def get_readonly_fields(self, request: HttpRequest, obj: Secret | None = None) -> list[str]:
        """Let only the value of an existing secret be written."""
        return ["organization", "name"] if obj else []

    def save_model(
        self,
        request: HttpRequest,
        obj: Secret,
        form: SecretForm,
        change: bool,  # noqa: FBT001 - Django's own signature
    ) -> None:
        """Write the value through the service, which encrypts and records it."""
        put_secret(caller=_caller(request, obj), name=obj.name, value=form.cleaned_data["value"])
        obj.pk = Secret.objects.get(organization=obj.organization, name=obj.name).pk

    def delete_model(self, request: HttpRequest, obj: Secret) -> None:
        """Remove it through the service, which records it."""
        delete_secret(caller=_caller(request, obj), name=obj.name)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Secret]) -> None:
        """Remove each through the service."""
        for secret in queryset.select_related("organization"):
            self.delete_model(request, secret)


def _caller(request: HttpRequest, secret: Secret) -> Caller:
    """Return the member of staff as an admin of the secret's organisation: the site checked that.

    Raises:
        DomainError: nobody is signed in.

    """
    if not isinstance(request.user, User):
        raise DomainError("not_signed_in", "Sign in first.")
    return Caller(user=request.user, organization=secret.organization, role=Role.ADMIN)
