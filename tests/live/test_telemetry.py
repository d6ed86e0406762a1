from __future__ import annotations

import random

from fractal_live.live.telemetry import LatenessSummary, Telemetry, lateness_of

S = 1_000_000_000


def test_nothing_sent_is_nothing_late() -> None:
    assert Telemetry().lateness(0) == LatenessSummary(0, 0, 0)


def test_percentiles_are_values_that_occurred() -> None:
    telemetry = Telemetry()
    for lateness_ns in range(1, 101):
        telemetry.sent(S, S + lateness_ns)
    assert telemetry.lateness(S) == LatenessSummary(50, 99, 100)
    assert telemetry.counts["sent"] == 100


def test_only_the_last_five_seconds_count() -> None:
    telemetry = Telemetry()
    telemetry.sent(0, 900)
    telemetry.sent(4 * S, 4 * S + 7)
    assert telemetry.lateness(4 * S).max_ns == 900
    assert telemetry.lateness(6 * S) == LatenessSummary(7, 7, 7)
    assert telemetry.lateness(10 * S) == LatenessSummary()


def test_thousands_of_values_stay_bounded_and_the_newest_remain() -> None:
    telemetry = Telemetry()
    for lateness_ns in range(5000):
        telemetry.sent(0, lateness_ns)
    assert telemetry.lateness(0) == LatenessSummary(4487, 4989, 4999)
    assert telemetry.counts["sent"] == 5000


def test_counters_count() -> None:
    telemetry = Telemetry()
    telemetry.count("faults")
    telemetry.count("faults", 2)
    assert telemetry.counts == {"faults": 3}


def test_the_bins_of_a_whole_set_give_its_percentiles_within_a_bin_and_its_worst_exactly() -> None:
    rng = random.Random(1)
    values = sorted(round(10 ** rng.uniform(2, 8)) for _ in range(20_000))  # 100 ns to 0.1 s
    telemetry = Telemetry()
    for lateness_ns in values:
        telemetry.sent(S, S + lateness_ns)
    read = lateness_of(telemetry.bins, telemetry.worst_ns)
    assert sum(telemetry.bins) == 20_000
    assert values[9_999] <= read.p50_ns <= 1.045 * values[9_999]
    assert values[19_799] <= read.p99_ns <= 1.045 * values[19_799]
    assert read.max_ns == values[-1]


def test_bins_hold_what_is_early_and_what_is_absurdly_late() -> None:
    telemetry = Telemetry()
    telemetry.sent(S, S - 5)
    assert lateness_of(telemetry.bins, telemetry.worst_ns) == LatenessSummary(0, 0, 0)
    telemetry.sent(0, 3600 * S)
    assert lateness_of(telemetry.bins, telemetry.worst_ns) == LatenessSummary(1000, 3600 * S, 3600 * S)
    assert lateness_of([], 0) == LatenessSummary()
