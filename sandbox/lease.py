"""Who works on a test: a lease that the worker renews while it lives.

A worker that is killed stops renewing, and the reconciler takes over. In between, the same thread
announces new log lines, so that a long call shows what happens in it.
"""

import itertools
import threading
import time
import uuid
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Final
from uuid import UUID

import structlog
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.utils import timezone

from ledger import events
from sandbox.loglines import LogTail
from sandbox.models import SandboxTest

log = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=30)
RENEW_SECONDS: Final = 5.0
ANNOUNCE_SECONDS: Final = 0.25
_MAX_BATCH: Final = 100


def new_lease() -> tuple[UUID, datetime]:
    """Return a token and when it runs out."""
    return uuid.uuid4(), timezone.now() + LEASE


class Keeper:
    """Renews the lease of one test and announces its log lines until it is told to stop.

    After ``deadline`` (``time.monotonic()``) it renews no more: a worker that hangs is taken for
    dead as well.
    """

    def __init__(self, test_id: UUID, token: UUID, deadline: float) -> None:
        self._test_id = test_id
        self._token = token
        self._deadline = deadline
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._announcing = threading.Lock()
        self._tail: LogTail | None = None
        self._announced = 0
        self._thread = threading.Thread(target=self._keep, name="sandbox-lease", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether somebody else has taken over."""
        return self._lost.is_set()

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._stop.set()
        self._thread.join(5)

    def follow(self, tail: LogTail) -> None:
        """Announce the lines of ``tail`` from now on."""
        with self._announcing:
            self._tail, self._announced = tail, 0

    def announce(self) -> None:
        """Announce the lines that are new. Never inside a transaction that published already.

        The sequence of events is locked until that commits, and this thread and the other one
        would wait for each other.
        """
        with self._announcing:
            if self._tail is None:
                return
            lines = self._tail.since(self._announced)
            for position, group in itertools.groupby(lines, key=itemgetter(0)):
                texts = [line.text for _, line in group]
                for start in range(0, len(texts), _MAX_BATCH):
                    payload = {"position": position, "lines": texts[start : start + _MAX_BATCH]}
                    events.publish("sandboxtest", self._test_id, "log", payload)
            self._announced += len(lines)

    def _keep(self) -> None:
        renew_at = time.monotonic() + RENEW_SECONDS
        try:
            while not self._stop.wait(ANNOUNCE_SECONDS) and not self.lost:
                try:
                    self.announce()
                    if renew_at <= time.monotonic() < self._deadline:
                        renew_at = time.monotonic() + RENEW_SECONDS
                        self._renew()
                except DatabaseError as error:
                    # Tried again in a moment; if it lasts, the lease runs out, as it should.
                    log.warning("lease not renewed", error=type(error).__name__)
                    connection.close()
        finally:
            connection.close()

    def _renew(self) -> None:
        with transaction.atomic():
            renewed = SandboxTest.objects.filter(
                pk=self._test_id, lease_token=self._token, lease_expires_at__gt=timezone.now()
            ).update(lease_expires_at=timezone.now() + LEASE)
        if renewed != 1:
            self._lost.set()
