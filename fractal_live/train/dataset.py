"""Songs to training batches: random crops, transposition, orders, hidden cells.

Whatever the model may not see at a place is left out here or masked by `order`; nothing else decides
visibility.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from fractal_live.model.config import HALF_STEPS, ModelConfig, duration_class, velocity_bin
from fractal_live.model.fractal import Batch
from fractal_live.model.grid import (
    FloatArray,
    IntArray,
    limit_chords,
    remaining_onsets,
    scaled_plan,
    steps_left,
    visible_content,
)
from fractal_live.music.plan import COLUMN
from fractal_live.train.corpus import Song

Sample = dict[str, npt.NDArray[np.generic]]

TRANSPOSE = (-5, 6)
ENDING_BARS = 2


class Dataset:
    """Samples from songs. `draw(rng)` is a function of the generator's state alone."""

    def __init__(self, songs: list[Song], config: ModelConfig, crop_bars: int = 32) -> None:
        self.songs = [song for song in songs if song.bars > ENDING_BARS + 4]
        self.config = config
        self.crop_bars = crop_bars
        self.steps = crop_bars * 16
        bars = np.array([song.bars for song in self.songs], dtype=np.float64)
        self.weights = bars / bars.sum()

    def draw(self, rng: np.random.Generator) -> Sample:
        song = self.songs[rng.choice(len(self.songs), p=self.weights)]
        last = max(0, song.bars - ENDING_BARS - self.crop_bars)
        return self.sample(song, int(rng.integers(last + 1)), int(rng.integers(TRANSPOSE[0], TRANSPOSE[1] + 1)), rng)

    def sample(
        self, song: Song, first_bar: int, shift: int, rng: np.random.Generator, order: IntArray | None = None
    ) -> Sample:
        """The crop that begins at a bar, transposed. Without an order one is drawn."""
        T, config = self.steps, self.config
        start = int(song.bar_start[first_bar])
        inside = (song.notes[:, 0] >= start) & (song.notes[:, 0] < start + T)
        notes = song.notes[inside] - np.array([start, -shift, 0, 0])
        notes = limit_chords(notes[(notes[:, 1] >= 0) & (notes[:, 1] <= 127)], config.max_notes_per_step)

        bars = range(first_bar, min(first_bar + self.crop_bars, song.bars - ENDING_BARS))
        step_in_bar, bar_len = np.zeros(T, dtype=np.int64), np.full(T, 16, dtype=np.int64)
        is_valid, bar_of_step = np.zeros(T, dtype=bool), np.zeros(T, dtype=np.int64)
        for bar in bars:
            low = int(song.bar_start[bar]) - start
            length = int(song.bar_steps[bar])
            high = min(T, low + -(-length // HALF_STEPS) * HALF_STEPS)
            step_in_bar[low:high] = np.minimum(np.arange(high - low), config.max_bar_len - 1)
            bar_len[low:high] = min(length, config.max_bar_len)
            is_valid[low : min(T, low + length)] = True
            bar_of_step[low:high] = min(bar - first_bar, config.plan_bars - 1)
        notes = notes[is_valid[notes[:, 0]]]

        plan, is_present = self._plan(song, first_bar, shift)
        if rng.random() < 0.3:
            is_present[: int(rng.integers(config.past_bars + 1))] = False
        halves = T // HALF_STEPS
        order = self._order(halves, rng) if order is None else order
        chroma = np.zeros((halves, 12), dtype=np.int64)
        own = song.chroma[start // HALF_STEPS : start // HALF_STEPS + halves]
        chroma[: len(own)] = np.roll(own, shift, axis=1)
        tokens = np.stack([notes[:, 0], notes[:, 1], velocity_bin(notes[:, 2]), duration_class(notes[:, 3])], axis=1)
        fate = rng.random()
        return {
            "content": visible_content(notes, order, T),
            "order": order,
            "step_in_bar": step_in_bar,
            "bar_len": bar_len,
            "is_valid": is_valid,
            "bar_of_half": bar_of_step[::HALF_STEPS],
            "plan": self._with_attributes_dropped(plan, rng),
            "is_present": is_present,
            "hidden_cells": self._hidden_cells(rng),
            "chroma": chroma,
            "remaining": remaining_onsets(notes, T),
            "steps_left": steps_left(is_valid),
            "notes": tokens,
            "plan_given": np.array(fate > 0.1),
            "chroma_given": np.array(fate > 0.15),
            "latent_given": np.array(rng.random() < 0.7),
            "noise": rng.standard_normal(config.latent_dims).astype(np.float32),
        }

    def _plan(self, song: Song, first_bar: int, shift: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        config = self.config
        rows = config.past_bars + config.plan_bars
        plan = np.full((rows, song.plan.shape[1]), np.nan, dtype=np.float32)
        is_present = np.zeros(rows, dtype=bool)
        for row in range(rows):
            bar = first_bar + row - config.past_bars
            if 0 <= bar < song.bars - ENDING_BARS:
                plan[row] = song.plan[bar]
                is_present[row] = True
        plan[:, COLUMN["register"]] += shift
        return scaled_plan(plan), is_present

    def _with_attributes_dropped(self, plan: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Some attributes are sometimes unknown throughout, so that any subset may guide."""
        if rng.random() < 0.15:
            plan = plan.copy()
            plan[:, rng.random(plan.shape[1]) < 0.4] = np.nan
        return plan

    def _hidden_cells(self, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Which plan cells are to be imagined: (R, 6), in the horizon only."""
        P, R = self.config.past_bars, self.config.plan_bars
        hidden = np.zeros((P + R, len(COLUMN)), dtype=bool)
        kind = rng.random()
        if kind < 0.35:
            hidden[P:] = True
        elif kind < 0.7:
            hidden[P + int(rng.integers(R)) :] = True
        else:
            hidden[P:] = rng.random((R, len(COLUMN))) < rng.uniform(0.2, 1.0)
        if rng.random() < 0.3:
            hidden[P:, rng.random(len(COLUMN)) < 0.3] = False
        if rng.random() < 0.5:
            hidden[P:] &= rng.random((R, len(COLUMN))) < rng.uniform(0.3, 1.0)
        return hidden

    def _order(self, halves: int, rng: np.random.Generator) -> IntArray:
        """Mostly time; else a random order in a few rounds, or a gap opened last."""
        time = np.arange(halves)
        kind = rng.random()
        if kind < 0.7:
            return time
        if kind < 0.85:
            rounds = int(rng.integers(2, 13))
            return np.sort(rng.integers(0, rounds, halves))[rng.permutation(halves)].astype(np.int64)
        low = int(rng.integers(0, halves - 2))
        high = int(rng.integers(low + 2, min(halves, low + 24) + 1))
        order = time.copy()
        gap = (time >= low) & (time < high)
        order[gap] = halves + np.arange(gap.sum())
        return order


def collate(samples: list[Sample]) -> Batch:
    """Samples stacked; the notes of sample b count their steps from b*T."""
    stacked = {key: torch.from_numpy(np.stack([s[key] for s in samples])) for key in samples[0] if key != "notes"}
    steps = samples[0]["is_valid"].shape[0]
    notes = [np.asarray(s["notes"]) + np.array([b * steps, 0, 0, 0]) for b, s in enumerate(samples)]
    return Batch(notes=torch.from_numpy(np.concatenate(notes)), **stacked)


def batches(dataset: Dataset, batch_size: int, seed: int, first_step: int = 0) -> Iterator[Batch]:
    """Endless batches; batch number i depends on the seed and i alone, so that a resumed run continues
    as if it had never stopped."""
    step = first_step
    while True:
        rng = np.random.default_rng([seed, step])
        yield collate([dataset.draw(rng) for _ in range(batch_size)])
        step += 1
