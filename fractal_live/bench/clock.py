"""How closely clocks are followed: ours beside the usual followers, on the same simulated and recorded clocks.

An error is the time at which a player would play a clock's tick less when the leader plays it, both by the timeline
just before that clock arrives (lost clocks too) and just after. Simulated time: nothing here waits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from fractal_live.bench import leaders
from fractal_live.bench.leaders import Clocks
from fractal_live.live.clock_follower import ClockFollower
from fractal_live.live.timeline import Timeline
from fractal_live.music.meter import CLOCKS_PER_BEAT, TICKS_PER_CLOCK

RECORDED = Path(__file__).parent / "recorded_clocks.npz"
SETTLED_S = 5.0
GOOD_MS = 5.0
NOTES = {
    "sd1_p99_ms": "1 ms jitter, 99th percentile",
    "sd3_p99_ms": "3 ms jitter, 99th percentile",
    "relock_s": "120 to 128 bpm: within 5 ms for good",
    "jump_max_ms": "120 to 128 bpm: greatest error",
    "jump_90_final_ms": "120 to 90 bpm: at the end",
    "ramp_p99_ms": "ramp of 1 bpm a second",
    "drop_p99_ms": "1 % of clocks lost",
    "drop_final_ms": "1 % of clocks lost: at the end",
    "double_p99_ms": "1 % of clocks doubled",
    "stall_p99_ms": "stalls up to 60 ms",
    "stall_max_ms": "stalls up to 60 ms: greatest error",
    "hole_max_ms": "a hole of 2 s and after",
    "recorded_256_p99_ms": "recorded, JACK period 256",
    "recorded_1024_p99_ms": "recorded, JACK period 1024",
}
"""What is measured, in the order shown; the last word of a key is its unit."""


class Follower(Protocol):
    """What is compared: told of arrivals, it says when ticks fall. The first clock is tick 0."""

    @property
    def timeline(self) -> Timeline: ...

    def clock(self, now_ns: int) -> None: ...


class MovingAverage:
    """The mean of the last intervals through the last arrival (norns takes 24); with one interval, the naive way."""

    def __init__(self, intervals: int) -> None:
        self._arrivals: deque[int] = deque(maxlen=intervals + 1)
        self._clocks = 0

    @property
    def timeline(self) -> Timeline:
        span_ns = self._arrivals[-1] - self._arrivals[0] if len(self._arrivals) > 1 else 500_000_000 // CLOCKS_PER_BEAT
        beat_ns = max(span_ns * CLOCKS_PER_BEAT // max(len(self._arrivals) - 1, 1), 1_000_000)
        return Timeline((self._clocks - 1) * TICKS_PER_CLOCK, self._arrivals[-1], beat_ns)

    def clock(self, now_ns: int) -> None:
        self._arrivals.append(now_ns)
        self._clocks += 1


class DelayLockedLoop:
    """Second order, bandwidth 0.005 per clock as in Ardour's clock slave (0.24 Hz at 120 bpm); the second clock
    sets the tempo. (F. Adriaensen, "Using a DLL to filter time", section 3.)"""

    OMEGA = 2 * math.pi * 0.005

    def __init__(self) -> None:
        self._clocks = 0
        self._origin_ns = 0
        self._time_ns = 0.0  # of the last clock, after the first one's
        self._period_ns = 5e8 / CLOCKS_PER_BEAT

    @property
    def timeline(self) -> Timeline:
        beat_ns = max(round(self._period_ns * CLOCKS_PER_BEAT), 1_000_000)
        return Timeline((self._clocks - 1) * TICKS_PER_CLOCK, self._origin_ns + round(self._time_ns), beat_ns)

    def clock(self, now_ns: int) -> None:
        if self._clocks == 0:
            self._origin_ns = now_ns
        elif self._clocks == 1:
            self._time_ns = self._period_ns = float(now_ns - self._origin_ns)
        else:
            error_ns = now_ns - self._origin_ns - self._time_ns - self._period_ns
            self._time_ns += self._period_ns + math.sqrt(2) * self.OMEGA * error_ns
            self._period_ns += self.OMEGA**2 * error_ns
        self._clocks += 1


def _ours() -> ClockFollower:
    follower = ClockFollower()
    follower.expect(0)
    return follower


FOLLOWERS: dict[str, Callable[[], Follower]] = {
    "ours": _ours,
    "moving_average": lambda: MovingAverage(24),
    "dll": DelayLockedLoop,
    "naive": lambda: MovingAverage(1),
}


@dataclass(frozen=True, slots=True)
class Followed:
    """Errors in ms. `before` (N,): at each of the leader's clocks by what was known before it arrived (0 at the
    first). `after` (M,): at each arrival by what was known then. `at_s` (N,) and `arrived_at_s` (M,): seconds of
    the leader's time since the first clock."""

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    at_s: NDArray[np.float64]
    arrived_at_s: NDArray[np.float64]

    def errors(self, from_s: float, to_s: float = math.inf) -> NDArray[np.float64]:
        """Absolute errors before and after arrivals in that time."""
        before = self.before[(self.at_s >= from_s) & (self.at_s < to_s)]
        after = self.after[(self.arrived_at_s >= from_s) & (self.arrived_at_s < to_s)]
        errors: NDArray[np.float64] = np.abs(np.concatenate([before, after]))
        return errors

    def good_after(self, from_s: float) -> float:
        """Seconds from then until the error stays below 5 ms."""
        bad = np.concatenate(
            [self.at_s[np.abs(self.before) > GOOD_MS], self.arrived_at_s[np.abs(self.after) > GOOD_MS]]
        )
        return float(max(np.max(bad, initial=from_s) - from_s, 0.0))


