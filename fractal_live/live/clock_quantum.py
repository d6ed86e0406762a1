"""Whether a driver hands its MIDI over only once per audio period, read off the arrivals themselves.

Behind such a driver (JACK, PipeWire) clocks arrive up to a period late and in bunches, which is neither jitter nor
loss. All arrivals then fall on one grid; a leader's own clocks do so only if its tempo happens to divide it.
"""

from __future__ import annotations

import cmath
import math

PERIOD_FRAMES = (4096, 2048, 1024, 512, 256)  # a shorter period is no worse than ordinary jitter
SAMPLE_RATES_HZ = (44_100, 48_000)  # the periods of 88.2 and 96 kHz are among those of these
MEMORY_CLOCKS = 64
LEAST_CLOCKS = 24
LEAST_COHERENCE = 0.9
QUANTA_NS = sorted((frames * 1e9 / rate for frames in PERIOD_FRAMES for rate in SAMPLE_RATES_HZ), reverse=True)


class QuantumWatch:
    """For one thread. Per candidate the mean direction of the arrivals' phases on its grid, newest weighing most:
    its length is 1 if all arrivals fall on the grid, about 0 if they fall anywhere."""

    def __init__(self) -> None:
        self._clocks = 0
        self._directions = [0j] * len(QUANTA_NS)

    def clock(self, now_ns: int) -> None:
        """A clock has come at `now_ns`."""
        self._clocks += 1
        share = max(1 / MEMORY_CLOCKS, 1 / self._clocks)
        self._directions = [
            direction + share * (cmath.rect(1.0, math.tau * math.fmod(now_ns, quantum_ns) / quantum_ns) - direction)
            for quantum_ns, direction in zip(QUANTA_NS, self._directions, strict=True)
        ]

    @property
    def quantum_ns(self) -> float:
        """The longest period whose grid all arrivals fall on; 0 if none."""
        if self._clocks < LEAST_CLOCKS:
            return 0.0
        pairs = zip(QUANTA_NS, self._directions, strict=True)
        return next((quantum_ns for quantum_ns, each in pairs if abs(each) >= LEAST_COHERENCE), 0.0)
