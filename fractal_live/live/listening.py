"""What the performer plays, heard in bars, and what it means for the bars to come.

Notes come with the tick they were played at; out of them are made bars on the grid, and out of those what a request
for a bar is told: a richer past, a harmony, a call to be answered. Knows no ports and no clock; nothing heard is ever
sent out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fractal_live.music.harmony import Chroma, chroma_of_bar
from fractal_live.music.meter import FOUR_FOUR, PPQN, TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar, Note, on_grid, without_overlaps
from fractal_live.music.plan import COLUMN, HIGH, PlanTable
from fractal_live.music.request import MEMORY_BARS, Sampling

NOTE_OFF, NOTE_ON = 0x80, 0x90
FOLLOWS = ("off", "harmony", "context")
MOST_BARS_OF_A_CALL = 8
ANSWER_ECHO = 4.0  # nats, on top of what the performer set: an answer takes up what was played
HIGHEST_ECHO = 6.0
SLICE_TICKS = PPQN // 2  # what is heard is told so often, not at every note
MOST_NOTES_IN_A_BAR = 256
LONGEST_HELD_BARS = 8  # a key that is held longer has been forgotten
CHROMA_LEVELS = 3
REST = "rest"

Influence = str | tuple[Bar, ...] | tuple[tuple[float, ...], ...] | None
"""What of the heard a bar depends on; None: it does not."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """What was heard, at one moment. `bars` by index, where anything was: their notes on the grid, each ending in its
    bar, and the harmony of all that sounded there; the one that runs, `running`, as far as it has come
    (`is_half_over`), the others for good. `respond`: bars alternate in so many's, in the first we are silent (0:
    never)."""

    follow: str = "off"
    respond: int = 0
    bars: Mapping[int, Bar] = field(default_factory=dict)
    running: int = -1
    is_half_over: bool = False

    @property
    def unheard(self) -> Hearing:
        """As if nobody had played: so a next Start begins."""
        return replace(self, bars={}, running=-1, is_half_over=False)

    def is_call(self, index: int) -> bool:
        """Whether the bar is the performer's, and we are silent in it."""
        return self.respond > 0 and index // self.respond % 2 == 0

    def influence_on(self, index: int) -> Influence:
        """What a request for this bar, made now, would take from the heard. As long as it is equal, a bar that was
        made is as it should be."""
        if self.is_call(index):
            return REST
        call = self._call_to(index)
        if call:
            return call
        if self.follow == "harmony":
            last = self._last_heard()
            return None if last is None else _harmony_of(last)
        if self.follow == "context":
            return tuple(self.bars[place] for place in sorted(self.bars) if place < self.running) or None
        return None

    def past_of(self, past: tuple[Bar, ...], transpose: int = 0) -> tuple[Bar, ...]:
        """The past with what was heard in it: all of it in context, else the calls. A call in which nobody played is
        left out, or its silence would be gone on with. `transpose` is what our notes are moved by later: what was
        heard is moved the other way, so that the two agree in the air."""
        result = []
        for bar in past:
            is_call = self.is_call(bar.index)
            if is_call and not bar.notes and not self._heard_in(self._group(bar.index)):
                continue
            is_meant = is_call or self.follow == "context"
            heard = self.bars.get(bar.index) if is_meant else None
            result.append(bar if heard is None else _merged(bar, heard, transpose))
        return tuple(result)

    def chroma_of(self, index: int, transpose: int = 0) -> Chroma | None:
        """The harmony for a bar, (halves, 12): of the bar of the call that it answers, or of the last bar; None where
        nothing was heard."""
        source: Bar | None = None
        if self._call_to(index):
            source = self.bars.get(index - self.respond)
        elif self.follow == "harmony" and not self.is_call(index):
            source = self._last_heard()
        harmony = None if source is None else _harmony_of(source)
        return None if harmony is None else np.roll(np.array(harmony, dtype=np.float32), -transpose, axis=1)

    def plan_of(self, index: int, given: PlanTable) -> PlanTable:
        """The given plan (32, 6): an answer has as many notes as the bar it answers, unless the performer holds the
        density. A silent bar of the call is answered as the model likes."""
        heard = self.bars.get(index - self.respond) if self._call_to(index) else None
        if heard is None or not heard.notes or not np.isnan(given[0, COLUMN["density"]]):
            return given
        result = given.copy()
        result[0, COLUMN["density"]] = min(len(heard.notes), HIGH[COLUMN["density"]])
        return result

    def sampling_of(self, index: int, sampling: Sampling) -> Sampling:
        """An answer repeats more of what stands before it, which is the call."""
        if not self._call_to(index):
            return sampling
        return replace(sampling, echo=min(sampling.echo + ANSWER_ECHO, HIGHEST_ECHO))

    def _last_heard(self) -> Bar | None:
        """Whose harmony is followed: that of the bar that runs once half of it is over, so that the next line can
        obey it, else of the last one."""
        running = self.bars.get(self.running) if self.is_half_over else None
        return self.bars.get(self.running - 1) if running is None else running

    def _call_to(self, index: int) -> tuple[Bar, ...]:
        """What was heard in the call that the bar answers; empty if it is no answer, or nobody played."""
        if not self.respond or self.is_call(index):
            return ()
        return self._heard_in(self._group(index - self.respond))

    def _group(self, index: int) -> range:
        first = index // self.respond * self.respond
        return range(first, first + self.respond)

    def _heard_in(self, group: range) -> tuple[Bar, ...]:
        found = (self.bars.get(place) for place in group)
        return tuple(bar for bar in found if bar is not None and bar.notes)


