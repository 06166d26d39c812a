"""Curating the library: see everything, edit drafts, publish and deprecate.

Statuses change only through the services; a published version can't be edited by anybody.
"""

import json
import time
from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_protect
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from accounts.models import Membership, User
from accounts.roles import Action, may
from ledger.errors import DomainError
from templates_lib.definition import parse_definition
from templates_lib.enums import VersionStatus
from templates_lib.forms import DraftForm
from templates_lib.gate import check_project
from templates_lib.models import AgentTemplate, TemplateVersion
from templates_lib.rendering import render_project
from templates_lib.services import (
    deprecate_version,
    duplicate_version,
    publish_version,
    save_draft,
)

_STATUS_COLOURS = {
    VersionStatus.DRAFT.label: "info",
    VersionStatus.PUBLISHED.label: "success",
    VersionStatus.DEPRECATED.label: "warning",
}


def _may_curate(request: HttpRequest) -> bool:
    """Whether the person may edit the library: an administrator, or a curator anywhere."""
    user = request.user
    if not isinstance(user, User) or not (user.is_active and user.is_staff):
        return False
    if user.is_superuser:
        return True
    roles = Membership.objects.filter(user=user, organization__is_active=True)
    return any(may(role, Action.CURATE) for role in roles.values_list("role", flat=True))


