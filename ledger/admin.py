"""The ledger in the admin: to be read, by nobody changed."""

from django.contrib import admin
from unfold.admin import ModelAdmin

from ledger.models import AuditEntry, Transition
from ledger.read_only import ReadOnly

# django-auditlog registers the trail with a page of its own, outside the shared look.
admin.site.unregister(AuditEntry)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Who did what, when, from where, with the values before and after."""

    list_display = ["timestamp", "actor", "verb", "content_type", "object_repr", "remote_addr"]
    list_filter = ["action", "event", "content_type"]
    search_fields = ["object_repr", "object_pk", "actor__username", "event"]
    date_hierarchy = "timestamp"
    list_select_related = ["actor", "content_type"]
    fields = [
        "timestamp", "actor", "remote_addr", "cid", "event", "action", "content_type",
        "object_repr", "object_pk", "changes", "additional_data", "organization_id",
    ]  # fmt: skip

    @admin.display(description="What")
    def verb(self, entry: AuditEntry) -> str:
        """Return the domain's word, or the kind of change."""
        return str(entry.event or entry.get_action_display())


@admin.register(Transition)
class TransitionAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Every change of a status."""

    list_display = ["created_at", "subject_type", "subject_id", "from_status", "to_status", "actor"]
    list_filter = ["subject_type", "to_status"]
    search_fields = ["subject_id", "reason"]
    list_select_related = ["actor"]
