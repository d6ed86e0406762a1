"""Arrival times of a leader's clocks to a smooth timeline: tempo and phase without the jitter.

Ticks, Start and holes around the estimator of `live.clock_filter`. Knows nothing of the transport: it is told
which tick the next clock is.
"""

from __future__ import annotations

import math

from fractal_live.live.clock_filter import ClockFilter
from fractal_live.live.clock_quantum import QuantumWatch
from fractal_live.live.timeline import Timeline, beat_ns_at
from fractal_live.music.meter import PPQN, TICKS_PER_CLOCK

LOST_NS = 250_000_000
LOST_INTERVALS = 4
LOCK_CLOCKS = 12
NS_PER_MS = 1e6


class ClockFollower:
    """Follows clocks that are `ticks_per_clock` apart. All times are time.monotonic_ns. For one thread.

    Through a hole in the stream the position runs on.
    """

    def __init__(self, tempo_bpm: float = 120.0, ticks_per_clock: int = TICKS_PER_CLOCK) -> None:
        self.ticks_per_clock = ticks_per_clock
        beats_per_clock = ticks_per_clock / PPQN
        min_period_ms = beat_ns_at(math.inf) * beats_per_clock / NS_PER_MS
        self._filter = ClockFilter(beat_ns_at(tempo_bpm) * beats_per_clock / NS_PER_MS, min_period_ms)
        self._quantum = QuantumWatch()
        self._first_tick = 0  # of the filter's clock 0
        self._last_ns: int | None = None
        self._is_exact = False  # the next clock's arrival is the truth, whatever the filter says
        self._timeline = Timeline(-ticks_per_clock, 0, beat_ns_at(tempo_bpm))

    @property
    def tempo_bpm(self) -> float:
        return 60e3 * self.ticks_per_clock / (PPQN * self._filter.best.period_ms)

    @property
    def tick(self) -> int:
        """The tick of the last clock."""
        return self._first_tick + self._filter.best.count * self.ticks_per_clock

    @property
    def dropped_clocks(self) -> int:
        """Clocks that are taken to have been swallowed on the way."""
        return self._filter.best.lost

    @property
    def is_locked(self) -> bool:
        """Enough clocks have come since the start or the last tempo jump to trust the tempo."""
        return self._last_ns is not None and self._filter.best.age >= min(LOCK_CLOCKS, 2 * PPQN // self.ticks_per_clock)

    @property
    def timeline(self) -> Timeline:
        """Through the last clock; meaningful once a clock has come."""
        return self._timeline

    def is_lost(self, now_ns: int) -> bool:
        """No clock for a quarter second, or for four intervals where these are longer."""
        return self._last_ns is None or now_ns >= self.lost_at_ns

    @property
    def lost_at_ns(self) -> int:
        """When the clock counts as lost if none comes before."""
        return (self._last_ns or 0) + max(LOST_NS, round(LOST_INTERVALS * self._filter.best.period_ms * NS_PER_MS))

    def expect(self, tick: int) -> None:
        """The next clock is this tick, and falls on its arrival (it begins to roll)."""
        self._first_tick = tick - (self._filter.best.count + 1) * self.ticks_per_clock
        self._is_exact = True

    def clock(self, now_ns: int) -> None:
        """A clock has come at `now_ns`."""
        self._quantum.clock(now_ns)
        self._filter.quantum_ms = self._quantum.quantum_ns / NS_PER_MS
        if self._last_ns is None or (self._is_exact and now_ns >= self.lost_at_ns):
            self._filter.begin()
        else:
            elapsed_ms = (now_ns - self._last_ns) / NS_PER_MS
            if self._is_exact:
                self._filter.anchor(elapsed_ms)
            else:
                self._filter.arrive(elapsed_ms)
        self._last_ns = now_ns
        best = self._filter.best
        time_ms = min(best.time_ms, 0.0) if self._is_exact else best.time_ms
        self._is_exact = False
        beat_ns = max(round(best.period_ms * NS_PER_MS * PPQN / self.ticks_per_clock), PPQN)
        self._timeline = Timeline(self.tick, now_ns + round(time_ms * NS_PER_MS), beat_ns)
