"""A DAW that leads the simulated instrument: its clocks, its transport, its mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.live.simulated_port import SECOND

if TYPE_CHECKING:
    from tests.live.simulation import Evening

CLOCK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
TICKS_PER_CLOCK = 20


class Leader:
    """A DAW: clocks without end, and its transport. Its own time is exact; what arrives has jitter. `is_known` says
    that everything since its last Start has arrived, so that its position is ours."""

    def __init__(self, evening: Evening, tempo_bpm: float = 120.0, jitter_ns: float = 0.0) -> None:
        self.evening = evening
        self.is_playing = False
        self.is_known = False
        self.is_mute = False  # its clocks do not arrive, it counts on
        self.doubled = 0.0  # the share of its clocks that arrive twice
        self.jitter_ns = jitter_ns
        self.period_ns = 60e9 / tempo_bpm / 24
        self.next_clock = 0  # of the position
        self.settled_ns = 0  # since when its tempo is steady and its clocks arrive
        self._true_ns = float(evening.clock.now_ns)  # when the next clock is sent
        self._arrived_ns = 0
        self._schedule()

    def start(self) -> None:
        self.next_clock, self.is_playing, self.is_known = 0, True, True
        self._transport(START)

    def stop(self) -> None:
        self.is_playing = False
        self._transport(STOP)

    def resume(self) -> None:
        self.is_playing = True
        self._transport(CONTINUE)

    def locate(self, sixteenth: int) -> None:
        """Song Position; where it rolls this is a mistake of the leader's, to be ignored."""
        if not self.is_playing:
            self.next_clock = 6 * sixteenth
            self.is_known = True
        self._transport(SONG_POSITION, sixteenth & 0x7F, sixteenth >> 7)

    def tempo(self, tempo_bpm: float) -> None:
        self.period_ns = 60e9 / tempo_bpm / 24
        self.settled_ns = self.evening.clock.now_ns

    def mute(self, is_mute: bool) -> None:
        self.is_mute = is_mute
        self.settled_ns = self.evening.clock.now_ns

    @property
    def to_safe_ns(self) -> int:
        """How long to the middle between two clocks, where a transport message is not taken for one too late."""
        now_ns = self.evening.clock.now_ns
        middle_ns = self._true_ns - self.period_ns / 2
        return round(middle_ns - now_ns if middle_ns > now_ns else middle_ns + self.period_ns - now_ns)

    def error_ns(self) -> float | None:
        """How far the next clock's place is from the leader's; None where there is nothing to compare."""
        stage = self.evening.stage
        if not (self.is_playing and self.is_known and stage is not None and stage.transport.is_rolling):
            return None
        if self.next_clock < 24 or self.evening.clock.now_ns - self.settled_ns < 4 * SECOND:
            return None
        return stage.transport.timeline.time_at(TICKS_PER_CLOCK * self.next_clock) - self._true_ns

    def _transport(self, *message: int) -> None:
        self.settled_ns = self.evening.clock.now_ns
        stage = self.evening.stage
        if stage is None or not stage.is_up:
            self.is_known = False
        else:
            stage.hear(*message)

    def _schedule(self) -> None:
        self._true_ns += self.period_ns
        drawn_ns = self.evening.rng.gauss(0, self.jitter_ns) if self.jitter_ns else 0
        jitter_ns = min(max(drawn_ns, -2 * self.jitter_ns), 2 * self.jitter_ns)  # it keeps the order of its clocks
        self._arrived_ns = max(self._arrived_ns + 1, round(self._true_ns + jitter_ns))
        self.evening.at(self._arrived_ns, self._clock)

    def _clock(self) -> None:
        if self.is_playing:
            self.next_clock += 1
        stage = self.evening.stage
        if not self.is_mute and stage is not None:
            if not stage.is_up:
                self.settled_ns = self.evening.clock.now_ns
            stage.hear(CLOCK)
            if self.evening.rng.random() < self.doubled:
                stage.hear(CLOCK)
        self._schedule()
