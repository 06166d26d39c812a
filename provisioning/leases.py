"""Leases: which worker has a row in hand, and until when, if it dies.

A lease is a token and a time in the row itself. It is taken by a conditional UPDATE, renewed from
a thread while the work goes on, and only its holder may write the outcome.
"""

import threading
import uuid
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now

log = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=15)
_RENEWALS_PER_LEASE: Final = 4


def free() -> Q:
    """Return the condition under which a row may be taken in hand.

    The database's clock decides, so that workers need not agree on the time.
    """
    return Q(lease_token=None) | Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now())


def held_by(token: uuid.UUID) -> Q:
    """Return the condition under which the holder of ``token`` may write."""
    return Q(lease_token=token)


class Lease:
    """Keeps the lease on one row alive while the ``with`` block runs."""

    def __init__(self, rows: QuerySet[Any], token: uuid.UUID) -> None:
        """``rows`` is the query for the one row."""
        self._rows = rows
        self._token = token
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    def on(cls, row: Model, token: uuid.UUID) -> Self:
        """Return the keeper of ``token``, which ``row`` holds already."""
        manager = type(row)._default_manager  # noqa: SLF001 - Django's documented model API
        return cls(manager.filter(pk=row.pk), token)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._done.wait(LEASE.total_seconds() / _RENEWALS_PER_LEASE):
            try:
                rows = self._rows.filter(held_by(self._token))
                if not rows.update(lease_expires_at=Now() + LEASE):
                    return
            except (DatabaseError, InterfaceError) as error:
                # The next turn tries again; if none succeeds, somebody else may take over.
                log.warning("lease not renewed", error=str(error))
            finally:
                connection.close()
