"""Songs to training batches: random crops, transposition, orders, hidden cells.

Whatever the model may not see at a place is left out here or masked by `order`; nothing else decides
visibility.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from fractal_live.model.batch import Batch, Plans
from fractal_live.model.config import HALF_STEPS, ModelConfig, duration_class, velocity_bin
from fractal_live.model.echo import echoes, onsets_per_half
from fractal_live.model.grid import FloatArray, IntArray, left_in_half, limit_chords, scaled_plan, visible_content
from fractal_live.model.order import band_of, cell_order, draw_ranks
from fractal_live.music.plan import COLUMN
from fractal_live.train.corpus import CorpusError, Song

Sample = dict[str, npt.NDArray[np.generic]]

TRANSPOSE = (-5, 6)
ENDING_BARS = 2
LEAST_BARS = ENDING_BARS + 5
MORE_PLANS = 8


def long_enough(songs: list[Song]) -> list[Song]:
    """The songs that something can be learned from. Raises CorpusError when all are too short."""
    kept = [song for song in songs if song.bars >= LEAST_BARS]
    if not kept:
        names = ", ".join(song.name for song in songs[:3])
        raise CorpusError(
            f"no song of at least {LEAST_BARS} bars among {len(songs)} ({names}{', ...' * (len(songs) > 3)})"
        )
    return kept


class Dataset:
    """Samples from songs. `draw(rng)` is a function of the generator's state alone."""

    def __init__(self, songs: list[Song], config: ModelConfig) -> None:
        self.songs = long_enough(songs)
        self.config = config
        self.crop_bars = config.plan_bars
        self.steps = config.levels[-1].seq_len
        bars = np.array([song.bars for song in self.songs], dtype=np.float64)
        self.weights = bars / bars.sum()

    def draw(self, rng: np.random.Generator) -> Sample:
        return self.sample(*self._crop(rng), rng)

    def _crop(self, rng: np.random.Generator) -> tuple[Song, int, int]:
        """A random song, first bar and transposition."""
        song = self.songs[rng.choice(len(self.songs), p=self.weights)]
        last = max(0, song.bars - ENDING_BARS - self.crop_bars)
        return song, int(rng.integers(last + 1)), int(rng.integers(TRANSPOSE[0], TRANSPOSE[1] + 1))

    def sample(
        self, song: Song, first_bar: int, shift: int, rng: np.random.Generator, group: IntArray | None = None
    ) -> Sample:
        """The crop that begins at a bar, transposed. `group` (H,) says when half bars are opened; without it an
        order is drawn."""
        T, config = self.steps, self.config
        start = int(song.bar_start[first_bar])
        inside = (song.notes[:, 0] >= start) & (song.notes[:, 0] < start + T)
        notes = song.notes[inside] - np.array([start, -shift, 0, 0])
        is_in_range = (notes[:, 1] >= config.pitch_low) & (notes[:, 1] <= config.pitch_high)
        notes = limit_chords(notes[is_in_range], config.max_notes_per_step)

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

        planned = self._planned(song, first_bar, shift, rng)
        halves = T // HALF_STEPS
        group = self._groups(halves, rng) if group is None else group
        ranks = draw_ranks(config, halves, rng)
        chroma = np.zeros((halves, 12), dtype=np.int64)
        own = song.chroma[start // HALF_STEPS : start // HALF_STEPS + halves]
        chroma[: len(own)] = np.roll(own, shift, axis=1)
        bands = config.pitch_bands
        band, order = band_of(config, notes[:, 1]), cell_order(group, ranks)
        cell = notes[:, 0] * bands + band
        tokens = np.stack([cell, notes[:, 1], velocity_bin(notes[:, 2]), duration_class(notes[:, 3])], axis=1)
        struck = np.bincount(cell, minlength=T * bands)
        left = left_in_half(np.repeat(is_valid, bands).astype(np.int64), ranks)
        fate = rng.random()
        return {
            "content": visible_content(notes, band, order, T),
            "group": group,
            "order": order,
            "step_in_bar": step_in_bar,
            "bar_len": bar_len,
            "is_valid": is_valid,
            "bar_of_half": bar_of_step[::HALF_STEPS],
            "chroma": chroma,
            "echo": echoes(notes, group),
            "onsets": onsets_per_half(notes, halves),
            "remaining": left_in_half(struck, ranks),
            "steps_left": -(-left // bands),
            "notes": tokens[np.argsort(cell, kind="stable")],
            "plan_given": np.array(fate > 0.1),
            "texture_given": np.array(fate > 0.15),
            **planned,
            **{f"plans.{name}": value for name, value in self._more_plans(rng).items()},
        }

    def draw_plan(self, rng: np.random.Generator) -> FloatArray:
        """The plan of a random crop, transposed: (plan_bars, 6) scaled to 0..1, NaN where undefined."""
        plan, _ = self.plan_at(*self._crop(rng))
        return plan[self.config.past_bars :]

    def draw_planned(self, rng: np.random.Generator) -> Sample:
        """What level 0 learns of a random crop."""
        return self._planned(*self._crop(rng), rng)

    def _more_plans(self, rng: np.random.Generator) -> Sample:
        """Plans of other crops, for level 0 alone."""
        drawn = [self.draw_planned(rng) for _ in range(MORE_PLANS)]
        return {name: np.stack([each[name] for each in drawn]) for name in drawn[0]}

    def _planned(self, song: Song, first_bar: int, shift: int, rng: np.random.Generator) -> Sample:
        """What level 0 learns of a crop."""
        plan, is_present = self.plan_at(song, first_bar, shift)
        if rng.random() < 0.3:
            is_present[: int(rng.integers(self.config.past_bars + 1))] = False
        return {
            "plan": self._with_attributes_dropped(plan, rng),
            "is_present": is_present,
            "hidden_cells": self._hidden_cells(rng),
            "latent_given": np.array(rng.random() < 0.7),
            "noise": rng.standard_normal(self.config.latent_dims).astype(np.float32),
        }

    def plan_at(self, song: Song, first_bar: int, shift: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """The plan of the crop that begins at a bar, and of what came before it: (R, 6) scaled, and presence (R,)."""
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

    def _groups(self, halves: int, rng: np.random.Generator) -> IntArray:
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
    """Samples stacked; the notes of sample b count their cells from b*C."""
    single = {key for key in samples[0] if key != "notes" and not key.startswith("plans.")}
    stacked = {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in single}
    names = Plans.__dataclass_fields__
    plans = Plans(
        **{name: torch.from_numpy(np.concatenate([sample[f"plans.{name}"] for sample in samples])) for name in names}
    )
    cells = samples[0]["order"].shape[0]
    notes = [np.asarray(s["notes"]) + np.array([b * cells, 0, 0, 0]) for b, s in enumerate(samples)]
    return Batch(notes=torch.from_numpy(np.concatenate(notes)), plans=plans, **stacked)
