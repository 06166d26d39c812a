"""The one function that changes a status."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol
from uuid import UUID

from django.db import models, transaction

from ledger import events
from ledger.errors import InvalidTransition
from ledger.models import Transition


class HasStatus(Protocol):
    """A row with a status: it names, for each status, those that may follow it."""

    pk: Any
    status: Any

    @property
    def TRANSITIONS(self) -> Mapping[str, AbstractSet[str]]:  # noqa: N802 - a constant of the class
        """Which statuses may follow each status."""

    @property
    def organization_id(self) -> UUID | None:
        """The organisation that the row belongs to; none for the platform's own."""

    @property
    def _meta(self) -> Any: ...


def subject_type(obj: Any) -> str:
    """Return the name under which the ledger and live channels know ``obj``'s kind."""
    return str(obj._meta.model_name)  # noqa: SLF001 - Django's documented model API


def transition(
    obj: HasStatus,
    *,
    to: str,
    actor: Any = None,
    reason: str = "",
    only_if: models.Q | None = None,
    **fields: Any,
) -> None:
    """Change ``obj.status`` to ``to``, once, and remember it.

    One conditional UPDATE decides between racing callers; ``fields`` are written by the same
    UPDATE, and ``only_if`` adds to its condition (a lease, say). The change is added to the ledger
    and published when the transaction commits. ``actor`` is the user, ``None`` for the platform.

    Raises:
        InvalidTransition: the row is gone, or its status in the database does not lead to ``to``.

    """
    sources = [source for source, targets in obj.TRANSITIONS.items() if to in targets]
    manager: models.Manager[Any] = type(obj)._default_manager  # type: ignore[attr-defined]  # noqa: SLF001 - Django's documented model API
    with transaction.atomic():
        row = manager.select_for_update().filter(pk=obj.pk).values_list("status", flat=True).first()
        updated = 0
        if row is not None and row in sources:
            condition = models.Q(pk=obj.pk, status__in=sources)
            if only_if is not None:
                condition &= only_if
            updated = manager.filter(condition).update(status=to, **fields)
        if row is None or updated != 1:
            label = obj._meta.verbose_name  # noqa: SLF001 - Django's documented model API
            raise InvalidTransition(
                "invalid_transition",
                f"This {label} is {row or 'gone'} and can't become {to} from there.",
            )
        Transition.objects.create(
            organization_id=obj.organization_id,
            subject_type=subject_type(obj),
            subject_id=obj.pk,
            from_status=row,
            to_status=to,
            actor=actor,
            reason=reason[:500],
        )
        obj.status = to
        for name, value in fields.items():
            setattr(obj, name, value)
        # A part (a step, say) announces itself in the sequence of the whole.
        kind, subject_id = getattr(obj, "progress_stream", (subject_type(obj), obj.pk))
        payload = {"from": row, "to": to, "reason": reason[:500]}
        events.publish(kind, subject_id, "status", payload | getattr(obj, "progress_label", {}))
