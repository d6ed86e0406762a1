"""Simulated leaders: steady, jittery, jumping, vanishing. Errors are a player's: at every clock, lost ones too, by
the timeline just before it arrives and just after. Every simulation is seeded, so that none fails by chance."""

from __future__ import annotations

import numpy as np
import pytest

from fractal_live.bench import leaders
from fractal_live.bench.clock import Followed, follow, recorded
from fractal_live.bench.leaders import Clocks
from fractal_live.live.clock_follower import ClockFollower
from fractal_live.live.clock_quantum import QuantumWatch
from fractal_live.music.meter import PPQN, TICKS_PER_CLOCK

MS = 1_000_000
SEEDS = range(2)
JACK_PERIODS_MS = [256 / 48, 512 / 48, 1024 / 48, 1024 / 44.1]


def followed(clocks: Clocks) -> Followed:
    follower = ClockFollower()
    follower.expect(0)
    return follow(follower, clocks)


def heard(clocks: Clocks) -> ClockFollower:
    """A follower after all of it."""
    follower = ClockFollower()
    follower.expect(0)
    for arrival_ns in clocks.arrival_ns.tolist():
        follower.clock(arrival_ns)
    return follower


def p99(errors: np.ndarray) -> float:
    return float(np.percentile(errors, 99))


# Laws


@pytest.mark.parametrize("tempo_bpm", [40, 60, 90, 120, 180, 240, 300])
def test_an_exact_clock_is_followed_exactly_from_its_second_clock_on(tempo_bpm: float) -> None:
    clocks = leaders.steady(5, tempo_bpm)
    follower = ClockFollower()
    follower.expect(0)
    tempos_bpm = []
    for number, arrival_ns in enumerate(clocks.arrival_ns.tolist()):
        follower.clock(arrival_ns)
        assert abs(follower.timeline.time_at(number * TICKS_PER_CLOCK) - arrival_ns) < 0.01 * MS
        tempos_bpm.append(follower.tempo_bpm)
    assert tempos_bpm[1:] == pytest.approx([tempo_bpm] * (len(tempos_bpm) - 1), rel=2e-3)
    assert tempos_bpm[24:] == pytest.approx([tempo_bpm] * (len(tempos_bpm) - 24), rel=1e-5)


def test_what_it_says_does_not_depend_on_when_the_clocks_come() -> None:
    """A year of uptime: integers at the border, differences inside, so that nothing is rounded away."""
    clocks = leaders.jittery(leaders.steady(10), 1.0, 0)
    later_ns = 365 * 86_400 * 10**9
    early, late = ClockFollower(), ClockFollower()
    for arrival_ns in clocks.arrival_ns.tolist():
        early.clock(arrival_ns)
        late.clock(arrival_ns + later_ns)
    assert late.timeline.origin_ns - later_ns == early.timeline.origin_ns
    assert (late.tick, late.timeline.beat_ns) == (early.tick, early.timeline.beat_ns)


def test_twelve_minutes_of_beats_does_not_drift() -> None:
    follower = ClockFollower(ticks_per_clock=PPQN)
    follower.expect(0)
    for beat in range(3_600):
        follower.clock(10**9 + beat * 200 * MS)
    assert abs(follower.timeline.time_at(3_599 * PPQN) - (10**9 + 3_599 * 200 * MS)) <= 1000
    assert abs(follower.timeline.time_at(4_599 * PPQN) - (10**9 + 4_599 * 200 * MS)) <= MS


def test_it_is_locked_after_half_a_beat_of_clocks() -> None:
    follower = ClockFollower()
    follower.expect(0)
    claims = []
    for arrival_ns in leaders.steady(0.49).arrival_ns.tolist():
        follower.clock(arrival_ns)
        claims.append(follower.is_locked)
    assert claims[:11] == [False] * 11
    assert claims[11:] == [True] * (len(claims) - 11)


def test_a_quarter_second_of_silence_loses_the_clock() -> None:
    assert ClockFollower().is_lost(0)
    clocks = leaders.steady(1)
    follower = heard(clocks)
    last_ns = int(clocks.arrival_ns[-1])
    assert not follower.is_lost(last_ns + 249 * MS)
    assert follower.is_lost(last_ns + 250 * MS)


