"""Connections on which everything together has to be done by a given time.

The timeouts of an HTTP library are per read: who sends a byte every few seconds can hold its caller
for days. Here each read and write is given only what is left until the deadline.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpcore

_WRITTEN_AT_ONCE: Final = 65_536
"""Bytes; between two such pieces the time is looked at."""

Deadline = Callable[[], float]
"""Returns the ``time.monotonic()`` by which everything has to be done."""


class DeadlineStream(httpcore.NetworkStream):
    """Gives each read and write at most the time that is left.

    Once there is none, they raise ``httpcore.ReadTimeout`` and ``httpcore.WriteTimeout``.
    """

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read at most ``max_bytes``."""
        left = self._left(timeout)
        if left <= 0:
            raise httpcore.ReadTimeout("The time for the whole answer is over.")
        return self._stream.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of ``buffer``."""
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
            left = self._left(timeout)
            if left <= 0:
                raise httpcore.WriteTimeout("The time for the whole call is over.")
            self._stream.write(buffer[start : start + _WRITTEN_AT_ONCE], left)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection below says."""
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None) -> float:
        left = self._deadline() - time.monotonic()
        return left if timeout is None else min(timeout, left)


class DeadlineBackend(httpcore.NetworkBackend):
    """Makes connections of which each has to be done with by ``deadline``."""

    def __init__(self, deadline: Deadline) -> None:
        self._network = httpcore.SyncBackend()
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> DeadlineStream:
        """Connect.

        Raises:
            httpcore.ConnectError, httpcore.ConnectTimeout: see there.

        """
        left = max(0.001, self._deadline() - time.monotonic())
        stream = self._network.connect_tcp(
            host,
            port,
            left if timeout is None else min(timeout, left),
            local_address,
            socket_options,
        )
        return DeadlineStream(stream, self._deadline)
