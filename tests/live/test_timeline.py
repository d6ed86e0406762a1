"""The laws of the line between ticks and nanoseconds."""

from __future__ import annotations

import random

import pytest

from fractal_live.live.timeline import Timeline, beat_ns_at


def random_timeline(rng: random.Random) -> Timeline:
    return Timeline(rng.randrange(-5000, 10**7), rng.randrange(0, 10**15), beat_ns_at(rng.uniform(5, 1000)))


@pytest.mark.parametrize("seed", range(50))
def test_tick_at_inverts_time_at_for_a_day_of_ticks_and_before_the_origin(seed: int) -> None:
    rng = random.Random(seed)
    timeline = random_timeline(rng)
    day = 24 * 3600 * 1000 * 480
    for tick in [timeline.origin_tick + rng.randrange(-day, day) for _ in range(200)]:
        assert timeline.tick_at(timeline.time_at(tick)) == tick
        assert timeline.tick_at(timeline.time_at(tick) - 1) == tick - 1


@pytest.mark.parametrize("seed", range(50))
def test_a_tempo_change_leaves_the_present_tick_and_its_phase_where_they_are(seed: int) -> None:
    rng = random.Random(seed)
    timeline = random_timeline(rng)
    now_ns = timeline.origin_ns
    for _ in range(100):
        now_ns += rng.randrange(0, 10**10)
        changed = timeline.with_tempo(rng.uniform(5, 1000), now_ns)
        assert changed.tick_at(now_ns) == timeline.tick_at(now_ns)
        old_phase = (now_ns - timeline.time_at(timeline.tick_at(now_ns))) / timeline.beat_ns
        new_phase = (now_ns - changed.time_at(timeline.tick_at(now_ns))) / changed.beat_ns
        assert new_phase == pytest.approx(old_phase, abs=1e-6)
        timeline = changed


def test_a_beat_at_120_bpm_lasts_half_a_second() -> None:
    timeline = Timeline(0, 7, beat_ns_at(120))
    assert [timeline.time_at(tick) for tick in (-480, 0, 1, 480)] == [7 - 500_000_000, 7, 7 + 1_041_667, 500_000_007]
    assert timeline.tempo_bpm == 120


def test_a_thousand_tempo_changes_and_back_do_not_drift_by_a_tick() -> None:
    plain = changed = Timeline(0, 0, beat_ns_at(120))
    for second in range(1000):
        now_ns = second * 1_000_000_000 + 123
        changed = changed.with_tempo(97.3, now_ns).with_tempo(120, now_ns)
    assert abs(changed.time_at(10**6) - plain.time_at(10**6)) < 10_000


def test_absurd_tempi_are_clamped() -> None:
    assert beat_ns_at(0) == beat_ns_at(5) == 12_000_000_000
    assert beat_ns_at(1e9) == beat_ns_at(1000) == 60_000_000


def test_a_beat_shorter_than_its_ticks_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Timeline(0, 0, 479)