def test_a_very_slow_clock_is_given_four_of_its_intervals() -> None:
    clocks = leaders.steady(4, 20)
    follower = heard(clocks)
    assert not follower.is_lost(int(clocks.arrival_ns[-1]) + 490 * MS)
    assert follower.is_lost(int(clocks.arrival_ns[-1]) + 510 * MS)


def test_the_expected_clock_falls_on_its_arrival_whatever_came_before() -> None:
    """Clocks that run while stopped give the tempo; the first one after Start gives the phase."""
    for offset_ms in (-3, 0, 4, 9):
        clocks = leaders.steady(2, 90)
        follower = heard(clocks)
        follower.expect(960)
        first_ns = int(clocks.arrival_ns[-1]) + 27_777_778 + offset_ms * MS
        follower.clock(first_ns)
        assert follower.timeline.tick_at(first_ns) >= 960
        assert follower.timeline.time_at(960) >= first_ns - 4 * MS
        assert follower.tempo_bpm == pytest.approx(90, rel=0.01)


def test_after_a_long_stop_the_new_start_has_its_own_tempo() -> None:
    follower = heard(leaders.steady(3, 120))
    follower.expect(0)
    for number in range(24):
        follower.clock(20 * 10**9 + number * 31_250_000)
    assert follower.tempo_bpm == pytest.approx(80, rel=1e-3)
    assert follower.tick == 23 * TICKS_PER_CLOCK


# Jitter, starts, tempos


@pytest.mark.parametrize(("jitter_ms", "p99_ms"), [(1.0, 0.8), (3.0, 1.8)])
def test_jitter_is_filtered(jitter_ms: float, p99_ms: float) -> None:
    errors = [followed(leaders.jittery(leaders.steady(45), jitter_ms, seed)).errors(10) for seed in SEEDS]
    assert p99(np.concatenate(errors)) < p99_ms


@pytest.mark.parametrize("seed", range(5))
def test_heavy_jitter_that_sets_in_after_exact_clocks_moves_the_position_by_no_clock(seed: int) -> None:
    """A quarter of the interval (standard deviation), cut at half of it: it was once read as new tempos with clocks
    lost in between, and the position was ahead by up to 52 clocks for good."""
    clocks = leaders.steady(140)
    noise_ms = np.random.default_rng(seed).normal(0, 5, len(clocks.true_ns)).clip(-10, 10)
    noise_ms[: 20 * 48] = 0
    spoilt = leaders.arriving(clocks, clocks.arrival_ns + noise_ms * MS)
    follower = ClockFollower()
    follower.expect(0)
    result = follow(follower, spoilt)
    assert result.errors(20).max() < 20, "less than an interval"
    assert p99(result.errors(30)) < 3
    assert follower.tick == int(spoilt.number[-1]) * TICKS_PER_CLOCK
    assert follower.dropped_clocks == 0


@pytest.mark.parametrize("tempo_bpm", [40, 60, 120, 200, 300])
def test_a_start_at_any_tempo_is_in_phase_within_three_seconds(tempo_bpm: float) -> None:
    for seed in SEEDS:
        assert followed(leaders.jittery(leaders.steady(6, tempo_bpm), 1.0, seed)).errors(3).max() < 2


@pytest.mark.parametrize(("jitter_ms", "greatest_ms", "within_s"), [(1.0, 8, 0.2), (3.0, 16, 0.5)])
def test_a_push_from_120_to_128_is_followed_at_once(jitter_ms: float, greatest_ms: float, within_s: float) -> None:
    for seed in SEEDS:
        result = followed(leaders.jittery(leaders.jumping((15, 120), (10, 128)), jitter_ms, seed))
        assert result.good_after(15) <= within_s
        assert result.errors(15).max() < greatest_ms


