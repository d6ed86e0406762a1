"""Lists of measurements to the few numbers that are reported, all in milliseconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from fractal_live.live.telemetry import LatenessSummary

Spread = dict[str, float | None]
"""`p50`, `p99` and `max` in ms; None where nothing was measured."""

NOTHING: Spread = {"p50": None, "p99": None, "max": None}
DIGITS = 4


def spread(values_ns: Sequence[int]) -> Spread:
    """Percentiles are values that occurred: the smallest that so many percent do not exceed."""
    if not values_ns:
        return dict(NOTHING)
    ordered = sorted(values_ns)
    return {"p50": _ms(_percentile(ordered, 50)), "p99": _ms(_percentile(ordered, 99)), "max": _ms(ordered[-1])}


def spread_of(summary: LatenessSummary) -> Spread:
    """The stage's own summary in ms."""
    return {"p50": _ms(summary.p50_ns), "p99": _ms(summary.p99_ns), "max": _ms(summary.max_ns)}


def median_spread(runs: Sequence[Spread]) -> Spread:
    """The median over repetitions of each number; a repetition without it does not count."""
    medians: Spread = {}
    for key in NOTHING:
        values = [value for run in runs if (value := run[key]) is not None]
        medians[key] = round(statistics.median(values), DIGITS) if values else None
    return medians


def ratio(theirs: float | None, ours: float | None) -> float | None:
    """How many times theirs is ours; None where either is missing or ours is zero."""
    return round(theirs / ours, 2) if theirs is not None and ours else None


def shown(value: float | None, digits: int = 3) -> str:
    """For a table's cell."""
    return "-" if value is None else f"{value:.{digits}f}"


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


def _ms(value_ns: int) -> float:
    return round(value_ns / 1e6, DIGITS)
