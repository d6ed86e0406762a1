"""Stopped or rolling, and where: what MIDI transport messages, clocks and the daemon's commands mean.

Three modes. `midi` follows a leader's clocks; `internal` rolls at its own tempo; `osc` plays one bar
per bang, or follows one bang per beat. Turns events into a timeline and says what changed; refuses to
know notes and ports.
"""

from __future__ import annotations

import enum

from fractal_live.live.clock_follower import ClockFollower
from fractal_live.live.timeline import Timeline, beat_ns_at
from fractal_live.music.meter import FOUR_FOUR, PPQN, TICKS_PER_CLOCK, TICKS_PER_STEP, Meter

SYNC_MODES = ("midi", "internal", "osc")


class Change(enum.Enum):
    """What the caller must do: LOCATED: close what sounds, the position has jumped (to `position`);
    STARTED: rolling begins; STOPPED: silence."""

    LOCATED = "located"
    STARTED = "started"
    STOPPED = "stopped"


class Transport:
    """For one thread. Every method takes the time it happened at (time.monotonic_ns) and returns the
    change, or None. `clock_loss` is hold (roll on at the last tempo) or stop. `end_bar`: stop there."""

    def __init__(
        self,
        sync: str = "midi",
        meter: Meter = FOUR_FOUR,
        tempo_bpm: float = 120.0,
        clock_loss: str = "hold",
        end_bar: int | None = None,
    ) -> None:
        if sync not in SYNC_MODES or clock_loss not in ("hold", "stop"):
            raise ValueError(f"sync {sync!r} must be one of {SYNC_MODES}, clock_loss {clock_loss!r} hold or stop")
        self.sync = sync
        self.meter = meter
        self.is_rolling = False
        self.is_armed = False  # Start or Continue has come, its first clock has not
        self.ignored_song_positions = 0
        self._timeline = Timeline(0, 0, beat_ns_at(tempo_bpm))
        self._clock_loss = clock_loss
        self._end_tick = None if end_bar is None else meter.tick_of_bar(end_bar)
        self._bang_end_tick: int | None = None  # one bar per bang ends here
        self._stopped_tick = 0  # the position while not rolling
        self._resume_tick = 0  # what the leader's next clock is; it counts clocks, not our filtered ticks
        self._ignores_beats = False  # stopped by command: beats set the tempo, no more
        self._is_led = sync == "midi"  # clocks move the timeline, not the tempo alone
        self._follower = ClockFollower(tempo_bpm, TICKS_PER_CLOCK if sync == "midi" else PPQN)

    # What is so now

    @property
    def timeline(self) -> Timeline:
        """Ticks to nanoseconds; meaningful while rolling."""
        return self._timeline

    @property
    def tempo_bpm(self) -> float:
        return self._follower.tempo_bpm if self._is_led else self._timeline.tempo_bpm

    @property
    def is_locked(self) -> bool:
        """The leader's tempo is known; always so where there is no leader."""
        return self._follower.is_locked if self._is_led else True

    @property
    def dropped_clocks(self) -> int:
        return self._follower.dropped_clocks

    @property
    def stop_tick(self) -> int | None:
        """Where rolling ends by itself: nothing at or after it may sound."""
        ends = [end for end in (self._end_tick, self._bang_end_tick) if end is not None]
        return min(ends) if ends else None

    def position(self, now_ns: int) -> int:
        """The tick now, or the tick that playing would go on from."""
        if not self.is_rolling:
            return self._stopped_tick
        tick = self._timeline.tick_at(now_ns)
        return tick if self.stop_tick is None else min(tick, self.stop_tick)

    def next_ns(self) -> int | None:
        """When `poll` has something to say next, if nothing else happens."""
        if not self.is_rolling:
            return None
        times = []
        if self.stop_tick is not None:
            times.append(self._timeline.time_at(self.stop_tick))
        if self._is_led and self._clock_loss == "stop":
            times.append(self._follower.lost_at_ns)
        return min(times, default=None)

    def poll(self, now_ns: int) -> Change | None:
        """The passing of time: the end has been reached, or the clock is lost."""
        if not self.is_rolling:
            return None
        if self.stop_tick is not None and self._timeline.tick_at(now_ns) >= self.stop_tick:
            return self._halt(self.stop_tick)
        if self._is_led and self._clock_loss == "stop" and self._follower.is_lost(now_ns):
            return self._halt(self.position(now_ns))
        return None

    def is_clock_lost(self, now_ns: int) -> bool:
        """Rolling behind a leader whose clocks have ceased."""
        return self._is_led and self.is_rolling and self._follower.is_lost(now_ns)

    # What the leader sends; heard in midi mode only

    def on_clock(self, now_ns: int) -> Change | None:
        """A MIDI clock arrived. The first one after Start or Continue sets rolling off."""
        return self._lead(now_ns) if self.sync == "midi" else None

    def on_start(self, now_ns: int) -> Change | None:
        """Start arms: the next clock is tick 0, also while rolling."""
        return self.start(now_ns) if self.sync == "midi" else None

    def on_continue(self, now_ns: int) -> Change | None:
        """Continue arms: the next clock is where Stop or Song Position left the position."""
        return self.resume(now_ns) if self.sync == "midi" else None

    def on_stop(self, now_ns: int) -> Change | None:
        return self.stop(now_ns) if self.sync == "midi" else None

    def on_song_position(self, song_position_sixteenths: int, now_ns: int) -> Change | None:
        """Honoured only when stopped; otherwise counted in `ignored_song_positions`."""
        if self.sync != "midi":
            return None
        if self.is_rolling or self.is_armed:
            self.ignored_song_positions += 1
            return None
        self._stopped_tick = self._resume_tick = song_position_sixteenths * TICKS_PER_STEP
        return Change.LOCATED

    # What the daemon commands

    def start(self, now_ns: int) -> Change:
        """From tick 0: at once at our own tempo, with the next clock behind a leader."""
        self._stopped_tick = self._resume_tick = 0
        self._bang_end_tick = None
        self._roll(now_ns)
        return Change.LOCATED

    def resume(self, now_ns: int) -> Change | None:
        """Continue. Ignored while rolling."""
        if self.is_rolling or self.is_armed:
            return None
        self._roll(now_ns)
        return None

    def _roll(self, now_ns: int) -> None:
        self._ignores_beats = False
        if self._has_leader(now_ns):
            self.is_rolling = False
            self.is_armed = True
            self._is_led = True
        else:
            self.is_rolling = True
            self._is_led = False
            self._timeline = Timeline(self._stopped_tick, now_ns, self._timeline.beat_ns)

    def stop(self, now_ns: int) -> Change:
        self._ignores_beats = True
        return self._halt(self.position(now_ns))

    def set_tempo(self, tempo_bpm: float, now_ns: int) -> None:
        """Our own tempo, re-anchored so that the position does not jump. Ignored behind a leader, whose
        tempo is the truth."""
        if not self._has_leader(now_ns):
            self._is_led = False
            self._timeline = self._timeline.with_tempo(tempo_bpm, now_ns)

    def trigger_bar(self, now_ns: int) -> Change | None:
        """Osc mode: play the bar after the next bar line, and stop at its end unless another bang comes.
        When stopped, the bar line is now."""
        if self.sync != "osc":
            return None
        if self.is_rolling:
            if self._bang_end_tick is not None:
                bar_index = self.meter.bar_at(self.position(now_ns))[0]
                self._bang_end_tick = self.meter.tick_of_bar(bar_index + 2)
            return None
        bar_index = -(-self._stopped_tick // self.meter.ticks_per_bar)
        line = self.meter.tick_of_bar(bar_index)
        is_moved = line != self._stopped_tick
        self._stopped_tick = self._resume_tick = line
        self._bang_end_tick = self.meter.tick_of_bar(bar_index + 1)
        self.is_rolling = True
        self.is_armed = self._is_led = False
        self._timeline = Timeline(line, now_ns, self._timeline.beat_ns)
        return Change.LOCATED if is_moved else Change.STARTED

    def clock_beat(self, now_ns: int) -> Change | None:
        """Osc mode: a bang per beat leads. The first one sets rolling off unless Stop was commanded."""
        if self.sync != "osc":
            return None
        if not self._is_led and self.is_rolling:
            self._is_led = True  # rolling at our own tempo so far: this is the nearest beat
            self._follower.expect(round(self._timeline.tick_at(now_ns) / PPQN) * PPQN)
        elif not self.is_rolling and not self.is_armed and not self._ignores_beats:
            self.is_armed = self._is_led = True
        return self._lead(now_ns)

    # Below the surface

    def _has_leader(self, now_ns: int) -> bool:
        """Midi mode always has one; osc mode while beats come."""
        return self.sync == "midi" or (self.sync == "osc" and not self._follower.is_lost(now_ns))

    def _lead(self, now_ns: int) -> Change | None:
        """A clock or beat of the leader arrived."""
        is_first = self.is_armed
        if is_first:
            spacing = self._follower.ticks_per_clock
            self._follower.expect(-(-self._resume_tick // spacing) * spacing)
        self._follower.clock(now_ns)
        if is_first:
            self.is_armed = False
            self.is_rolling = True
        if self._is_led:
            self._timeline = self._follower.timeline
        return Change.STARTED if is_first else None

    def _halt(self, tick: int) -> Change:
        """Even when stopped already: a second Stop may silence once more."""
        if self.is_rolling:
            is_short = self._is_led and tick != self.stop_tick
            self._resume_tick = self._follower.tick + self._follower.ticks_per_clock if is_short else tick
        self._stopped_tick = tick
        self._bang_end_tick = None
        self.is_rolling = self.is_armed = False
        return Change.STOPPED
