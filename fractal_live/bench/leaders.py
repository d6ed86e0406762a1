"""Simulated leaders: when the clocks of a tempo fall, and when they arrive after what happens on the way.

A `Clocks` is made exact by `steady`, `jumping` or `ramping` and then spoiled by the other functions, each seeded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

CLOCKS_PER_MINUTE_PER_BPM = 24
NS_PER_MS = 1e6
ORIGIN_NS = 1_000_000_000

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clocks:
    """`true_ns` (N,): when the leader's clock k falls. `arrival_ns` (M,), never decreasing: when a clock arrives;
    `number` (M,): which one it is. Lost clocks are in no `number`, doubled ones in it twice."""

    true_ns: Times
    arrival_ns: Times
    number: Times


def from_intervals(intervals_ns: NDArray[np.float64]) -> Clocks:
    """Exact clocks, the first at 1 s."""
    true_ns = np.rint(ORIGIN_NS + np.concatenate([[0.0], np.cumsum(intervals_ns)])).astype(np.int64)
    return Clocks(true_ns, true_ns, np.arange(len(true_ns)))


def jumping(*stretches: tuple[float, float]) -> Clocks:
    """Exact clocks of (seconds, bpm) stretches."""
    lengths = [(60e9 / bpm / CLOCKS_PER_MINUTE_PER_BPM, seconds) for seconds, bpm in stretches]
    return from_intervals(np.concatenate([np.full(round(seconds * 1e9 / each), each) for each, seconds in lengths]))


def steady(seconds: float, tempo_bpm: float = 120.0) -> Clocks:
    return jumping((seconds, tempo_bpm))


def ramping(before_s: float, ramp_s: float, after_s: float, from_bpm: float, bpm_per_s: float) -> Clocks:
    """A straight tempo ramp between two steady stretches."""
    intervals, now_s, end_s = [], 0.0, before_s + ramp_s + after_s
    while now_s < end_s:
        bpm = from_bpm + bpm_per_s * min(max(now_s - before_s, 0.0), ramp_s)
        intervals.append(60 / bpm / CLOCKS_PER_MINUTE_PER_BPM)
        now_s += intervals[-1]
    return from_intervals(np.array(intervals) * 1e9)


def arriving(clocks: Clocks, arrival_ns: NDArray[np.float64]) -> Clocks:
    """At these times, but none before the one ahead of it: a port keeps the order."""
    return replace(clocks, arrival_ns=np.maximum.accumulate(np.rint(arrival_ns).astype(np.int64)))


def jittery(clocks: Clocks, jitter_ms: float, seed: int) -> Clocks:
    """Early or late by a normal deviation of that standard deviation."""
    noise = np.random.default_rng(seed).normal(0, jitter_ms * NS_PER_MS, len(clocks.arrival_ns))
    return arriving(clocks, clocks.arrival_ns + noise)


def losing(clocks: Clocks, share: float, seed: int) -> Clocks:
    """Each clock but those of the first beat is lost with that probability."""
    is_kept = np.random.default_rng(seed).random(len(clocks.number)) >= share
    is_kept[:24] = True
    return Clocks(clocks.true_ns, clocks.arrival_ns[is_kept], clocks.number[is_kept])


def doubling(clocks: Clocks, share: float, seed: int, within_ms: float = 2.0) -> Clocks:
    """Each clock but those of the first beat comes a second time, 0 to `within_ms` later, with that probability."""
    rng = np.random.default_rng(seed)
    again = np.flatnonzero(rng.random(len(clocks.number)) < share)
    again = again[again >= 24]
    copies = clocks.arrival_ns[again] + np.rint(rng.uniform(0, within_ms * NS_PER_MS, len(again))).astype(np.int64)
    arrival_ns = np.concatenate([clocks.arrival_ns, copies])
    order = np.argsort(arrival_ns, kind="stable")
    return Clocks(clocks.true_ns, arrival_ns[order], np.concatenate([clocks.number, clocks.number[again]])[order])


def stalling(clocks: Clocks, seed: int, per_s: float = 0.5, from_ms: float = 5.0, to_ms: float = 60.0) -> Clocks:
    """Now and then the receiver sleeps; what arrived meanwhile is heard when it wakes, 20 µs apart."""
    rng = np.random.default_rng(seed)
    arrival_ns = clocks.arrival_ns.copy()
    stall_ns = float(arrival_ns[0]) + NS_PER_MS * 1000
    while (stall_ns := stall_ns + rng.exponential(1e9 / per_s)) < arrival_ns[-1]:
        wake_ns = stall_ns + rng.uniform(from_ms, to_ms) * NS_PER_MS
        asleep = np.flatnonzero((arrival_ns >= stall_ns) & (arrival_ns < wake_ns))
        arrival_ns[asleep] = np.rint(wake_ns + 20_000 * np.arange(len(asleep))).astype(np.int64)
    return replace(clocks, arrival_ns=np.maximum.accumulate(arrival_ns))


def silent(clocks: Clocks, from_s: float, hole_s: float) -> Clocks:
    """Nothing arrives from `from_s` after the first clock on, for `hole_s`; the leader plays on."""
    at_s = (clocks.true_ns[clocks.number] - clocks.true_ns[0]) / 1e9
    is_kept = (at_s < from_s) | (at_s >= from_s + hole_s)
    return Clocks(clocks.true_ns, clocks.arrival_ns[is_kept], clocks.number[is_kept])


def quantised(clocks: Clocks, quantum_ms: float, seed: int, wake_ms: float = 0.05) -> Clocks:
    """Heard at the end of the driver's period it falls into, plus a wake-up time (exponential, mean `wake_ms`)."""
    rng = np.random.default_rng(seed)
    quantum_ns = quantum_ms * NS_PER_MS
    offset_ns = rng.uniform(0, quantum_ns)
    ends_ns = np.ceil((clocks.arrival_ns - offset_ns) / quantum_ns) * quantum_ns + offset_ns
    period, wake_of = np.unique(ends_ns, return_inverse=True)
    return arriving(clocks, ends_ns + rng.exponential(wake_ms * NS_PER_MS, len(period))[wake_of])
