"""What OSC subscribers are told, when it sounds: notes, beats, each bar with its plan and what every level decided.

Floats and whole numbers, so that a client wires them to channels; text only where it is the matter (error, device,
patch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import PPQN, TICKS_PER_STEP, Meter, step_at
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import ATTRIBUTES, PlanTable
from fractal_live.ports.osc_out import OscOut, Peer
from fractal_live.ports.pipes import Sounded, TransportState

NOTE_OFF, NOTE_ON = 0x80, 0x90
NOT_IMAGINED = -1.0
BARS_REMEMBERED = 4
BEATS_PER_HALF = 2
Receivers = Iterable[Peer] | None
"""Who is told; None: every subscriber."""


class NoteLengths:
    """How long the notes last that are struck now, read in the bars they belong to."""

    def __init__(self) -> None:
        self._bars: dict[int, dict[tuple[int, int], list[Note]]] = {}  # bar index, (channel, pitch)

    def knows(self, bar_index: int) -> bool:
        return bar_index in self._bars

    def learn(self, bar: Bar) -> None:
        """A bar as it sounds, in the place of an earlier version."""
        by_voice: dict[tuple[int, int], list[Note]] = {}
        for note in bar.notes:
            by_voice.setdefault((note.channel, note.pitch), []).append(note)
        self._bars.pop(bar.index, None)
        self._bars[bar.index] = by_voice
        while len(self._bars) > BARS_REMEMBERED:
            del self._bars[next(iter(self._bars))]

    def beats_of(self, bar_index: int, onset_tick: int, voice: tuple[int, int]) -> float:
        """The length in beats of the note struck there (or within a step of it); a step where nothing is known."""
        notes = self._bars.get(bar_index, {}).get(voice, [])
        near = min(notes, key=lambda note: abs(note.onset_tick - onset_tick), default=None)
        if near is None or abs(near.onset_tick - onset_tick) > TICKS_PER_STEP:
            return TICKS_PER_STEP / PPQN
        return near.duration_ticks / PPQN


class Feedback:
    """Says what sounds; for the daemon's event loop. Remembers which bar plays and how long its notes are."""

    def __init__(self, osc_out: OscOut, meter: Meter) -> None:
        self._osc_out = osc_out
        self._meter = meter
        self._lengths = NoteLengths()
        self._bar: Bar | None = None
        self._half = 0

    def note(self, sounded: Sounded, bars: Callable[[int, int], Iterable[Bar]]) -> None:
        """A note as it sounds: pitch, velocity, duration in beats (both 0 when it ends), channel 1 to 16.
        `bars(index, count)` are asked for where the bar of a note has not begun: its first notes may be a little
        early."""
        if sounded.message[0] & 0xF0 not in (NOTE_OFF, NOTE_ON):
            return
        status, pitch, velocity = sounded.message
        channel = status & 0x0F
        if status & 0xF0 == NOTE_ON and velocity > 0:
            bar_index, onset_tick = self._meter.bar_at(sounded.tick)
            if not self._lengths.knows(bar_index):
                for bar in bars(bar_index, 1):
                    self._lengths.learn(bar)
            beats = self._lengths.beats_of(bar_index, onset_tick, (channel, pitch))
            self._osc_out.send("/fractal/out/note", pitch, velocity, beats, channel + 1)
        else:
            self._osc_out.send("/fractal/out/note", pitch, 0, 0.0, channel + 1)

    def bar(self, bar: Bar, plan: PlanTable, latent: Sequence[float]) -> None:
        """A bar has begun."""
        self._bar, self._half = bar, 0
        self._lengths.learn(bar)
        tell_bar(self._osc_out, bar)
        tell_plan(self._osc_out, plan, latent)

    def position(self, tick: float) -> int:
        """Where it is: bar and beat from 0, the share of the beat that has passed; and the harmony when a half bar
        has begun. Returns the next beat or bar line."""
        bar_index, inside = self._meter.bar_at(int(tick))
        beat = inside // PPQN
        self._osc_out.send("/fractal/out/beat", bar_index, beat, inside % PPQN / PPQN)
        half = beat // BEATS_PER_HALF
        if self._bar is not None and self._bar.index == bar_index and half > self._half:
            self._half = half
            tell_chroma(self._osc_out, self._bar, half)
        return self._meter.tick_of_bar(bar_index) + min((beat + 1) * PPQN, self._meter.ticks_per_bar)

    def settings(
        self,
        title: str,
        device: str,
        controls: Mapping[str, Sequence[float]],
        plan: PlanTable,
        latent: Sequence[float],
        to: Receivers,
    ) -> None:
        """What an asker is told besides the state: the patch, what the model runs on, each control as one would send
        it (no value: nothing is held), the plan and the playing bar."""
        self._osc_out.send("/fractal/out/patch", title, to=to)
        self._osc_out.send("/fractal/out/state/device", device, to=to)
        for address, values in controls.items():
            self._osc_out.send(address.replace("/fractal/", "/fractal/out/control/", 1), *_floats(values), to=to)
        if self._bar is not None:
            tell_bar(self._osc_out, self._bar, to)
        tell_plan(self._osc_out, plan, latent, to)


