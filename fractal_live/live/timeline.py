"""The straight line between ticks and nanoseconds: a tempo through one known point.

Integer arithmetic only, so that hours of playing do not drift. Refuses to know where its tempo comes
from; a tempo change makes a new timeline through the present position.
"""

from __future__ import annotations

from dataclasses import dataclass

from fractal_live.music.meter import PPQN

NS_PER_MINUTE = 60_000_000_000
MIN_TEMPO_BPM = 5.0
MAX_TEMPO_BPM = 1000.0


def beat_ns_at(tempo_bpm: float) -> int:
    """The length of a beat in nanoseconds; the tempo is clamped to 5 to 1000 bpm."""
    return round(NS_PER_MINUTE / min(max(tempo_bpm, MIN_TEMPO_BPM), MAX_TEMPO_BPM))


@dataclass(frozen=True, slots=True)
class Timeline:
    """Tick `origin_tick` falls on `origin_ns` (time.monotonic_ns); a beat lasts `beat_ns`, at least
    480 ns. Law: tick_at(time_at(k)) == k for every k, negative ones too."""

    origin_tick: int
    origin_ns: int
    beat_ns: int

    def __post_init__(self) -> None:
        if self.beat_ns < PPQN:
            raise ValueError(f"a beat of {self.beat_ns} ns is shorter than its {PPQN} ticks of 1 ns")

    @property
    def tempo_bpm(self) -> float:
        return NS_PER_MINUTE / self.beat_ns

    def tick_at(self, time_ns: int) -> int:
        """The last tick that has begun at that time: rounds down."""
        return self.origin_tick + (time_ns - self.origin_ns) * PPQN // self.beat_ns

    def time_at(self, tick: int) -> int:
        """The first nanosecond of a tick: rounds up, so that the law holds."""
        return self.origin_ns - (self.origin_tick - tick) * self.beat_ns // PPQN

    def with_beat(self, beat_ns: int, now_ns: int) -> Timeline:
        """The timeline that goes through the same point at `now_ns` with another beat length.
        The fraction of the tick under way is kept, so that neither tick nor phase jumps."""
        tick, phase = divmod((now_ns - self.origin_ns) * PPQN, self.beat_ns)
        elapsed_ns = phase * beat_ns // (self.beat_ns * PPQN)
        return Timeline(self.origin_tick + tick, now_ns - elapsed_ns, beat_ns)

    def with_tempo(self, tempo_bpm: float, now_ns: int) -> Timeline:
        """As `with_beat`, for a tempo in bpm (clamped to 5 to 1000)."""
        return self.with_beat(beat_ns_at(tempo_bpm), now_ns)
