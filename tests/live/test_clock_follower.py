"""Simulated leaders: steady, jittery, jumping, vanishing."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from fractal_live.live.clock_follower import ClockFollower
from fractal_live.music.meter import TICKS_PER_CLOCK

MS = 1_000_000


@dataclass
class Followed:
    """What a follower made of the clocks: per clock the true time, the error of its phase, its tempo."""

    true_ns: list[int]
    error_ms: list[float]
    tempo_bpm: list[float]
    follower: ClockFollower

    def errors_between(self, from_s: float, to_s: float) -> list[float]:
        return [
            abs(error)
            for at_ns, error in zip(self.true_ns, self.error_ms, strict=True)
            if from_s <= (at_ns - self.true_ns[0]) / 1e9 < to_s
        ]


def true_clocks(*stretches: tuple[float, float]) -> list[int]:
    """When the clocks of (seconds, bpm) stretches fall."""
    clocks, now_ns = [], 1e9
    for seconds, tempo_bpm in stretches:
        for _ in range(round(seconds * tempo_bpm * 24 / 60)):
            clocks.append(round(now_ns))
            now_ns += 60e9 / tempo_bpm / 24
    return clocks


def follow(clocks: list[int], jitter_ms: float = 0.0, seed: int = 0, quantum_ms: float = 0.0) -> Followed:
    """Feed clocks late or early by a normal jitter, or rounded up to a driver's period."""
    rng = random.Random(seed)
    follower = ClockFollower()
    follower.expect(0)
    result = Followed([], [], [], follower)
    arrived_ns = 0
    for number, true_ns in enumerate(clocks):
        arrived_ns = max(arrived_ns, round(true_ns + rng.gauss(0, jitter_ms * MS)))
        if quantum_ms:
            arrived_ns = round(-(-arrived_ns // (quantum_ms * MS)) * quantum_ms * MS)
        follower.clock(arrived_ns)
        result.true_ns.append(true_ns)
        result.error_ms.append((follower.timeline.time_at(number * TICKS_PER_CLOCK) - true_ns) / MS)
        result.tempo_bpm.append(follower.tempo_bpm)
    return result


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


@pytest.mark.parametrize("tempo_bpm", [40, 60, 90, 120, 180, 240, 300])
def test_an_exact_clock_is_followed_exactly_from_its_second_clock_on(tempo_bpm: float) -> None:
    followed = follow(true_clocks((5, tempo_bpm)))
    assert max(map(abs, followed.error_ms)) < 0.01
    assert followed.tempo_bpm[1:] == pytest.approx([tempo_bpm] * (len(followed.tempo_bpm) - 1), rel=1e-4)


@pytest.mark.parametrize(("jitter_ms", "p99_ms"), [(1.0, 1.2), (3.0, 3.6)])
def test_jitter_is_filtered(jitter_ms: float, p99_ms: float) -> None:
    errors = []
    for seed in range(8):
        errors += follow(true_clocks((30, 120)), jitter_ms, seed).errors_between(5, 30)
    assert percentile(errors, 0.99) < p99_ms


def test_a_jittery_start_is_within_five_milliseconds_after_half_a_second() -> None:
    for seed in range(20):
        assert max(follow(true_clocks((5, 140)), 1.0, seed).errors_between(0.5, 5)) < 5


@pytest.mark.parametrize("tempo_bpm", [90, 121, 128, 180, 240])
def test_a_tempo_jump_is_followed_within_half_a_second(tempo_bpm: float) -> None:
    for seed in range(8):
        followed = follow(true_clocks((20, 120), (10, tempo_bpm)), 1.0, seed)
        assert max(followed.errors_between(20.5, 30)) < 5
        assert followed.tempo_bpm[-1] == pytest.approx(tempo_bpm, rel=0.03)


def test_a_driver_that_rounds_arrivals_to_its_period_does_not_shake_the_tempo() -> None:
    followed = follow(true_clocks((30, 120)), quantum_ms=512 / 48)
    assert all(abs(tempo_bpm - 120) < 2.5 for tempo_bpm in followed.tempo_bpm[240:])


def test_it_is_locked_after_half_a_beat_of_clocks() -> None:
    follower = ClockFollower()
    follower.expect(0)
    claims = []
    for at_ns in true_clocks((0.5, 120)):
        follower.clock(at_ns)
        claims.append(follower.is_locked)
    assert claims == [False] * 11 + [True] * 13


def test_a_quarter_second_of_silence_loses_the_clock() -> None:
    follower = ClockFollower()
    assert follower.is_lost(0)
    for at_ns in true_clocks((1, 120)):
        follower.clock(at_ns)
    assert not follower.is_lost(at_ns + 249 * MS)
    assert follower.is_lost(at_ns + 250 * MS)


def test_a_very_slow_clock_is_given_four_of_its_intervals() -> None:
    follower = ClockFollower()
    for at_ns in true_clocks((4, 20)):
        follower.clock(at_ns)
    assert not follower.is_lost(at_ns + 490 * MS)
    assert follower.is_lost(at_ns + 510 * MS)


@pytest.mark.parametrize("hole_s", [0.25, 1, 2, 4])
def test_the_position_runs_on_through_a_hole_in_the_clock(hole_s: float) -> None:
    clocks = true_clocks((20, 120))
    hole = round(hole_s * 48)
    follower = ClockFollower()
    follower.expect(0)
    for at_ns in clocks[:200] + clocks[200 + hole :]:
        follower.clock(at_ns)
    assert follower.tick == (len(clocks) - 1) * TICKS_PER_CLOCK
    assert follower.dropped_clocks == hole
    assert abs(follower.timeline.time_at(follower.tick) - clocks[-1]) < 5 * MS


def test_the_expected_clock_falls_on_its_arrival_whatever_came_before() -> None:
    """Clocks that run while stopped give the tempo; the first one after Start gives the phase."""
    for offset_ms in (-3, 0, 4, 9):
        follower = ClockFollower()
        clocks = true_clocks((2, 90))
        for at_ns in clocks:
            follower.clock(at_ns)
        follower.expect(960)
        first_ns = clocks[-1] + 27_777_778 + offset_ms * MS
        follower.clock(first_ns)
        assert follower.timeline.tick_at(first_ns) >= 960
        assert follower.timeline.time_at(960) >= first_ns - 4 * MS
        assert follower.tempo_bpm == pytest.approx(90, rel=0.08)
