"""Stopped or rolling, and where: what MIDI transport messages, clocks and the daemon's commands mean.

Four modes. `midi` follows a leader's clocks; `internal` rolls at its own tempo; `osc` plays one bar
per bang, or follows one bang per beat; `link` keeps tempo and bar lines with an Ableton Link session.
Turns events into a timeline and says what changed; refuses to know notes and ports.
"""

from __future__ import annotations

import enum

from fractal_live.live.clock_follower import ClockFollower
from fractal_live.live.link_follower import LinkFollower
from fractal_live.live.timeline import Timeline, beat_ns_at
from fractal_live.music.meter import FOUR_FOUR, PPQN, TICKS_PER_CLOCK, TICKS_PER_STEP, Meter

SYNC_MODES = ("midi", "internal", "osc", "link")
TAKE_UP_NS = 1_000_000_000  # taken up again, so long is waited for the leader's first clock
LINK_PREROLL_NS = 100_000_000  # rolling is said so long before it begins, so that all that is due then is in time


class Change(enum.Enum):
    """What the caller must do: LOCATED: close what sounds, the position has jumped (to `position`);
    STARTED: rolling begins; STOPPED: silence."""

    LOCATED = "located"
    STARTED = "started"
    STOPPED = "stopped"


class Transport:
    """For one thread. Every method takes the time it happened at (time.monotonic_ns) and returns the
    change, or None. `clock_loss` is hold (roll on at the last tempo) or stop. `end_bar`: stop there. `lead_in_ns`
    lies between Start at our own tempo and its first tick; the position waits meanwhile."""

    def __init__(
        self,
        sync: str = "midi",
        meter: Meter = FOUR_FOUR,
        tempo_bpm: float = 120.0,
        clock_loss: str = "hold",
        end_bar: int | None = None,
        lead_in_ns: int = 0,
    ) -> None:
        if sync not in SYNC_MODES or clock_loss not in ("hold", "stop"):
            raise ValueError(f"sync {sync!r} must be one of {SYNC_MODES}, clock_loss {clock_loss!r} hold or stop")
        self.sync = sync
        self.meter = meter
        self.is_rolling = False
        self.is_armed = False  # Start or Continue has come, its first clock has not
        self.ignored_song_positions = 0
        self.tail_ns = 0  # after the end it rolls on for so long, standing there: what is sent later is still to leave
        self._timeline = Timeline(0, 0, beat_ns_at(tempo_bpm))
        self._clock_loss = clock_loss
        self._lead_in_ns = lead_in_ns
        self._end_tick = None if end_bar is None else meter.tick_of_bar(end_bar)
        self._bang_end_tick: int | None = None  # one bar per bang ends here
        self._stopped_tick = 0  # the position while not rolling
        self._resume_tick = 0  # what the leader's next clock is; it counts clocks, not our filtered ticks
        self._ignores_beats = False  # stopped by command: beats set the tempo, no more
        self._is_led = sync == "midi"  # clocks move the timeline, not the tempo alone
        self._is_taken_up = False  # rolling since before our time; the leader's next clock is the nearest one
        self._patience_ns = 0  # until then a clock that does not come is not lost
        self._from_tick = 0  # where rolling began; the position does not wait before it
        self._follower = ClockFollower(tempo_bpm, TICKS_PER_CLOCK if sync == "midi" else PPQN)
        self._link = LinkFollower(meter.ticks_per_bar)
        self._link_place: int | None = None  # the session's tick at which rolling begins
        self._is_link_playing: bool | None = None  # not heard yet

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
        if self.sync == "link":
            return self._link.line is not None
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
        tick = max(self._timeline.tick_at(now_ns), self._from_tick)
        return tick if self.stop_tick is None else min(tick, self.stop_tick)

    def next_ns(self) -> int | None:
        """When `poll` has something to say next, if nothing else happens."""
        if not self.is_rolling:
            return self._link_start_ns() if self.is_armed else None
        times = []
        if self.stop_tick is not None:
            times.append(self._timeline.time_at(self.stop_tick) + self.tail_ns)
        if self._is_led and self._clock_loss == "stop":
            times.append(max(self._follower.lost_at_ns, self._patience_ns))
        return min(times, default=None)

    def poll(self, now_ns: int) -> Change | None:
        """The passing of time: the end has been reached, the clock is lost, or the session's bar line comes."""
        if not self.is_rolling:
            start_ns = self._link_start_ns() if self.is_armed else None
            return self._roll_with_link() if start_ns is not None and now_ns >= start_ns else None
        if self.stop_tick is not None and self._timeline.tick_at(now_ns - self.tail_ns) >= self.stop_tick:
            return self._halt(self.stop_tick)
        if self._clock_loss == "stop" and self.is_clock_lost(now_ns):
            return self._halt(self.position(now_ns))
        return None

    def is_clock_lost(self, now_ns: int) -> bool:
        """Rolling behind a leader whose clocks have ceased."""
        is_lost = now_ns >= self._patience_ns and self._follower.is_lost(now_ns)
        return self._is_led and self.is_rolling and is_lost

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

    # What the Link session says; heard in link mode only

    def on_link(self, tempo_bpm: float, beat: float, at_ns: int, is_playing: bool, now_ns: int) -> Change | None:
        """The session is at `beat` at `at_ns`. That it begins or ceases to play starts and stops us; what it did
        before it was first heard does not. If its beat jumps by a sixteenth or more the position does so, too, by
        the shortest way to the same place in the bar."""
        if self.sync != "link":
            return None
        was_playing, self._is_link_playing = self._is_link_playing, is_playing
        self._link.hear(tempo_bpm, beat, at_ns)
        change = self._keep_with_link(now_ns)
        if was_playing is None or was_playing == is_playing:
            return change
        if not is_playing:
            return self.stop(now_ns) if self.is_rolling or self.is_armed else change
        return change if self.is_rolling or self.is_armed else self.start(now_ns)

    # What the daemon commands

    def start(self, now_ns: int) -> Change:
        """From tick 0: at once at our own tempo, with the next clock behind a leader, at the next bar line of a
        Link session."""
        self._stopped_tick = self._resume_tick = 0
        self._bang_end_tick = None
        self._roll(now_ns)
        return Change.LOCATED

    def resume(self, now_ns: int) -> Change | None:
        """Continue; in a Link session where its bar is where ours stopped. Ignored while rolling."""
        if self.is_rolling or self.is_armed:
            return None
        self._roll(now_ns)
        return Change.STARTED if self.is_rolling else None

    def take_up(self, tick: int, at_ns: int) -> Change:
        """Another process rolled, was at `tick` at `at_ns`, and is gone: go on as if nothing had happened."""
        self._timeline = Timeline(tick, at_ns, self._timeline.beat_ns)
        self._stopped_tick = self._resume_tick = self._from_tick = tick
        self._patience_ns = at_ns + TAKE_UP_NS
        self.is_rolling = True
        self._is_taken_up = self._is_led
        return Change.LOCATED

    def _roll(self, now_ns: int) -> None:
        self._ignores_beats = False
        if self.sync == "link":
            self.is_rolling = False
            self.is_armed = True
            self._aim_with_link(now_ns)
        elif self._has_leader(now_ns):
            self.is_rolling = False
            self.is_armed = True
            self._is_led = True
        else:
            self._roll_alone(now_ns)

    def _roll_alone(self, now_ns: int) -> None:
        self.is_rolling = True
        self.is_armed = self._is_led = False
        self._from_tick = self._stopped_tick
        self._timeline = Timeline(self._stopped_tick, now_ns + self._lead_in_ns, self._timeline.beat_ns)

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
                bar_index = self.meter.bar_at(min(self.position(now_ns), self._bang_end_tick - 1))[
                    0
                ]  # even in its tail
                self._bang_end_tick = self.meter.tick_of_bar(bar_index + 2)
            return None
        bar_index = -(-self._stopped_tick // self.meter.ticks_per_bar)
        line = self.meter.tick_of_bar(bar_index)
        is_moved = line != self._stopped_tick
        self._stopped_tick = self._resume_tick = line
        self._bang_end_tick = self.meter.tick_of_bar(bar_index + 1)
        self._roll_alone(now_ns)
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
        """Midi and link modes always have one; osc mode while beats come."""
        return self.sync in ("midi", "link") or (self.sync == "osc" and not self._follower.is_lost(now_ns))

    def _keep_with_link(self, now_ns: int) -> Change | None:
        """The session was heard: ours goes on with its tempo and phase."""
        assert self._link.line is not None
        if not self.is_rolling:
            self._timeline = Timeline(self._stopped_tick, now_ns, self._link.line.beat_ns)
            if self.is_armed:
                self._aim_with_link(now_ns)
            return None
        is_waiting = self._timeline.tick_at(now_ns) < self._from_tick
        self._timeline, is_jump = self._link.followed(self._timeline, now_ns)
        if not is_jump:
            return None
        if is_waiting:
            self.is_rolling = False
            self.is_armed = True
            self._aim_with_link(now_ns)
            return Change.STOPPED
        self._from_tick = self._timeline.tick_at(now_ns)
        return Change.LOCATED

    def _aim_with_link(self, now_ns: int) -> None:
        """Where in the session rolling is to begin."""
        if self._link.line is not None:
            self._link_place = self._link.next_place(self._stopped_tick, now_ns)

    def _link_start_ns(self) -> int | None:
        if self._link.line is None or self._link_place is None:
            return None
        return self._link.line.time_at(self._link_place) - LINK_PREROLL_NS

    def _roll_with_link(self) -> Change:
        assert self._link_place is not None
        self._timeline = self._link.timeline_with(self._stopped_tick, self._link_place)
        self._from_tick = self._stopped_tick
        self.is_armed = False
        self.is_rolling = True
        return Change.STARTED

    def _lead(self, now_ns: int) -> Change | None:
        """A clock or beat of the leader arrived."""
        is_first, is_moved = self.is_armed, False
        spacing = self._follower.ticks_per_clock
        if is_first:
            first_tick = -(-self._resume_tick // spacing) * spacing
            is_moved = abs(first_tick - self._stopped_tick) > TICKS_PER_CLOCK  # back, too: to where its clocks ceased
            self._follower.expect(first_tick)
        elif self._is_taken_up:
            self._follower.expect(round(self._timeline.tick_at(now_ns) / spacing) * spacing)
        self._is_taken_up = False
        self._follower.clock(now_ns)
        if is_first:
            self.is_armed = False
            self.is_rolling = True
            self._from_tick = 0
        if self._is_led:
            self._timeline = self._follower.timeline
        if not is_first:
            return None
        return Change.LOCATED if is_moved else Change.STARTED

    def _halt(self, tick: int) -> Change:
        """Even when stopped already: a second Stop may silence once more."""
        if self.is_rolling:
            # The leader goes on after its last clock; of one that has not been heard yet nobody knows better than we.
            is_heard = self._is_led and tick != self.stop_tick and not self._is_taken_up
            self._resume_tick = self._follower.tick + self._follower.ticks_per_clock if is_heard else tick
        self._stopped_tick = tick
        self._bang_end_tick = None
        self.is_rolling = self.is_armed = self._is_taken_up = False
        return Change.STOPPED
