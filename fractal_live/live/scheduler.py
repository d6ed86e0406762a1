"""Bars to note messages in tick order, and the table of what sounds.

Knows ticks only: no wall clock, no port. Late bars are replaced by the fallback that came with the
bar before. Messages are handed out a little ahead of their time; what has not left by then can be taken
back and is handed out again later. Law: every note-on that leaves is followed by exactly one note-off on
its channel, and a pitch that sounds is closed before it is struck again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from fractal_live.music.meter import FOUR_FOUR, PPQN, Meter
from fractal_live.music.notes import Bar

NOTE_OFF, NOTE_ON, CONTROL_CHANGE = 0x80, 0x90, 0xB0
CC_SUSTAIN, CC_ALL_SOUND_OFF, CC_ALL_NOTES_OFF = 64, 120, 123
OPENING_BARS = (0, 1)  # kept, because a new Start needs them at once
MAX_BARS = 512

Due = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class BegunBar:
    """A bar that has begun to sound, and whether it stands in for one that was late."""

    bar: Bar
    version: int
    is_fallback: bool


@dataclass(frozen=True, slots=True)
class _Handed:
    """A message that was handed out, and what it takes to undo it. A note-on has the `end` and `velocity` it was
    struck with; a note-off the (channel, serial) it closed, and whether that note was to end here (else it was
    closed because its pitch is struck again)."""

    tick: int
    pitch: int
    end: int = 0
    velocity: int = 0
    closed: tuple[int, int] | None = None
    is_natural: bool = True


@dataclass(frozen=True, slots=True)
class _Offer:
    bar: Bar
    version: int
    fallback: Bar


class Scheduler:
    """Holds bars by index and plays them. For one thread.

    `late_limit_ticks`: after a stall, note-ons that are later than this are left out (and counted in
    `skipped_notes`); note-offs always go out.
    """

    def __init__(self, meter: Meter = FOUR_FOUR, channel: int = 0, late_limit_ticks: int = PPQN) -> None:
        self.meter = meter
        self.channel = channel
        self.late_limit_ticks = late_limit_ticks
        self.underruns = 0
        self.skipped_notes = 0
        self._bars: dict[int, _Offer] = {}
        self._fallback: Bar | None = None
        self._begun: list[BegunBar] = []
        self._next_bar = 0  # the bar whose line comes next
        self._newest: tuple[int, int] | None = None  # index and version of the bar that was begun last
        self._from_tick = 0  # notes before it are past; set when the position jumps into a bar
        self._ons: list[tuple[int, int, int, int]] = []  # heap of (tick, pitch, end tick, velocity)
        self._offs: list[tuple[int, int, int]] = []  # heap of (tick, pitch, serial)
        self._sounding: dict[int, tuple[int, int]] = {}  # pitch to (channel, serial of its note-on)
        self._serial = 0
        self._channels_used: set[int] = set()
        self._handed: deque[_Handed] = deque()  # not known to have left

    @property
    def sounding(self) -> int:
        """How many notes sound."""
        return len(self._sounding)

    def offer(self, bar: Bar, version: int, fallback: Bar) -> bool:
        """Take a finished bar; False if it came too late or too far ahead. It replaces an earlier version
        that has not begun; of bars behind the playhead only 0 and 1 are kept, for the next Start. Of the bar that
        was begun last, offered once more, the fallback counts."""
        is_newest = self._newest == (bar.index, version)
        if is_newest:
            self._fallback = fallback
        if bar.index < self._next_bar and bar.index not in OPENING_BARS:
            return is_newest
        if bar.index not in self._bars and len(self._bars) >= MAX_BARS:
            return False
        self._bars[bar.index] = _Offer(bar, version, fallback)
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
            if handed.closed is None:
                del self._sounding[handed.pitch]
                heapq.heappush(self._ons, (handed.tick, handed.pitch, handed.end, handed.velocity))
            else:
                self._sounding[handed.pitch] = handed.closed
                if handed.is_natural:
                    heapq.heappush(self._offs, (handed.tick, handed.pitch, handed.closed[1]))

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
        channels = sorted(self._channels_used | {self.channel})
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
        self._begun.append(begun)
        self._newest = (index, begun.version)
        line = self.meter.tick_of_bar(index)
        for note in begun.bar.notes:
            onset = line + note.onset_tick
            if onset >= self._from_tick:
                heapq.heappush(self._ons, (onset, note.pitch, onset + note.duration_ticks, note.velocity))
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

    def _ons_at(self, tick: int) -> list[tuple[int, int, int]]:
        """Takes the (pitch, end tick, velocity) due at `tick` from the heap, one per pitch."""
        ons: dict[int, tuple[int, int, int]] = {}
        while self._ons and self._ons[0][0] <= tick:
            _, pitch, end, velocity = heapq.heappop(self._ons)
            twin = ons.get(pitch, (pitch, end, velocity))
            ons[pitch] = (pitch, max(end, twin[1]), max(velocity, twin[2]))
        return list(ons.values())

    def _strike(self, ons: list[tuple[int, int, int]], tick: int) -> list[bytes]:
        messages = [self._close(pitch, tick, is_natural=False) for pitch, _, _ in ons if pitch in self._sounding]
        for pitch, end, velocity in ons:
            self._handed.append(_Handed(tick, pitch, end, velocity))
            self._serial += 1
            self._sounding[pitch] = (self.channel, self._serial)
            self._channels_used.add(self.channel)
            heapq.heappush(self._offs, (end, pitch, self._serial))
            messages.append(bytes((NOTE_ON | self.channel, pitch, velocity)))
        return messages

    def _is_open(self, off: tuple[int, int, int]) -> bool:
        """Whether this note-off belongs to the note that sounds now, not to one closed early."""
        _, pitch, serial = off
        return pitch in self._sounding and self._sounding[pitch][1] == serial

    def _close(self, pitch: int, tick: int, is_natural: bool = True) -> bytes:
        closed = self._sounding.pop(pitch)
        self._handed.append(_Handed(tick, pitch, closed=closed, is_natural=is_natural))
        return _note_off(closed[0], pitch)

    def _close_all(self) -> list[bytes]:
        """At once, so that nothing of it can be taken back."""
        closing = [_note_off(channel, pitch) for pitch, (channel, _) in sorted(self._sounding.items())]
        self._sounding.clear()
        self._handed.clear()
        return closing


def _note_off(channel: int, pitch: int) -> bytes:
    return bytes((NOTE_OFF | channel, pitch, 0))
