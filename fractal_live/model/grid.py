"""Bars as the arrays that the model reads: notes on a padded grid of steps, and what is visible of them.

Each bar takes a whole number of half bars of eight steps; steps past the bar's end stay empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fractal_live.model.config import HALF_STEPS
from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar
from fractal_live.music.plan import HIGH, LOW

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def padded_steps(steps_per_bar: int) -> int:
    """The steps a bar takes on the padded grid."""
    return -(-steps_per_bar // HALF_STEPS) * HALF_STEPS


def bar_starts(bars: Sequence[Bar]) -> IntArray:
    """The first step of each bar, and the step after the last: (bars + 1,)."""
    return np.cumsum([0, *(padded_steps(bar.meter.steps_per_bar) for bar in bars)])


def grid_notes(bars: Sequence[Bar]) -> IntArray:
    """The notes of consecutive bars that lie on the grid: (N, 4) of step, pitch, velocity, duration in
    steps, sorted by step, then pitch. A note that is struck again in a later bar ends there."""
    if not bars:
        return np.zeros((0, 4), dtype=np.int64)
    of_bar = [_notes_of(bar) for bar in bars]
    notes = np.concatenate(of_bar)
    notes[:, 0] += np.repeat(bar_starts(bars)[:-1], [len(own) for own in of_bar])
    by_pitch = np.lexsort((notes[:, 0], notes[:, 1]))
    step, pitch = notes[by_pitch, 0], notes[by_pitch, 1]
    again = np.flatnonzero(pitch[1:] == pitch[:-1])
    ended = by_pitch[again]
    notes[ended, 3] = np.minimum(notes[ended, 3], step[again + 1] - step[again])
    return notes


@lru_cache(maxsize=256)
def _notes_of(bar: Bar) -> IntArray:
    """The notes of a bar from its own first step. A bar is asked about as long as it is part of the past."""
    rows = [
        (note.onset_tick // TICKS_PER_STEP, note.pitch, note.velocity, note.duration_ticks // TICKS_PER_STEP)
        for note in bar.notes
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def visible_content(notes: IntArray, band: IntArray, order: IntArray, steps: int) -> FloatArray:
    """What each step holds, seen from its own half bar: (steps, 3, 128) of onset, velocity/127 and
    remaining steps/16. notes (N, 4) as in Song, band (N,) of each, order (C,) when each cell is opened. A tie is
    drawn only where it was known when its place was opened: into another half bar if that one is opened in a later
    group, into a step of its own half bar if that cell is opened later. So content never tells of what is still to
    be made."""
    content = np.zeros((steps, 3, 128), dtype=np.float32)
    if not len(notes):
        return content
    onset, pitch, velocity, duration = notes.T
    length = np.minimum(duration, steps - onset)
    note = np.repeat(np.arange(len(notes)), length)
    offset = np.arange(len(note)) - np.repeat(np.cumsum(length) - length, length)
    step = onset[note] + offset
    bands = len(order) // steps
    home, here = order[onset * bands + band][note], order[step * bands + band[note]]
    size = HALF_STEPS * bands
    is_own_half = onset[note] // HALF_STEPS == step // HALF_STEPS
    is_seen = np.where(is_own_half, home <= here, home // size < here // size)
    remaining = np.minimum(duration[note] - offset, 16) / 16
    content[step[is_seen], 2, pitch[note[is_seen]]] = remaining[is_seen]
    content[onset, 0, pitch] = 1
    content[onset, 1, pitch] = velocity / 127
    return content


def left_in_half(amount: IntArray, ranks: IntArray) -> IntArray:
    """How much of something its half bar still has when each cell is opened, the cell's own counted. amount
    (H * cells,) per cell, ranks (H, cells) when each is opened: (H * cells,)."""
    ordered = np.argsort(ranks, axis=1)
    by_rank = np.take_along_axis(amount.reshape(ranks.shape), ordered, axis=1)
    left = np.cumsum(by_rank[:, ::-1], axis=1)[:, ::-1]
    counted: IntArray = np.take_along_axis(left, ranks, axis=1).reshape(-1).astype(np.int64)
    return counted


def scaled_plan(plan: FloatArray) -> FloatArray:
    """Plan in units to 0..1 by each attribute's range, clipped; NaN stays NaN."""
    return np.clip((plan - LOW) / (HIGH - LOW), 0, 1).astype(np.float32)


def limit_chords(notes: IntArray, most: int) -> IntArray:
    """Of a step with more than `most` notes, the lowest and the loudest stay."""
    counts = np.bincount(notes[:, 0]) if len(notes) else np.zeros(1, dtype=np.int64)
    if counts.max() <= most:
        return notes
    kept = []
    for step in np.unique(notes[:, 0]):
        chord = notes[notes[:, 0] == step]
        if len(chord) > most:
            loudest = np.argsort(-chord[1:, 2], kind="stable")[: most - 1]
            chord = np.concatenate([chord[:1], chord[1:][np.sort(loudest)]])
        kept.append(chord)
    return np.concatenate(kept)


def unscaled_plan(plan: FloatArray) -> FloatArray:
    """The inverse of `scaled_plan` inside the ranges."""
    return (plan * (HIGH - LOW) + LOW).astype(np.float32)
