"""Write to the audit trail what is not a plain change of a row's columns.

Changes of rows are recorded by django-auditlog, before and after, with the person and the address
of the request; here the domain adds its own words.
"""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import models

from ledger.models import AuditEntry


def record(
    event: str,
    obj: models.Model,
    *,
    actor: AbstractBaseUser | None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Record that ``actor`` did ``event`` (as in ``agent.invoked``) to ``obj``.

    ``detail`` must hold neither credentials nor what users said to an agent.
    """
    AuditEntry.objects.log_create(
        obj,
        force_log=True,
        event=event,
        action=AuditEntry.Action.ACCESS,
        actor=actor,
        additional_data=detail or {},
    )