DEAF = Hearing()


@dataclass(slots=True)
class _Heard:
    """A note that was played; `end_tick` is None while the key is held."""

    onset_tick: int
    pitch: int
    velocity: int
    end_tick: int | None = None


class Listening:
    """For one thread. Ticks are the transport's. `channel` 1 to 16 listens to that one alone, 0 to all."""

    def __init__(self, meter: Meter = FOUR_FOUR, follow: str = "off", respond: int = 0, channel: int = 0) -> None:
        self._meter = meter
        self._channel = channel
        self._notes: dict[int, list[_Heard]] = {}  # by the bar they begin in
        self._open: dict[tuple[int, int], _Heard] = {}  # by channel and pitch
        self._bars: dict[int, Bar] = {}
        self._changed: set[int] = set()
        self._now_tick = 0
        self._hearing = Hearing(follow, respond)

    @property
    def hearing(self) -> Hearing:
        """What was told last."""
        return self._hearing

    def change(self, follow: str, respond: int, channel: int) -> None:
        """Another patch: what was heard stays."""
        self._channel = channel
        self._hearing = replace(self._hearing, follow=follow, respond=respond)

    def hear(self, message: bytes, tick: int, is_rolling: bool = True) -> None:
        """A message that came in at a tick. Only notes count, and only those that begin while it rolls."""
        if len(message) != 3 or message[0] & 0xF0 not in (NOTE_ON, NOTE_OFF):
            return
        channel, pitch, velocity = message[0] & 0x0F, message[1], message[2]
        held = self._open.pop((channel, pitch), None)
        if held is not None:
            held.end_tick = max(tick, held.onset_tick + 1)
            self._touch(max(held.onset_tick, min(tick, self._now_tick)), held.end_tick)
        is_on = message[0] & 0xF0 == NOTE_ON and velocity > 0
        if not is_on or not is_rolling or self._channel not in (0, channel + 1):
            return
        index, inside = self._meter.bar_at(tick)
        if inside > self._meter.ticks_per_bar - TICKS_PER_STEP // 2:  # a downbeat that is a little early
            index, tick = index + 1, self._meter.tick_of_bar(index + 1)
        notes = self._notes.setdefault(index, [])
        if index >= 0 and len(notes) < MOST_NOTES_IN_A_BAR:
            self._open[channel, pitch] = _Heard(tick, pitch, velocity)
            notes.append(self._open[channel, pitch])
            self._changed.add(index)

    def at(self, tick: int) -> Hearing:
        """What was heard until now, while it rolls; the same value again as long as its slice of time lasts. After a
        jump back of the position what was heard from there on is forgotten."""
        if tick < self._now_tick - TICKS_PER_STEP:
            self._forget_from(self._meter.bar_at(tick)[0])
        before, self._now_tick = self._now_tick, tick
        running = self._meter.bar_at(tick)[0]
        is_half_over = 2 * self._meter.bar_at(tick)[1] >= self._meter.ticks_per_bar
        if tick // SLICE_TICKS == before // SLICE_TICKS and running == self._hearing.running:
            return self._hearing
        for note in self._open.values():
            self._touch(max(note.onset_tick, before), tick)
        for index in sorted(self._changed):
            self._make_bar(index)
        self._changed = {index for index in self._changed if index > running}
        for old in [index for index in self._notes if index < running - MEMORY_BARS]:
            del self._notes[old]
        self._bars = {index: bar for index, bar in self._bars.items() if index >= running - MEMORY_BARS}
        bars = {index: bar for index, bar in self._bars.items() if index <= running}
        self._hearing = replace(self._hearing, bars=bars, running=running, is_half_over=is_half_over)
        return self._hearing

    def _touch(self, first_tick: int, last_tick: int) -> None:
        """The bars that a sound reaches are to be made anew."""
        first, last = self._meter.bar_at(first_tick)[0], self._meter.bar_at(last_tick)[0]
        self._changed.update(range(max(first, last - LONGEST_HELD_BARS), last + 1))

    def _make_bar(self, index: int) -> None:
        line, end = self._meter.tick_of_bar(index), self._meter.tick_of_bar(index + 1)
        own = [_inside(note, line, end, self._now_tick) for note in self._notes.get(index, ())]
        bar = on_grid(Bar(index, tuple(sorted(own)), self._meter))
        carried = [
            _inside(note, line, end, self._now_tick)
            for place in range(index - LONGEST_HELD_BARS, index)
            for note in self._notes.get(place, ())
            if (self._now_tick if note.end_tick is None else note.end_tick) > line
        ]
        sounding = Bar(index, tuple(sorted([*bar.notes, *carried])), self._meter)
        chroma = tuple(tuple(float(weight) for weight in half) for half in chroma_of_bar(sounding))
        if sounding.notes:
            self._bars[index] = replace(bar, chroma=chroma)
        else:
            self._bars.pop(index, None)

    def _forget_from(self, index: int) -> None:
        self._open.clear()
        self._notes = {place: notes for place, notes in self._notes.items() if place < index}
        self._bars = {place: bar for place, bar in self._bars.items() if place < index}
        self._changed = {place for place in self._changed if place < index}


def _inside(note: _Heard, line: int, end: int, now_tick: int) -> Note:
    """As much of a note as sounds in a bar, from its line on."""
    onset = max(note.onset_tick, line)
    stop = min(now_tick if note.end_tick is None else note.end_tick, end)
    return Note(onset - line, note.pitch, max(stop - onset, 1), note.velocity)


def _harmony_of(heard: Bar) -> tuple[tuple[float, ...], ...] | None:
    """The chroma of a bar, in thirds, so that a note held a little longer is no other harmony; a silent half has that
    of its neighbour. None: nothing sounds."""
    halves = [tuple(round(CHROMA_LEVELS * weight) / CHROMA_LEVELS for weight in half) for half in heard.chroma]
    loud = [place for place, half in enumerate(halves) if any(half)]
    if not loud:
        return None
    return tuple(halves[min(loud, key=lambda other: abs(other - place))] for place in range(len(halves)))


def _merged(bar: Bar, heard: Bar, transpose: int) -> Bar:
    moved = [replace(note, pitch=note.pitch - transpose) for note in heard.notes if 0 <= note.pitch - transpose <= 127]
    return replace(bar, notes=without_overlaps([*bar.notes, *moved]))
