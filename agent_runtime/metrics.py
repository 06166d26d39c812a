"""What the agent counts, and how it tells it: the Prometheus text format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ . Written out here because the client
library takes more memory than the counters of an idle agent are worth.
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Metrics:
    """Counters of one process. Seconds and bytes throughout."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.queue: Counter[str] = Counter()
        self.in_flight = 0
        self._durations: dict[str, tuple[list[int], list[float]]] = {}

    def observe(self, capability: str, outcome: str, seconds: float) -> None:
        """Count one call: ``outcome`` is ``ok`` or a problem's code."""
        self.requests[capability, outcome] += 1
        counts, total = self._durations.setdefault(capability, ([0] * (len(_BUCKETS) + 1), [0.0]))
        position = next((i for i, le in enumerate(_BUCKETS) if seconds <= le), len(_BUCKETS))
        counts[position] += 1
        total[0] += seconds

    def render(self) -> str:
        """Return every figure in the exposition format."""
        lines: list[str] = []
        lines += _head("agent_requests_total", "counter", "Calls by capability and outcome.")
        lines += [
            _line("agent_requests_total", {"capability": name, "outcome": outcome}, count)
            for (name, outcome), count in sorted(self.requests.items())
        ]
        lines += _head("agent_request_seconds", "histogram", "How long calls took.")
        for name, (counts, total) in sorted(self._durations.items()):
            lines += self._histogram(name, counts, total[0])
        lines += _head("agent_in_flight", "gauge", "Capabilities at work now.")
        lines.append(_line("agent_in_flight", {}, self.in_flight))
        lines += _head("agent_queue_commands_total", "counter", "Commands by what became of them.")
        lines += [
            _line("agent_queue_commands_total", {"result": result}, count)
            for result, count in sorted(self.queue.items())
        ]
        lines += _head("agent_resident_bytes", "gauge", "Resident memory of the process.")
        lines.append(_line("agent_resident_bytes", {}, resident_bytes()))
        return "\n".join(lines) + "\n"

    @staticmethod
    def _histogram(name: str, counts: list[int], total: float) -> Iterable[str]:
        cumulative = 0
        for edge, count in zip((*(f"{b:g}" for b in _BUCKETS), "+Inf"), counts, strict=True):
            cumulative += count
            labels = {"capability": name, "le": edge}
            yield _line("agent_request_seconds_bucket", labels, cumulative)
        yield _line("agent_request_seconds_sum", {"capability": name}, round(total, 6))
        yield _line("agent_request_seconds_count", {"capability": name}, cumulative)


def resident_bytes() -> int:
    """Return the resident set size of this process; 0 where the kernel does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"