@pytest.mark.parametrize("jitter_ms", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("tempo_bpm", [40, 60, 90, 121, 180, 240])
def test_a_tempo_jump_is_followed_soon_and_no_clock_is_miscounted(tempo_bpm: float, jitter_ms: float) -> None:
    """Also where the new interval is a multiple of the old one, as if clocks were lost or doubled. At 3 ms jitter one
    arrival 12 ms off may bend the tempo once more, for as long as a clock."""
    for seed in SEEDS:
        result = followed(leaders.jittery(leaders.jumping((6, 120), (4, tempo_bpm)), jitter_ms, seed))
        assert result.good_after(6) <= (0.5 if jitter_ms < 3 else 1.0)
        assert result.errors(9).max() < 5


@pytest.mark.parametrize(("jitter_ms", "p99_ms"), [(0.3, 1.0), (1.0, 2.5)])
def test_a_ramp_of_a_bpm_a_second_is_followed(jitter_ms: float, p99_ms: float) -> None:
    result = followed(leaders.jittery(leaders.ramping(5, 30, 5, 100, 1), jitter_ms, 0))
    assert p99(result.errors(5)) < p99_ms
    assert result.errors(5).max() < 10


# What happens on the way


@pytest.mark.parametrize("spoil", [leaders.losing, leaders.doubling])
def test_single_clocks_lost_or_doubled_do_not_move_the_beat(spoil) -> None:  # type: ignore[no-untyped-def]
    for seed in SEEDS:
        result = followed(spoil(leaders.jittery(leaders.steady(120 if seed else 30), 1.0, seed), 0.01, seed + 100))
        assert p99(result.errors(5)) < 0.8
        assert result.errors(5).max() < 2


def test_lost_clocks_are_counted() -> None:
    clocks = leaders.losing(leaders.jittery(leaders.steady(30), 0.3, 1), 0.01, 2)
    assert heard(clocks).dropped_clocks == len(clocks.true_ns) - len(clocks.arrival_ns) > 5


def test_stalls_of_the_receiver_are_not_heard() -> None:
    for seed in SEEDS:
        assert followed(leaders.stalling(leaders.jittery(leaders.steady(40), 0.3, seed), seed)).errors(5).max() < 1


@pytest.mark.parametrize("hole_s", [0.1, 0.25, 1, 2, 4])
def test_the_beat_runs_on_through_a_hole_and_the_clock_is_taken_up_in_phase(hole_s: float) -> None:
    for seed in SEEDS:
        clocks = leaders.silent(leaders.jittery(leaders.steady(18), 0.3, seed), 12, hole_s)
        assert followed(clocks).errors(12).max() < (2 if hole_s <= 2 else 4)
        follower = heard(clocks)
        assert follower.tick == int(clocks.number[-1]) * TICKS_PER_CLOCK
        assert follower.dropped_clocks == len(clocks.true_ns) - len(clocks.arrival_ns)


def test_a_leader_that_moves_its_phase_is_followed_there() -> None:
    steady = leaders.jittery(leaders.steady(15), 0.3, 0)
    moved = leaders.from_intervals(
        np.diff(steady.true_ns) + np.where(np.arange(len(steady.true_ns) - 1) == 480, 6e6, 0)
    )
    assert followed(leaders.jittery(moved, 0.3, 0)).good_after(10) < 0.2


# Drivers that round


@pytest.mark.parametrize("tempo_bpm", [97, 125, 140])
@pytest.mark.parametrize("quantum_ms", JACK_PERIODS_MS)
def test_arrivals_rounded_to_a_drivers_period_are_smoothed_and_counted(quantum_ms: float, tempo_bpm: float) -> None:
    """All that is left is that they are late by half a period in the mean."""
    clocks = leaders.quantised(leaders.jittery(leaders.steady(20, tempo_bpm), 0.1, 0), quantum_ms, 0)
    errors = followed(clocks).after[-480:] - quantum_ms / 2
    assert np.abs(errors).max() < 3


def test_the_drivers_period_is_read_off_the_arrivals_and_off_nothing_else() -> None:
    for quantum_ms in (*JACK_PERIODS_MS, 0.0):
        clocks = leaders.jittery(leaders.steady(10), 0.1, 0)
        watch = QuantumWatch()
        for arrival_ns in (leaders.quantised(clocks, quantum_ms, 0) if quantum_ms else clocks).arrival_ns.tolist():
            watch.clock(arrival_ns)
        assert watch.quantum_ns == pytest.approx(quantum_ms * MS)


@pytest.mark.parametrize(("name", "p99_ms"), [("jack_256", 0.8), ("jack_1024", 4.0)])
def test_a_recorded_clock_is_followed(name: str, p99_ms: float) -> None:
    result = followed(recorded(name))
    after = result.after[result.arrived_at_s > 5]
    assert p99(np.abs(after - np.median(after))) < p99_ms
