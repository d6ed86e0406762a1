"""Lateness percentiles and counters of the stage: numbers to read, never lines to print.

Bounded: keeps the newest values of the last few seconds, and of all that ever was how often each lateness
occurred, in bins. For one thread.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_NS = 5_000_000_000
MAX_VALUES = 1024
FIRST_BIN_NS = 1_000
BINS_PER_DOUBLING = 16  # a percentile read from bins is at most 4.5 % above the true one
LATENESS_BINS = 24 * BINS_PER_DOUBLING  # the last one begins at 16 s and has no end


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
        self.bins = [0] * LATENESS_BINS  # since the start; see `lateness_of`
        self.worst_ns = 0
        self._lateness: deque[tuple[int, int]] = deque(maxlen=MAX_VALUES)

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def sent(self, due_ns: int, sent_ns: int, messages: int = 1) -> None:
        """`messages` that were due together have been sent."""
        lateness_ns = sent_ns - due_ns
        self._lateness.append((sent_ns, lateness_ns))
        self.bins[_bin_of(lateness_ns)] += messages
        self.worst_ns = max(self.worst_ns, lateness_ns)
        self.counts["sent"] += messages

    def lateness(self, now_ns: int) -> LatenessSummary:
        """Of what was sent in the last five seconds before `now_ns`, 1024 values at most."""
        while self._lateness and self._lateness[0][0] < now_ns - WINDOW_NS:
            self._lateness.popleft()
        values = sorted(lateness_ns for _, lateness_ns in self._lateness)
        if not values:
            return LatenessSummary()
        return LatenessSummary(_percentile(values, 50), _percentile(values, 99), values[-1])


def lateness_of(bins: Sequence[int], worst_ns: int) -> LatenessSummary:
    """Of everything that bins of lateness hold: percentiles are the tops of their bins, the largest is exact."""
    count = sum(bins)
    if not count:
        return LatenessSummary()
    return LatenessSummary(_of_bins(bins, count, 50, worst_ns), _of_bins(bins, count, 99, worst_ns), worst_ns)


def _bin_of(lateness_ns: int) -> int:
    """Bin 0 ends at a microsecond; each doubling after it is cut into equal ratios."""
    if lateness_ns < FIRST_BIN_NS:
        return 0
    return min(1 + int(BINS_PER_DOUBLING * math.log2(lateness_ns / FIRST_BIN_NS)), LATENESS_BINS - 1)


def _of_bins(bins: Sequence[int], count: int, percent: int, worst_ns: int) -> int:
    wanted, below = max(-(-count * percent // 100), 1), 0
    for number, inside in enumerate(bins[:-1]):
        below += inside
        if below >= wanted:
            return min(round(FIRST_BIN_NS * 2 ** (number / BINS_PER_DOUBLING)), worst_ns)
    return worst_ns


def _percentile(ordered: list[int], percent: int) -> int:
    """The smallest value that at least `percent` of the ordered values do not exceed."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]
