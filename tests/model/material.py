"""Songs, bars and orders of opening for tests of the model."""

from __future__ import annotations

import numpy as np

from fractal_live.model.batch import Batch
from fractal_live.model.config import ModelConfig
from fractal_live.model.grid import IntArray
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import PlanTable
from fractal_live.train.corpus import Song
from fractal_live.train.dataset import Dataset, Sample, collate
from tests.model.tiny import TINY_BARS

HALVES = TINY_BARS * 2
ORDERS: dict[str, IntArray] = {
    "time": np.arange(HALVES),
    "rounds": np.random.default_rng(4).integers(0, 4, HALVES),
    "gap": np.array([0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 10, 11, 12, 13, 14, 15]),
}
"""When each half bar of eight bars of 4/4 is opened."""


def random_song(seed: int, bars: int = TINY_BARS + 4, notes_per_bar: int = 9) -> Song:
    """Bars of 4/4, the third and fourth as the first two; pitches and lengths of all kinds."""
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.integers(0, bars * 16, bars * notes_per_bar))
    notes = np.stack(
        [steps, rng.integers(30, 100, len(steps)), rng.integers(1, 128, len(steps)), rng.integers(1, 24, len(steps))], 1
    )
    again = notes[notes[:, 0] < 32]
    notes = np.concatenate([notes[(notes[:, 0] < 32) | (notes[:, 0] >= 64)], again + np.array([32, 0, 0, 0])])
    notes = _one_at_a_time(notes)
    return Song(
        "random",
        notes,
        np.full(bars, 16),
        np.arange(bars) * 16,
        rng.uniform([5, 60, 2, 2, 50, 60], [20, 120, 5, 5, 70, 100], (bars, 6)).astype(np.float32),
        rng.integers(0, 4, (bars * 2, 12)),
    )


def with_note(song: Song, step: int, pitch: int, velocity: int, duration: int) -> Song:
    """The song with one note more; whatever else is known of it stays as it was."""
    notes = _one_at_a_time(np.concatenate([song.notes, [[step, pitch, velocity, duration]]]))
    return Song(song.name, notes, song.bar_steps, song.bar_start, song.plan, song.chroma)


def _one_at_a_time(notes: IntArray) -> IntArray:
    """Sorted notes of which none begins while its pitch sounds."""
    notes = notes[np.lexsort((notes[:, 1], notes[:, 0]))]
    ends: dict[int, int] = {}
    kept = []
    for row in notes:
        if ends.get(int(row[1]), 0) <= row[0]:
            kept.append(row)
            ends[int(row[1])] = int(row[0] + row[3])
    return np.array(kept)


def sample_of(config: ModelConfig, song: Song, group: IntArray | None = None, seed: int = 0) -> Sample:
    """The first bars of a song as they are learned from, with everything given."""
    sample = Dataset([song], config).sample(song, 0, 0, np.random.default_rng(seed), group=group)
    return {**sample, "plan_given": np.array(True), "texture_given": np.array(True), "latent_given": np.array(True)}


def batch_of(config: ModelConfig, song: Song, group: IntArray | None = None, seed: int = 0) -> Batch:
    return collate([sample_of(config, song, group, seed)])


def played(bars: int, meter: Meter = FOUR_FOUR, low: int = 0, high: int = 127, count: int = 10) -> tuple[Bar, ...]:
    """Bars of so many short random notes on the grid, no pitch twice in a bar, none across a bar line, velocities in
    the middle of their bins."""
    rng = np.random.default_rng([bars, count])
    past = []
    for index in range(bars):
        onsets = rng.integers(0, meter.steps_per_bar - 3, count) * 120
        notes = [
            Note(int(onset), int(pitch), int(steps) * 120, int(velocity) * 4 + 2)
            for onset, pitch, steps, velocity in zip(
                onsets,
                low + rng.permutation(high + 1 - low)[:count],
                rng.integers(1, 4, count),
                rng.integers(1, 31, count),
                strict=True,
            )
        ]
        past.append(Bar(index, tuple(sorted(notes)), meter))
    return tuple(past)


def dense(density: float, bars: int = 32) -> PlanTable:
    """A plan of so many onsets a bar, with nothing left to imagine."""
    return np.tile(np.array([density, 100, 2, 3, 60, 70], dtype=np.float32), (bars, 1))
