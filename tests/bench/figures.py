"""What was measured, and how it is told."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0 to 1) of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Samples:
    """Seconds of repeated runs of one thing."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """What 95 in 100 do not exceed."""
        return percentile(self.seconds, 0.95)

    @property
    def p99(self) -> float:
        """What 99 in 100 do not exceed."""
        return percentile(self.seconds, 0.99)


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    what: str
    target: str
    measured: str
    beside: str
    ratio: float | None = None


@dataclass
class Report:
    """All lines, printed as they come and written at the end."""

    figures: list[Figure] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        """Print and keep one figure."""
        ratio = f" = {figure.ratio:.2f} ×" if figure.ratio is not None else ""
        print(f"{figure.what}: {figure.measured}{ratio} {figure.beside} (target {figure.target})")  # noqa: T201 - a program for people
        self.figures.append(figure)

    def as_markdown(self, machine: str) -> str:
        """Return the page ``docs/benchmarks.md``."""
        lines = [
            "# Benchmarks",
            "",
            "Written by `make bench`. The machines are noisy, so read the ratios: each is against",
            "something measured in the same run, with medians unless another figure is named.",
            "",
            machine,
            "",
            "| what | measured | ratio | beside | target |",
            "|---|---|---|---|---|",
        ]
        for figure in self.figures:
            ratio = f"{figure.ratio:.2f} ×" if figure.ratio is not None else "–"
            lines.append(
                f"| {figure.what} | {figure.measured} | {ratio} | {figure.beside} "
                f"| {figure.target} |"
            )
        return "\n".join(lines) + "\n"


def milliseconds(seconds: float) -> str:
    """Return a duration as people read it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