def tell_bar(osc_out: OscOut, bar: Bar, to: Receivers = None) -> None:
    """The index of a bar and what each level decided in it: the plan row; the harmony, 12 numbers per half bar; how
    many notes begin in each beat; in each sixteenth."""
    osc_out.send("/fractal/out/bar", bar.index, to=to)
    tell_chroma(osc_out, bar, 0, to)
    row = bar.plan or tuple(NOT_IMAGINED for _ in ATTRIBUTES)
    osc_out.send("/fractal/out/level/0", *(NOT_IMAGINED if np.isnan(value) else float(value) for value in row), to=to)
    osc_out.send("/fractal/out/level/1", *(value for half in halves_of(bar) for value in half), to=to)
    for level, counts in ((2, onsets_of(bar, PPQN)), (3, onsets_of(bar, TICKS_PER_STEP))):
        osc_out.send(f"/fractal/out/level/{level}", *_floats(counts), to=to)


def tell_plan(osc_out: OscOut, plan: PlanTable, latent: Sequence[float], to: Receivers = None) -> None:
    """The plan (32, 6) from the playing bar on, a message per attribute, and the latent of that bar. What is not
    imagined yet is sent as -1, because a NaN would stay in a client's filters."""
    known = np.where(np.isnan(plan), NOT_IMAGINED, plan)
    for column, attribute in enumerate(ATTRIBUTES):
        osc_out.send(f"/fractal/out/plan/{attribute.name}", *_floats(known[:, column]), to=to)
    osc_out.send("/fractal/out/latent", *_floats(latent), to=to)


def tell_chroma(osc_out: OscOut, bar: Bar, half: int, to: Receivers = None) -> None:
    """A half bar has begun: how strongly each pitch class from C up sounds in it."""
    halves = halves_of(bar)
    if half < len(halves):
        osc_out.send("/fractal/out/chroma", *halves[half], to=to)


def tell_state(
    osc_out: OscOut,
    transport: TransportState,
    lateness_p99_ns: int,
    lead_bars: int,
    counts: Mapping[str, int],
    to: Receivers = None,
) -> None:
    """Health, and everything that is counted, by name; meant for about ten times a second."""
    for name, count in counts.items():
        osc_out.send(f"/fractal/out/state/{name}", count, to=to)
    osc_out.send("/fractal/out/state/lead", lead_bars, to=to)
    osc_out.send("/fractal/out/state/lateness_ms", lateness_p99_ns / 1e6, to=to)
    osc_out.send("/fractal/out/state/tempo", transport.tempo_bpm, to=to)


def halves_of(bar: Bar) -> tuple[tuple[float, ...], ...]:
    """The harmony of each half bar, twelve numbers: as it was decided, or where nobody decided as it sounds."""
    return tuple(_floats(half) for half in (bar.chroma or chroma_of_bar(bar)))


def onsets_of(bar: Bar, width_ticks: int) -> list[int]:
    """How many notes begin in each beat or step of a bar; the last beat of an odd meter is shorter."""
    counts = [0] * -(-bar.meter.ticks_per_bar // width_ticks)
    for note in bar.notes:
        step = min(step_at(note.onset_tick), bar.meter.steps_per_bar - 1)
        counts[step * TICKS_PER_STEP // width_ticks] += 1
    return counts


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
