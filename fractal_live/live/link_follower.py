"""What an Ableton Link session says of its beat, to our timeline: tempo and phase of the session, position our own.

Link knows no position, only beats whose count modulo the quantum (here a bar) all peers share. So a tick of ours may
fall on any Link beat of the same place in the bar. Refuses to know sockets and notes.
"""

from __future__ import annotations

import math

from fractal_live.live.timeline import Timeline, beat_ns_at
from fractal_live.music.meter import PPQN, TICKS_PER_STEP

GLIDE_NS = 2_000_000  # the scatter of what is said: taken up little by little
GLIDE_SHARE = 8
SAME_TEMPO = 1e-5
GRACE_NS = 50_000_000  # a place that has passed only just is still met: news of the session takes as long


class LinkFollower:
    """For one thread. `line` is the session's own timeline, a beat being PPQN ticks; None until it has been heard."""

    def __init__(self, ticks_per_bar: int) -> None:
        self.line: Timeline | None = None
        self._ticks_per_bar = ticks_per_bar

    def hear(self, tempo_bpm: float, beat: float, at_ns: int) -> None:
        """The session is at `beat` (any finite number, negative too) at `at_ns` and moves on at that tempo."""
        beat_ns = beat_ns_at(tempo_bpm)
        tick = math.floor(beat * PPQN)
        self.line = Timeline(tick, at_ns - round((beat * PPQN - tick) * beat_ns / PPQN), beat_ns)

    def next_place(self, tick: int, now_ns: int) -> int:
        """The session's next tick at which ours may be `tick`: the same place in the bar."""
        assert self.line is not None, "the session has not been heard"
        earliest = self.line.tick_at(now_ns - GRACE_NS)
        return earliest + (tick - earliest) % self._ticks_per_bar

    def timeline_with(self, tick: int, place: int) -> Timeline:
        """Ours, with `tick` at the session's tick `place`."""
        assert self.line is not None, "the session has not been heard"
        return Timeline(tick, self.line.time_at(place), self.line.beat_ns)

    def followed(self, timeline: Timeline, now_ns: int) -> tuple[Timeline, bool]:
        """`timeline` brought to the session's tempo and, by the shortest way, to its phase; and whether it jumps,
        by a sixteenth or more, because the session did. A jump never leads before tick 0."""
        assert self.line is not None, "the session has not been heard"
        tick, place = timeline.tick_at(now_ns), self.line.tick_at(now_ns)
        half = self._ticks_per_bar // 2
        moved = (place - tick + half) % self._ticks_per_bar - half
        if abs(moved) >= TICKS_PER_STEP:
            if tick + moved < 0 <= tick:
                moved += self._ticks_per_bar
            return self.timeline_with(tick + moved, place), True
        exact = self.timeline_with(tick, place - moved)
        present_ns = timeline.time_at(tick)
        error_ns = exact.origin_ns - present_ns
        is_same_tempo = abs(timeline.beat_ns - exact.beat_ns) <= SAME_TEMPO * exact.beat_ns
        if is_same_tempo and abs(error_ns) <= GLIDE_NS:
            return Timeline(tick, present_ns + round(error_ns / GLIDE_SHARE), exact.beat_ns), False
        return exact, False
