from __future__ import annotations

from fractal_live.live.telemetry import LatenessSummary, Telemetry

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
