"""A stretch of music in 4/4 as one array of notes on the grid: what every yardstick reads.

Notes that began before the stretch are not in it; a note may sound past its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, on_grid

BAR_STEPS = 16
BEAT_STEPS = 4
PITCHES = 128
STEP, PITCH, VELOCITY, DURATION = range(4)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """`notes` (N, 4): step from the start, pitch, velocity, duration in steps; sorted by step, then pitch.
    `bars` of sixteen steps each."""

    notes: IntArray
    bars: int

    @property
    def steps(self) -> int:
        return self.bars * BAR_STEPS


def excerpt_of(bars: Sequence[Bar]) -> Excerpt:
    """Consecutive 4/4 bars, rounded to the grid; a pitch that is struck again ends there. Raises ValueError
    for a bar of another length."""
    rows: list[list[int]] = []
    sounding: dict[int, list[int]] = {}
    for place, bar in enumerate(map(on_grid, bars)):
        if bar.meter.steps_per_bar != BAR_STEPS:
            raise ValueError(f"bar {bar.index} is in {bar.meter}; only bars of {BAR_STEPS} steps are judged")
        for note in bar.notes:
            step = place * BAR_STEPS + note.onset_tick // TICKS_PER_STEP
            before = sounding.get(note.pitch)
            if before is not None:
                before[DURATION] = min(before[DURATION], step - before[STEP])
            row = [step, note.pitch, note.velocity, note.duration_ticks // TICKS_PER_STEP]
            rows.append(row)
            sounding[note.pitch] = row
    return Excerpt(np.array(rows, dtype=np.int64).reshape(-1, 4), len(bars))


def cut(excerpt: Excerpt, first_bar: int, bars: int) -> Excerpt:
    """So many bars from a bar on."""
    start = first_bar * BAR_STEPS
    low, high = np.searchsorted(excerpt.notes[:, STEP], [start, start + bars * BAR_STEPS])
    return Excerpt(excerpt.notes[low:high] - np.array([start, 0, 0, 0]), bars)


def cuts(excerpt: Excerpt, bars: int) -> list[Excerpt]:
    """Stretches of so many bars side by side; what is left over at the end is left out."""
    return [cut(excerpt, first, bars) for first in range(0, excerpt.bars - bars + 1, bars)]


def in_order(excerpt: Excerpt, order: Sequence[int]) -> Excerpt:
    """The same bars in another order: `order[i]` is the bar that comes i-th."""
    parts = []
    for place, bar in enumerate(order):
        notes = cut(excerpt, bar, 1).notes
        parts.append(notes + np.array([place * BAR_STEPS, 0, 0, 0]))
    return Excerpt(np.concatenate(parts) if parts else excerpt.notes[:0], len(order))


def onset_roll(excerpt: Excerpt) -> BoolArray:
    """(steps, 128): where notes begin."""
    roll = np.zeros((excerpt.steps, PITCHES), dtype=bool)
    roll[excerpt.notes[:, STEP], excerpt.notes[:, PITCH]] = True
    return roll


def sounding_roll(excerpt: Excerpt) -> BoolArray:
    """(steps, 128): where notes sound, up to the end of the excerpt."""
    edges = np.zeros((excerpt.steps + 1, PITCHES), dtype=np.int16)
    step, pitch = excerpt.notes[:, STEP], excerpt.notes[:, PITCH]
    end = np.minimum(step + excerpt.notes[:, DURATION], excerpt.steps)
    np.add.at(edges, (step, pitch), 1)
    np.add.at(edges, (end, pitch), -1)
    sounding: BoolArray = np.cumsum(edges[:-1], axis=0) > 0
    return sounding


def chroma_by(excerpt: Excerpt, steps: int) -> FloatArray:
    """How long each pitch class sounds, in steps, per stretch of so many steps: (stretches, 12)."""
    roll = sounding_roll(excerpt).astype(np.float64)
    folded = np.concatenate([roll, np.zeros((len(roll), 4))], axis=1).reshape(len(roll), 11, 12).sum(1)
    by_stretch: FloatArray = folded[: len(folded) // steps * steps].reshape(-1, steps, 12).sum(1)
    return by_stretch


def struck_by_bar(excerpt: Excerpt) -> FloatArray:
    """Each bar's onset roll as one vector: (bars, 2048) of 0 and 1."""
    return onset_roll(excerpt).reshape(excerpt.bars, BAR_STEPS * PITCHES).astype(np.float64)


def rhythm_by_bar(excerpt: Excerpt) -> FloatArray:
    """How many notes begin on each step of each bar: (bars, 16)."""
    counts = np.bincount(excerpt.notes[:, STEP], minlength=excerpt.steps)
    by_bar: FloatArray = counts.reshape(excerpt.bars, BAR_STEPS).astype(np.float64)
    return by_bar


def struck_classes_by_bar(excerpt: Excerpt) -> FloatArray:
    """How many notes of each pitch class begin in each bar: (bars, 12)."""
    counts = np.zeros((excerpt.bars, 12))
    np.add.at(counts, (excerpt.notes[:, STEP] // BAR_STEPS, excerpt.notes[:, PITCH] % 12), 1)
    return counts
