"""Arrival times of a leader's clocks to a smooth timeline: tempo and phase without the jitter.

A second-order delay-locked loop (F. Adriaensen, "Using a DLL to filter time", section 3). Its gains
begin as those of a least-squares line through all clocks so far, so that it locks within the first
ones, and settle at the loop bandwidth. Knows nothing of Start and Stop: it is told which tick the
next clock is.
"""

from __future__ import annotations

import math
from collections import deque

from fractal_live.live.timeline import Timeline, beat_ns_at
from fractal_live.music.meter import PPQN, TICKS_PER_CLOCK

BANDWIDTH_HZ = 0.7
LOST_NS = 250_000_000
LOST_INTERVALS = 4
LOCK_CLOCKS = 12
MIN_JITTER_NS = 200_000.0
MAX_JITTER_NS = 8_000_000.0
MAX_DEVIATION_NS = 16_000_000.0
JITTER_MEMORY = 0.02
DRIFT_SLACK = 0.75  # deviations below this many standard deviations are taken for jitter
DRIFT_ALARM = 6.0  # accumulated deviations beyond the slack that mean: the tempo has changed
RELOCK_CLOCKS = 4


class ClockFollower:
    """Follows clocks that are `ticks_per_clock` apart. All times are time.monotonic_ns.

    For one thread. `dropped_clocks` counts the clocks that a hole in the stream is taken to have
    swallowed; the position runs on through such a hole.
    """

    def __init__(self, tempo_bpm: float = 120.0, ticks_per_clock: int = TICKS_PER_CLOCK) -> None:
        self.ticks_per_clock = ticks_per_clock
        self.dropped_clocks = 0
        self._period_ns = beat_ns_at(tempo_bpm) * ticks_per_clock / PPQN
        self._filtered_ns = 0.0  # when the last clock ought to have come
        self._last_ns: int | None = None  # when it came
        self._tick = -ticks_per_clock  # the last clock's
        self._clocks = 0  # since the last lock began; sets the gains
        self._is_exact = False  # the next clock's arrival is the truth, whatever the filter says
        self._jitter_ns = 1_000_000.0
        self._drift = [0.0, 0.0]  # upward and downward cumulative sums
        self._recent: deque[int] = deque(maxlen=RELOCK_CLOCKS + 1)

    @property
    def tempo_bpm(self) -> float:
        return 60e9 * self.ticks_per_clock / (PPQN * self._period_ns)

    @property
    def tick(self) -> int:
        """The tick of the last clock."""
        return self._tick

    @property
    def is_locked(self) -> bool:
        """Enough clocks have come since the start or the last tempo jump to trust the tempo."""
        return self._clocks >= min(LOCK_CLOCKS, 2 * PPQN // self.ticks_per_clock)

    @property
    def timeline(self) -> Timeline:
        """Through the last clock; meaningful once a clock has come."""
        beat_ns = max(round(self._period_ns * PPQN / self.ticks_per_clock), PPQN)
        return Timeline(self._tick, round(self._filtered_ns), beat_ns)

    def is_lost(self, now_ns: int) -> bool:
        """No clock for a quarter second, or for four intervals where these are longer."""
        return self._last_ns is None or now_ns >= self.lost_at_ns

    @property
    def lost_at_ns(self) -> int:
        """When the clock counts as lost if none comes before."""
        return (self._last_ns or 0) + max(LOST_NS, round(LOST_INTERVALS * self._period_ns))

    def expect(self, tick: int) -> None:
        """The next clock is this tick, and falls on its arrival (it begins to roll)."""
        self._tick = tick - self.ticks_per_clock
        self._is_exact = True

    def clock(self, now_ns: int) -> None:
        """A clock has come at `now_ns`."""
        if self._last_ns is None:
            self._begin(now_ns, clocks=1)
        elif now_ns >= self.lost_at_ns:
            self._resume(now_ns)
        else:
            self._follow(now_ns)
        self._last_ns = now_ns
        self._recent.append(now_ns)

    def _begin(self, now_ns: int, clocks: int) -> None:
        """Phase from this arrival; the more `clocks`, the longer the old tempo is believed."""
        self._tick += self.ticks_per_clock
        self._filtered_ns = now_ns
        self._clocks = clocks
        self._is_exact = False
        self._recent.clear()

    def _resume(self, now_ns: int) -> None:
        """After a hole the clock that comes is the nearest one to where the timeline has run on to."""
        if self._is_exact:
            self._begin(now_ns, clocks=1)
            return
        missed = max(round((now_ns - self._filtered_ns) / self._period_ns) - 1, 0)
        self.dropped_clocks += missed
        self._tick += missed * self.ticks_per_clock
        self._begin(now_ns, clocks=RELOCK_CLOCKS)

    def _follow(self, now_ns: int) -> None:
        self._tick += self.ticks_per_clock
        self._clocks += 1
        predicted_ns = self._filtered_ns + self._period_ns
        error_ns = now_ns - predicted_ns
        if self._is_exact and self._clocks > 2 and abs(error_ns) > self._period_ns / 4:
            self._clocks = RELOCK_CLOCKS  # the leader has begun anew: its phase is this arrival, its tempo the old one
            self._filtered_ns = now_ns
        else:
            phase_gain, period_gain = self._gains()
            self._filtered_ns = predicted_ns + phase_gain * error_ns
            self._period_ns = max(self._period_ns + period_gain * error_ns, beat_ns_at(math.inf) / PPQN)
            self._watch(now_ns, error_ns)
        if self._is_exact:
            self._filtered_ns = min(self._filtered_ns, now_ns)
            self._is_exact = False

    def _gains(self) -> tuple[float, float]:
        """Least squares over the n clocks so far, never below the loop's bandwidth."""
        n = self._clocks
        omega = 2 * math.pi * BANDWIDTH_HZ * self._period_ns * 1e-9
        phase_gain = max(2 * (2 * n - 1) / (n * (n + 1)), min(math.sqrt(2) * omega, 0.8))
        period_gain = max(6 / (n * (n + 1)), min(omega * omega, 0.4))
        return phase_gain, period_gain

    def _watch(self, now_ns: int, error_ns: float) -> None:
        """Cumulative-sum test: deviations that all point one way are a new tempo, not jitter."""
        if not self.is_locked:
            return
        deviation = min(max(error_ns / self._jitter_ns, -4.0), 4.0)
        late, early = self._drift
        self._drift = [max(0.0, late + deviation - DRIFT_SLACK), max(0.0, early - deviation - DRIFT_SLACK)]
        share = max(JITTER_MEMORY, 1 / self._clocks)
        variance = (1 - share) * self._jitter_ns**2 + share * min(abs(error_ns), MAX_DEVIATION_NS) ** 2
        self._jitter_ns = min(max(math.sqrt(variance), MIN_JITTER_NS), MAX_JITTER_NS)
        if max(self._drift) > DRIFT_ALARM and len(self._recent) > RELOCK_CLOCKS:
            self._relock(now_ns)

    def _relock(self, now_ns: int) -> None:
        """Fit a line through the last few arrivals and widen the loop again."""
        arrivals = [*list(self._recent)[-RELOCK_CLOCKS + 1 :], now_ns]
        n = len(arrivals)
        mean_ns = sum(arrivals) / n
        slope = sum((k - (n - 1) / 2) * (t - mean_ns) for k, t in enumerate(arrivals)) * 12 / (n * (n * n - 1))
        if slope > 0:
            self._period_ns = slope
            self._filtered_ns = mean_ns + slope * (n - 1) / 2
            self._clocks = n
        self._drift = [0.0, 0.0]
