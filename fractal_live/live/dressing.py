"""Bars as they are to sound: what the performer does to notes that are made already.

A model knows one voice of notes on a grid. Here it is transposed, kept in range and scale, split over channels, and
given the feel: swing, gate, a human's unevenness. Pure functions of the bar and what was wished; all of it neutral
by default.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note, without_overlaps
from fractal_live.music.scales import in_scale

ROLES = ("all", "lowest", "highest", "inner")
MOST_SPLITS = 8
SWING_TICKS = TICKS_PER_STEP // 3  # full swing: two sixteenths as a triplet's two thirds and one third
HUMAN_TICKS = 12.0  # standard deviations at full humanize: 12 ms at 104 bpm,
HUMAN_VELOCITY = 0.12  # and of the velocity's factor
FURTHEST = 2.5  # standard deviations


@dataclass(frozen=True, slots=True)
class Split:
    """A part of the music with a sound of its own. Of the notes with pitches `low` to `high` (as the model and
    `transpose` of all made them) it takes all, or of each onset the `lowest`, the `highest`, or the `inner` ones
    between those two. Then it moves them by `transpose` semitones and shapes their velocities: 127 times (v / 127) to
    the power `curve`, times `velocity`. `channel` and `program` are as MIDI has them, from 0; no program: the
    channel keeps what it has."""

    name: str
    channel: int
    role: str = "all"
    low: int = 0
    high: int = 127
    transpose: int = 0
    velocity: float = 1.0
    curve: float = 1.0
    program: int | None = None


@dataclass(frozen=True, slots=True)
class Outfit:
    """The parts a patch has: of several that would take a note the first has it; what none takes sounds on `channel`,
    with `program` if there is one."""

    channel: int = 0
    splits: tuple[Split, ...] = ()
    program: int | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        """All that may sound, in order."""
        return tuple(sorted({self.channel, *(split.channel for split in self.splits)}))

    @property
    def programs(self) -> tuple[tuple[int, int], ...]:
        """(channel, program) of the parts that name one; the first part of a channel decides."""
        named = [(self.channel, self.program), *((split.channel, split.program) for split in self.splits)]
        return tuple(sorted({channel: program for channel, program in reversed(named) if program is not None}.items()))


@dataclass(frozen=True, slots=True)
class Dress:
    """What the performer wishes of notes that are made. `transpose` in semitones, `velocity` and `gate` factors,
    `swing` and `humanize` 0 to 1; pitches outside `low` to `high` come inside by octaves; `key` a pitch class and
    `scale` a place in SCALE_NAMES (0: all pitches stay). `muted` and `soloed` are places of splits, `levels` factors of
    their velocities."""

    transpose: int = 0
    velocity: float = 1.0
    swing: float = 0.0
    humanize: float = 0.0
    gate: float = 1.0
    low: int = 0
    high: int = 127
    key: int = 0
    scale: int = 0
    muted: frozenset[int] = frozenset()
    soloed: frozenset[int] = frozenset()
    levels: tuple[float, ...] = (1.0,) * MOST_SPLITS


PLAIN = Outfit()


def dressed(bar: Bar, dress: Dress, outfit: Outfit = PLAIN) -> Bar:
    """The bar as it is to sound. The same bar, wishes and parts give the same notes; the bar's seed and index are the
    source of what is uneven. Nothing begins before the bar or after it."""
    if outfit == PLAIN and dress == Dress():
        return bar
    pitches = [in_range(note.pitch + dress.transpose) for note in bar.notes]
    parts = _parts(bar.notes, pitches, outfit.splits)
    rng = random.Random(f"{bar.seed} {bar.index}")
    length = bar.meter.ticks_per_bar
    notes = []
    for note, pitch, part in zip(bar.notes, pitches, parts, strict=True):
        late, louder = _unevenness(rng, dress.humanize)  # drawn for silent notes too, so that a mute changes no other
        if part is not None and not _sounds(part, dress):
            continue
        split = None if part is None else outfit.splits[part]
        strength = dress.velocity * louder * (1.0 if part is None else dress.levels[part])
        onset = _swung(note.onset_tick, dress.swing)
        end = _swung(note.onset_tick + note.duration_ticks, dress.swing)
        moved = Note(
            min(max(round(onset + late), 0), length - 1),
            _placed(pitch, dress, split),
            max(1, round((end - onset) * dress.gate)),
            _velocity(note.velocity, strength, split),
            outfit.channel if split is None else split.channel,
        )
        notes.append(moved)
    return replace(bar, notes=without_overlaps(notes))


def in_range(pitch: int, low: int = 0, high: int = 127) -> int:
    """The octave of a pitch that lies in `low` to `high`, the nearest of several; where none does, the one that MIDI
    has nearest to them."""
    if low <= pitch <= high and 0 <= pitch <= 127:
        return pitch
    octaves = range(pitch % 12, 128, 12)
    return min(octaves, key=lambda octave: (max(low - octave, octave - high, 0), abs(octave - pitch)))


def _placed(pitch: int, dress: Dress, split: Split | None) -> int:
    pitch = in_range(pitch + (split.transpose if split is not None else 0))
    pitch = in_range(pitch, dress.low, dress.high)
    return pitch if dress.scale == 0 else in_scale(pitch, dress.key, dress.scale, dress.low, dress.high)


def _velocity(velocity: int, strength: float, split: Split | None) -> int:
    shaped = float(velocity)
    if split is not None:
        shaped = 127 * (velocity / 127) ** split.curve * split.velocity
    return min(127, max(1, round(shaped * strength)))


def _sounds(part: int, dress: Dress) -> bool:
    return part in dress.soloed if dress.soloed else part not in dress.muted


def _swung(tick: int, swing: float) -> int:
    """Every second sixteenth later, the time between stretched and squeezed with it, so that what met still meets."""
    if swing == 0:
        return tick
    pair, inside = divmod(tick, 2 * TICKS_PER_STEP)
    middle = TICKS_PER_STEP + SWING_TICKS * swing
    if inside <= TICKS_PER_STEP:
        moved = inside * middle / TICKS_PER_STEP
    else:
        moved = middle + (inside - TICKS_PER_STEP) * (2 * TICKS_PER_STEP - middle) / TICKS_PER_STEP
    return round(pair * 2 * TICKS_PER_STEP + moved)


def _unevenness(rng: random.Random, humanize: float) -> tuple[float, float]:
    """How much later a note comes, in ticks, and the factor of its velocity."""
    late, louder = (min(max(rng.gauss(0, 1), -FURTHEST), FURTHEST) for _ in range(2))
    return late * HUMAN_TICKS * humanize, 1 + louder * HUMAN_VELOCITY * humanize


def _parts(notes: Iterable[Note], pitches: list[int], splits: tuple[Split, ...]) -> list[int | None]:
    """Which split takes each note; None for what none does."""
    if not splits:
        return [None] * len(pitches)
    chords: dict[int, list[int]] = {}
    places = list(notes)
    for note, pitch in zip(places, pitches, strict=True):
        chords.setdefault(note.onset_tick, []).append(pitch)
    return [
        next((place for place, split in enumerate(splits) if _takes(split, pitch, chords[note.onset_tick])), None)
        for note, pitch in zip(places, pitches, strict=True)
    ]


def _takes(split: Split, pitch: int, chord: list[int]) -> bool:
    if not split.low <= pitch <= split.high:
        return False
    is_lowest, is_highest = pitch == min(chord), pitch == max(chord)
    if split.role == "lowest":
        return is_lowest
    if split.role == "highest":
        return is_highest
    return split.role == "all" or not (is_lowest or is_highest)