def follow(follower: Follower, clocks: Clocks) -> Followed:
    """Let it hear the clocks, and keep its errors."""
    true_ns, arrivals, numbers = clocks.true_ns.tolist(), clocks.arrival_ns.tolist(), clocks.number.tolist()
    before, after = [0.0], []
    for arrival_ns, number in zip(arrivals, numbers, strict=True):
        while len(before) <= number:
            expected_ns = follower.timeline.time_at(len(before) * TICKS_PER_CLOCK)
            before.append((expected_ns - true_ns[len(before)]) / leaders.NS_PER_MS)
        follower.clock(arrival_ns)
        after.append((follower.timeline.time_at(number * TICKS_PER_CLOCK) - true_ns[number]) / leaders.NS_PER_MS)
    at_s = (clocks.true_ns - clocks.true_ns[0]) / 1e9
    return Followed(np.array(before), np.array(after), at_s[: len(before)], at_s[clocks.number])


def recorded(name: str) -> Clocks:
    """jack_midi_clock at 120 bpm through a JACK dummy server, stamped by python-rtmidi: `jack_256` or `jack_1024`
    (frames of a period at 48 kHz). The true times are those of the straight line through the arrivals."""
    with np.load(RECORDED) as file:
        arrival_ns = leaders.ORIGIN_NS + file[name].astype(np.int64) * 1000
    number = np.arange(len(arrival_ns))
    line = np.polynomial.Polynomial.fit(number, arrival_ns, 1)
    return Clocks(np.rint(line(number)).astype(np.int64), arrival_ns, number)


def run_clock(seeds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Medians over `seeds` of each figure in NOTES, per follower; every simulated performance lasts `seconds`
    (at least 20). Takes about a fifteenth of `seeds` times `seconds`."""
    if seeds < 1 or seconds < 20:
        raise ValueError(f"seeds is {seeds}, at least 1; seconds is {seconds:g}, at least 20")
    figures: dict[str, dict[str, float]] = {}
    for name, new in FOLLOWERS.items():
        measured = [_measure(new, seed, seconds) for seed in range(seeds)]
        figures[name] = {key: round(float(np.median([each[key] for each in measured])), 3) for key in NOTES}
    return figures


def table(figures: dict[str, dict[str, float]]) -> Table:
    """The figures of `run_clock`, a row each, a column per follower."""
    shown = Table(title="following a clock")
    shown.add_column("")
    for name in figures:
        shown.add_column(name.replace("_", " "), justify="right")
    for key, note in NOTES.items():
        unit = key.rpartition("_")[2]
        shown.add_row(f"{note} ({unit})", *(f"{each[key]:.2f}" for each in figures.values()))
    return shown


def _measure(new: Callable[[], Follower], seed: int, seconds: float) -> dict[str, float]:
    """One seed of every figure."""
    half_s = seconds / 2
    steady = leaders.jittery(leaders.steady(seconds), 1.0, seed)
    exact = leaders.jittery(leaders.steady(seconds), 0.3, seed)
    jump = follow(new(), leaders.jittery(leaders.jumping((half_s, 120), (half_s, 128)), 1.0, seed))
    slower = follow(new(), leaders.jittery(leaders.jumping((half_s, 120), (half_s, 90)), 1.0, seed))
    ramp = follow(new(), leaders.jittery(leaders.ramping(10, seconds - 15, 5, 100, 1), 1.0, seed))
    lossy = follow(new(), leaders.losing(steady, 0.01, seed))
    doubled = follow(new(), leaders.doubling(steady, 0.01, seed))
    stalled = follow(new(), leaders.stalling(exact, seed))
    hole = follow(new(), leaders.silent(steady, half_s, 2.0))
    recordings = {frames: follow(new(), recorded(f"jack_{frames}")) for frames in (256, 1024)}
    return {
        "sd1_p99_ms": _p99(jump.errors(SETTLED_S, half_s)),
        "sd3_p99_ms": _p99(follow(new(), leaders.jittery(leaders.steady(seconds), 3.0, seed)).errors(SETTLED_S)),
        "relock_s": jump.good_after(half_s),
        "jump_max_ms": float(jump.errors(half_s).max()),
        "jump_90_final_ms": float(slower.errors(seconds - 1).max()),
        "ramp_p99_ms": _p99(ramp.errors(SETTLED_S)),
        "drop_p99_ms": _p99(lossy.errors(SETTLED_S)),
        "drop_final_ms": float(lossy.errors(seconds - 1).max()),
        "double_p99_ms": _p99(doubled.errors(SETTLED_S)),
        "stall_p99_ms": _p99(stalled.errors(SETTLED_S)),
        "stall_max_ms": float(stalled.errors(SETTLED_S).max()),
        "hole_max_ms": float(hole.errors(half_s).max()),
        **{f"recorded_{frames}_p99_ms": _p99(_centred(each)) for frames, each in recordings.items()},
    }


def _p99(errors: NDArray[np.float64]) -> float:
    return float(np.percentile(errors, 99))


def _centred(followed: Followed) -> NDArray[np.float64]:
    """Errors of a recording less their median, since nobody knows how late its arrivals are as a whole."""
    after = followed.after[followed.arrived_at_s >= SETTLED_S]
    centred: NDArray[np.float64] = np.abs(after - np.median(after))
    return centred