class _CuratedAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Seen by curators; nothing is made or removed by hand."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the library is in the menu."""
        return _may_curate(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the person may see the library here."""
        return _may_curate(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: templates come from the library's files, versions from other versions."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: agents were made from it, and its version explains them."""
        return False


class _VersionInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    model = TemplateVersion
    fields = ["version", "status", "published_at", "changelog"]
    readonly_fields = fields
    ordering = ["-created_at"]
    extra = 0
    can_delete = False
    show_change_link = True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may_curate(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AgentTemplate)
class AgentTemplateAdmin(_CuratedAdmin):
    """Templates. What they say follows their newest published version."""

    list_display = ["name", "slug", "category", "complexity", "position", "updated_at"]
    list_filter = ["category", "complexity"]
    search_fields = ["name", "slug", "description"]
    inlines = [_VersionInline]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: edit a version instead."""
        return False


@admin.register(TemplateVersion)
class TemplateVersionAdmin(_CuratedAdmin):
    """Versions: drafts are edited here; all are previewed, duplicated, published, deprecated."""

    form = DraftForm
    list_display = ["template", "version", "shown_status", "published_at", "created_by"]
    list_filter = ["status", "template"]
    list_select_related = ["template", "created_by"]
    search_fields = ["template__name", "template__slug", "version"]
    actions_detail = ["preview_version"]
    _facts = ("template", "version", "status", "digest", "published_at", "created_by")

    @display(description="Status", ordering="status", label=_STATUS_COLOURS)  # type: ignore[untyped-decorator]  # unfold ships no types
    def shown_status(self, version: TemplateVersion) -> str:
        """Return the status as a coloured label."""
        return version.get_status_display()

    @admin.display(description="Definition")
    def shown_definition(self, version: TemplateVersion) -> SafeString:
        """Return the definition of a version that can't be edited."""
        return _preformatted(version.definition)

    @admin.display(description="Skeleton")
    def shown_files(self, version: TemplateVersion) -> SafeString:
        """Return the skeleton of a version that can't be edited."""
        return _preformatted(version.files)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether ``obj`` is a draft, and the person a curator."""
        draft = obj is None or (
            isinstance(obj, TemplateVersion) and obj.status == VersionStatus.DRAFT
        )
        return draft and _may_curate(request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Return what is shown: the texts to edit of a draft, else the texts as they are."""
        if self.has_change_permission(request, obj):
            return [*self._facts, "definition", "skeleton"]
        return [*self._facts, "changelog", "shown_definition", "shown_files"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Return all fields but a draft's two texts."""
        return [
            name for name in self.get_fields(request, obj) if name not in ("definition", "skeleton")
        ]

    def save_model(
        self, request: HttpRequest, obj: TemplateVersion, form: Any, change: Any
    ) -> None:
        """Write the draft through the service."""
        save_draft(
            actor=request.user if isinstance(request.user, User) else None,
            version=obj,
            definition=form.cleaned_data["definition"],
            files=form.cleaned_data["skeleton"],
        )

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show or save a version; somebody who was faster is told of in a message."""
        try:
            response: HttpResponse = super().changeform_view(
                request, object_id, form_url, extra_context
            )
        except DomainError as error:
            messages.error(request, error.message)
            return redirect(request.path)
        return response

    # --- Preview, duplicate, publish, deprecate -----------------------------------------------

    @action(description="Preview, duplicate, publish", icon="preview")  # type: ignore[untyped-decorator]  # as above
    def preview_version(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Go to the page that shows what the version makes."""
        return redirect("admin:templates_lib_templateversion_preview", object_id)

    def get_urls(self) -> list[URLPattern]:
        """Add the preview page and what it can do."""
        base = "templates_lib_templateversion"
        own = [
            path("<uuid:pk>/preview/", self._page(self.show_preview), name=f"{base}_preview"),
            path("<uuid:pk>/do/<str:name>/", self._page(self.do_action), name=f"{base}_do"),
        ]
        return own + list(super().get_urls())

    def _page(self, view: Any) -> Any:
        return self.admin_site.admin_view(csrf_protect(view))

    def _version(self, request: HttpRequest, pk: Any) -> TemplateVersion:
        version = TemplateVersion.objects.select_related("template").filter(pk=pk).first()
        if version is None or not _may_curate(request):
            raise Http404
        return version

    def show_preview(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Show the files that the version makes from its defaults, and what the gate says."""
        version = self._version(request, pk)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Preview of {version}",
            "opts": self.opts,
            "version": version,
            "change_url": reverse("admin:templates_lib_templateversion_change", args=[pk]),
            "can_publish": version.status != VersionStatus.PUBLISHED,
            "can_deprecate": version.status == VersionStatus.PUBLISHED,
            **_dry_run(version),
        }
        return TemplateResponse(request, "templates_lib/version_preview.html", context)

    def do_action(self, request: HttpRequest, pk: Any, name: str) -> HttpResponse:
        """Duplicate, publish or deprecate; only by POST, with the form's token."""
        version = self._version(request, pk)
        if request.method != "POST":
            return redirect("admin:templates_lib_templateversion_preview", pk)
        actor = request.user if isinstance(request.user, User) else None
        target, page = version, "preview"
        try:
            if name == "duplicate":
                target, page = duplicate_version(actor=actor, version=version), "change"
                done = f"{target} is a new draft. Edit it, then publish it."
            elif name == "publish":
                publish_version(actor=actor, version=version)
                done = f"{version} is published. New agents are made from the newest version."
            elif name == "deprecate":
                reason = request.POST.get("reason", "")[:500]
                deprecate_version(actor=actor, version=version, reason=reason)
                done = f"{version} is deprecated. Agents made from it go on."
            else:
                raise Http404
            messages.success(request, done)
        except DomainError as error:
            messages.error(request, error.message)
        return redirect(f"admin:templates_lib_templateversion_{page}", target.pk)


def _dry_run(version: TemplateVersion) -> dict[str, Any]:
    """Render and check without keeping anything: files, findings and how long it took."""
    started = time.perf_counter()
    try:
        spec = parse_definition(version.definition).sample_spec()
        project = render_project(spec, skeleton=version.files)
    except DomainError as error:
        return {"files": {}, "refusal": error.message, "findings": error.problems}
    rendered = time.perf_counter()
    result: dict[str, Any] = {"files": dict(project.files), "files_digest": project.files_digest}
    try:
        check_project(project)
    except DomainError as error:
        result |= {"refusal": error.message, "findings": error.problems}
    result["render_ms"] = round((rendered - started) * 1000)
    result["check_ms"] = round((time.perf_counter() - rendered) * 1000)
    return result


def _preformatted(value: Any) -> SafeString:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre class="overflow-auto whitespace-pre-wrap text-xs">{}</pre>', text)
