"""How much memory the copy uses, asked in a thread of its own.

An engine may take a second to tell, which must not be added to each scenario.
"""

import threading
from typing import Final

from provisioning.drivers.base import DriverError, RuntimeDriver

_PAUSE_SECONDS: Final = 0.2


class MemoryGauge:
    """Samples the memory of one instance until it is gone or this is stopped."""

    def __init__(self, driver: RuntimeDriver, name: str) -> None:
        self._driver = driver
        self._name = name
        self._samples: list[float] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="sandbox-memory", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Sample no more."""
        self._stop.set()
        self._thread.join(5)

    @property
    def count(self) -> int:
        """How many samples there are so far."""
        with self._changed:
            return len(self._samples)

    def peak_mb(self, since: int) -> float | None:
        """Return the most of the samples from number ``since`` on, else the newest, in MB."""
        with self._changed:
            return max(self._samples[since:] or self._samples[-1:], default=None)

    def wait_for_first(self, timeout: float) -> None:
        """Wait until there is a sample, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._samples or not self._thread.is_alive(), timeout)

    def _measure(self) -> None:
        while not self._stop.is_set():
            try:
                used = self._driver.usage(self._name).memory_mb
            except DriverError:
                # It is gone, which the scenarios notice by themselves.
                break
            with self._changed:
                self._samples.append(round(used, 1))
                self._changed.notify_all()
            self._stop.wait(_PAUSE_SECONDS)
        with self._changed:
            self._changed.notify_all()
