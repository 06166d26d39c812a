"""Rows that say what happened. They are only ever added.

The ledger knows no other room, so it names things by type and id instead of foreign keys; a row
outlives what it speaks of.
"""

from typing import Any

from auditlog.models import AbstractLogEntry, LogEntryManager
from django.conf import settings
from django.db import models


class Transition(models.Model):
    """One change of one thing's status."""

    organization_id = models.UUIDField("organisation id", null=True, db_index=True)
    subject_type = models.CharField(max_length=64)
    subject_id = models.UUIDField()
    from_status = models.CharField(max_length=32)
    to_status = models.CharField(max_length=32)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["subject_type", "subject_id", "id"])]

    def __str__(self) -> str:
        return f"{self.subject_type} {self.subject_id}: {self.from_status} → {self.to_status}"


class ProgressEvent(models.Model):
    """One step forward of a piece of long work, numbered from 1 within its subject."""

    subject_type = models.CharField(max_length=64)
    subject_id = models.UUIDField()
    seq = models.PositiveIntegerField()
    kind = models.CharField(max_length=64)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["subject_type", "subject_id", "seq"]
        constraints = [
            models.UniqueConstraint(
                fields=["subject_type", "subject_id", "seq"], name="ledger_event_seq_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.subject_type} {self.subject_id} #{self.seq} {self.kind}"

    def as_message(self) -> dict[str, Any]:
        """Return the event as it is sent to a browser."""
        return {
            "seq": self.seq,
            "kind": self.kind,
            "payload": self.payload,
            "at": self.created_at.isoformat(),
        }


class AuditEntryManager(LogEntryManager):  # type: ignore[misc]  # auditlog ships no types
    """Adds the organisation that the changed thing belongs to."""

    def log_create(self, instance: models.Model, force_log: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - auditlog's own signature
        """Record a change of ``instance``; see auditlog's manager."""
        organization_id = getattr(instance, "organization_id", None)
        if organization_id is None and type(instance).__name__ == "Organization":
            organization_id = instance.pk
        kwargs.setdefault("organization_id", organization_id)
        return super().log_create(instance, force_log, **kwargs)


class AuditEntry(AbstractLogEntry):  # type: ignore[misc]  # auditlog ships no types
    """Who did what to which thing, when and from where, with the values before and after."""

    organization_id = models.UUIDField("organisation id", null=True, db_index=True)
    event = models.CharField(
        max_length=64, blank=True, help_text="The domain's word for it, as in agent.activated."
    )

    objects = AuditEntryManager()

    class Meta(AbstractLogEntry.Meta):  # type: ignore[misc]  # auditlog ships no types
        verbose_name = "audit entry"
        verbose_name_plural = "audit trail"
