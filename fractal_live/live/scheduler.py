"""Bars to note messages in tick order, and the table of what sounds.

Knows ticks only: no wall clock, no port. Late bars are replaced by the fallback that came with the
bar before. Messages are handed out a little ahead of their time; what has not left by then can be taken
back and is handed out again later. Law: every note-on that leaves is followed by exactly one note-off on
its channel, and a pitch that sounds is closed before it is struck again on its channel.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from fractal_live.music.meter import FOUR_FOUR, PPQN, Meter
from fractal_live.music.notes import Bar

NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE = 0x80, 0x90, 0xB0, 0xC0
CC_SUSTAIN, CC_ALL_SOUND_OFF, CC_ALL_NOTES_OFF = 64, 120, 123
OPENING_BARS = (0, 1)  # kept, because a new Start needs them at once
MAX_BARS = 512

Due = tuple[int, bytes]
Voice = tuple[int, int]  # pitch, channel
Programs = tuple[tuple[int, int], ...]
"""Which program (0 to 127) a channel (0 to 15) is to have: (channel, program), one each."""


@dataclass(frozen=True, slots=True)
class BegunBar:
    """A bar that has begun to sound, and whether it stands in for one that was late."""

    bar: Bar
    version: int
    is_fallback: bool


@dataclass(frozen=True, slots=True)
class _Handed:
    """A message that was handed out, and what it takes to undo it. A note-on has the `end` and `velocity` it was
    struck with; a note-off the serial of the note it `closed` and the `end` that was to have (later than `tick` if its
    pitch is struck again here); a program change the program its channel `had`."""

    tick: int
    voice: Voice
    end: int = 0
    velocity: int = 0
    closed: int | None = None
    is_program: bool = False
    had: int | None = None


@dataclass(frozen=True, slots=True)
class _Offer:
    bar: Bar
    version: int
    fallback: Bar
    programs: Programs


class Scheduler:
    """Holds bars by index and plays them. For one thread.

    `channels` are closed by a panic even if nothing sounded there yet. `late_limit_ticks`: after a stall, note-ons
    that are later than this are left out (and counted in `skipped_notes`); note-offs always go out.
    """

    def __init__(
        self, meter: Meter = FOUR_FOUR, channels: tuple[int, ...] = (0,), late_limit_ticks: int = PPQN
    ) -> None:
        self.meter = meter
        self.late_limit_ticks = late_limit_ticks
        self.underruns = 0
        self.skipped_notes = 0
        self._bars: dict[int, _Offer] = {}
        self._fallback: Bar | None = None
        self._begun: list[BegunBar] = []
        self._next_bar = 0  # the bar whose line comes next
        self._newest: tuple[int, int] | None = None  # index and version of the bar that was begun last
        self._from_tick = 0  # notes before it are past; set when the position jumps into a bar
        self._ons: list[tuple[int, Voice, int, int]] = []  # heap of (tick, voice, end tick, velocity)
        self._offs: list[tuple[int, Voice, int]] = []  # heap of (tick, voice, serial)
        self._sounding: dict[Voice, tuple[int, int]] = {}  # serial of its note-on, its end
        self._serial = 0
        self._channels = set(channels)
        self._channels_used: set[int] = set()
        self._programs: dict[int, int] = {}  # of each channel, as they were sent
        self._wanted: Programs = ()  # from the line of the last bar on
        self._programs_at: int | None = None  # when they are to be sent, if they are
        self._handed: deque[_Handed] = deque()  # not known to have left

    @property
    def channels(self) -> frozenset[int]:
        """Those that may sound, or have."""
        return frozenset(self._channels | self._channels_used)

    @property
    def sounding(self) -> int:
        """How many notes sound."""
        return len(self._sounding)

    def offer(self, bar: Bar, version: int, fallback: Bar, programs: Programs = ()) -> bool:
        """Take a finished bar; False if it came too late or too far ahead. It replaces an earlier version
        that has not begun; of bars behind the playhead only 0 and 1 are kept, for the next Start. Of the bar that
        was begun last, offered once more, the fallback counts. Channels get their `programs` at its line, where they
        do not have them yet."""
        is_newest = self._newest == (bar.index, version)
        if is_newest:
            self._fallback = fallback
        if bar.index < self._next_bar and bar.index not in OPENING_BARS:
            return is_newest
        if bar.index not in self._bars and len(self._bars) >= MAX_BARS:
            return False
        self._bars[bar.index] = _Offer(bar, version, fallback, programs)
        return True

    def forget(self, indices: Iterable[int]) -> None:
        """These bars are not wanted any more: where none is offered anew before its line a fallback plays."""
        for index in indices:
            self._bars.pop(index, None)

    def has_bar(self, bar_index: int) -> bool:
        return bar_index in self._bars

    def next_tick(self) -> int:
        """The next tick at which something happens: a note-on, a note-off or a bar line."""
        tick = max(self.meter.tick_of_bar(self._next_bar), self._from_tick)
        while self._offs and not self._is_open(self._offs[0]):
            heapq.heappop(self._offs)
        if self._offs:
            tick = min(tick, self._offs[0][0])
        if self._programs_at is not None:
            tick = min(tick, self._programs_at)
        return min(tick, self._ons[0][0]) if self._ons else tick

    def due(self, until_tick: int) -> list[Due]:
        """Everything up to and including `until_tick`, in order: at equal ticks note-offs go first."""
        messages: list[Due] = []
        earliest_on = until_tick - self.late_limit_ticks
        while (tick := self.next_tick()) <= until_tick:
            if self.meter.tick_of_bar(self._next_bar) <= tick:
                self._begin_bar()
            while self._offs and self._offs[0][0] <= tick:
                off = heapq.heappop(self._offs)
                if self._is_open(off):
                    messages.append((tick, self._close(off[1], tick)))
            if self._programs_at is not None and self._programs_at <= tick:
                messages += [(tick, message) for message in self._change_programs(tick)]
            ons = self._ons_at(tick)
            if tick < earliest_on:
                self.skipped_notes += len(ons)
            else:
                messages += [(tick, message) for message in self._strike(ons, tick)]
        return messages

    def left(self, count: int) -> None:
        """The oldest `count` messages that were handed out have left; they cannot be taken back any more."""
        for _ in range(count):
            self._handed.popleft()

    def take_back(self, count: int) -> None:
        """The newest `count` messages that were handed out will not leave: they are to come again."""
        for _ in range(count):
            handed = self._handed.pop()
            channel = handed.voice[1]
            if handed.is_program:
                self._programs_at = handed.tick
                del self._programs[channel]
                if handed.had is not None:
                    self._programs[channel] = handed.had
            elif handed.closed is None:
                del self._sounding[handed.voice]
                heapq.heappush(self._ons, (handed.tick, handed.voice, handed.end, handed.velocity))
            else:
                self._sounding[handed.voice] = (handed.closed, handed.end)
                heapq.heappush(self._offs, (handed.end, handed.voice, handed.closed))  # maybe twice; one counts

    def forget_programs(self) -> None:
        """Who listens now may not have heard the program changes: they are sent again at the next line."""
        self._programs.clear()

    def take_begun(self, tick: int | None = None) -> list[BegunBar]:
        """The bars that have begun by `tick` (None: that were begun at all) since the last call."""
        lines = self.meter.tick_of_bar
        due = [begun for begun in self._begun if tick is None or lines(begun.bar.index) <= tick]
        self._begun = self._begun[len(due) :]
        return due

    def next_begun_tick(self) -> int | None:
        """The line of the first bar that `take_begun` has still to tell of."""
        return self.meter.tick_of_bar(self._begun[0].bar.index) if self._begun else None

    def locate(self, tick: int) -> list[bytes]:
        """The position jumps: returns what closes all that sounds. Notes that would already be under
        way at `tick` stay silent, and a bar that was begun ahead of its time has not begun."""
        closing = self._close_all()
        self._begun.clear()
        self._ons.clear()
        self._offs.clear()
        self._next_bar = self.meter.bar_at(tick)[0]
        self._newest = None
        self._from_tick = tick
        self._programs.clear()
        self._programs_at = None
        return closing

    def silence(self, tick: int | None = None) -> list[bytes]:
        """Note-offs for what sounds, then sustain off and all notes off on every channel used. The position
        stays (at `tick`, if rolling ends: a bar begun ahead of it has not begun); coming notes stay scheduled."""
        channels = sorted(self._channels_used)
        if tick is not None:
            self._unbegin_after(tick)
        closing = self._close_all()
        for channel in channels:
            closing.append(bytes((CONTROL_CHANGE | channel, CC_SUSTAIN, 0)))
            closing.append(bytes((CONTROL_CHANGE | channel, CC_ALL_NOTES_OFF, 0)))
        return closing

    def panic(self) -> list[bytes]:
        """As `silence`, and all sound off as well."""
        channels = sorted(self.channels)
        return self.silence() + [bytes((CONTROL_CHANGE | channel, CC_ALL_SOUND_OFF, 0)) for channel in channels]

    def _begin_bar(self) -> None:
        index = self._next_bar
        self._next_bar += 1
        offer = self._bars.get(index)
        if offer is not None:
            begun = BegunBar(offer.bar, offer.version, False)
            self._fallback = offer.fallback
        else:
            self.underruns += 1
            earlier = [kept for kept in self._bars if kept < index]
            has_begun_before = self._newest is not None and self._newest[0] == index - 1
            if (index - 1 in earlier and not has_begun_before) or (earlier and self._fallback is None):
                self._fallback = self._bars[max(earlier)].fallback  # even if that bar has never begun here
            begun = BegunBar((self._fallback or Bar(index, meter=self.meter)).moved_to(index), 0, True)
        self._wanted = offer.programs if offer is not None else self._wanted
        self._begun.append(begun)
        self._newest = (index, begun.version)
        line = self.meter.tick_of_bar(index)
        if any(self._programs.get(channel) != program for channel, program in self._wanted):
            self._programs_at = max(line, self._from_tick)
        for note in begun.bar.notes:
            onset = line + note.onset_tick
            if onset >= self._from_tick:
                voice = (note.pitch, note.channel)
                heapq.heappush(self._ons, (onset, voice, onset + note.duration_ticks, note.velocity))
        for old in [kept for kept in self._bars if kept < index and kept not in OPENING_BARS]:
            del self._bars[old]

    def _unbegin_after(self, tick: int) -> None:
        ahead = [begun for begun in self._begun if self.meter.tick_of_bar(begun.bar.index) > tick]
        if ahead:
            self._begun = self._begun[: -len(ahead)]
            self.underruns -= sum(begun.is_fallback for begun in ahead)
            self._next_bar = ahead[0].bar.index
            line = self.meter.tick_of_bar(self._next_bar)
            self._ons = [on for on in self._ons if on[0] < line]
            heapq.heapify(self._ons)

    def _change_programs(self, tick: int) -> list[bytes]:
        """What brings the channels to the programs that the bar wants."""
        messages = []
        self._programs_at = None
        for channel, program in self._wanted:
            had = self._programs.get(channel)
            if had != program:
                self._handed.append(_Handed(tick, (0, channel), is_program=True, had=had))
                self._programs[channel] = program
                messages.append(bytes((PROGRAM_CHANGE | channel, program)))
        return messages

    def _ons_at(self, tick: int) -> list[tuple[Voice, int, int]]:
        """Takes the (voice, end tick, velocity) due at `tick` from the heap, one per voice."""
        ons: dict[Voice, tuple[Voice, int, int]] = {}
        while self._ons and self._ons[0][0] <= tick:
            _, voice, end, velocity = heapq.heappop(self._ons)
            twin = ons.get(voice, (voice, end, velocity))
            ons[voice] = (voice, max(end, twin[1]), max(velocity, twin[2]))
        return list(ons.values())

    def _strike(self, ons: list[tuple[Voice, int, int]], tick: int) -> list[bytes]:
        messages = [self._close(voice, tick) for voice, _, _ in ons if voice in self._sounding]
        for voice, end, velocity in ons:
            pitch, channel = voice
            self._handed.append(_Handed(tick, voice, end, velocity))
            self._serial += 1
            self._sounding[voice] = (self._serial, end)
            self._channels_used.add(channel)
            heapq.heappush(self._offs, (end, voice, self._serial))
            messages.append(bytes((NOTE_ON | channel, pitch, velocity)))
        return messages

    def _is_open(self, off: tuple[int, Voice, int]) -> bool:
        """Whether this note-off belongs to the note that sounds now, not to one closed early."""
        _, voice, serial = off
        return voice in self._sounding and self._sounding[voice][0] == serial

    def _close(self, voice: Voice, tick: int) -> bytes:
        closed, end = self._sounding.pop(voice)
        self._handed.append(_Handed(tick, voice, end=end, closed=closed))
        return _note_off(voice)

    def _close_all(self) -> list[bytes]:
        """At once, so that nothing of it can be taken back."""
        closing = [_note_off(voice) for voice in sorted(self._sounding)]
        self._sounding.clear()
        self._handed.clear()
        return closing


def _note_off(voice: Voice) -> bytes:
    pitch, channel = voice
    return bytes((NOTE_OFF | channel, pitch, 0))
