"""Lateness percentiles and counters of the stage: numbers to read, never lines to print.

Bounded: keeps the newest values of the last few seconds. For one thread.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

WINDOW_NS = 5_000_000_000
MAX_VALUES = 1024


@dataclass(frozen=True, slots=True)
class LatenessSummary:
    """Percentiles of sent minus due, in nanoseconds; zeros where nothing was sent."""

    p50_ns: int = 0
    p99_ns: int = 0
    max_ns: int = 0


class Telemetry:
    """Collects; `counts` maps a plural noun (`"sent"`, `"underruns"`) to how often it happened."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lateness: deque[tuple[int, int]] = deque(maxlen=MAX_VALUES)

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def sent(self, due_ns: int, sent_ns: int, messages: int = 1) -> None:
        """`messages` that were due together have been sent."""
        self._lateness.append((sent_ns, sent_ns - due_ns))
        self.counts["sent"] += messages

    def lateness(self, now_ns: int) -> LatenessSummary:
        """Of what was sent in the last five seconds before `now_ns`, 1024 values at most."""
        while self._lateness and self._lateness[0][0] < now_ns - WINDOW_NS:
            self._lateness.popleft()
        values = sorted(lateness_ns for _, lateness_ns in self._lateness)
        if not values:
            return LatenessSummary()
        return LatenessSummary(_percentile(values, 50), _percentile(values, 99), values[-1])


def _percentile(ordered: list[int], percent: int) -> int:
    """The smallest value that at least `percent` of the ordered values do not exceed."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]
