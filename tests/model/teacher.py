"""What training would say of what an unfolding made: the batch of just that content, order and decisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from fractal_live.model import unfold
from fractal_live.model.batch import Batch, Plans
from fractal_live.model.config import HALF_STEPS, ModelConfig, duration_class, velocity_bin
from fractal_live.model.fractal import Fractal
from fractal_live.model.grid import IntArray, grid_notes, left_in_half, scaled_plan, visible_content
from fractal_live.model.order import band_of, cell_order
from fractal_live.model.unfolding import Unfolding
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import PlanTable


@contextmanager
def watched() -> Iterator[list[Unfolding]]:
    """The unfoldings that are begun meanwhile, each scoring the stops that are forced as well."""
    begun: list[Unfolding] = []

    class Watched(Unfolding):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "scores_forced": True})  # type: ignore[arg-type]
            begun.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unfold, "Unfolding", Watched)
        yield begun


def evened(model: Fractal) -> Fractal:
    """The model with less pronounced tastes and a liking for short notes and small chords, so that few notes are struck
    again while they sound."""
    leaf = model.leaf
    for layer in (leaf.query, leaf.interval, leaf.recall_gate):
        for parameter in layer.parameters():
            parameter.mul_(0.3)
    leaf.stop.bias.add_(3)
    leaf.duration_out.bias[4:].sub_(6)
    return model


def final_bars(done: Unfolding) -> tuple[Bar, ...]:
    """The bars of its page as they stand now: what was known, and every note that was made."""
    page, canvas = done.page, done.canvas
    is_made = page.group >= page.first_group
    bars = []
    for index, bar in enumerate(page.bars):
        first = int(canvas.starts[index]) // HALF_STEPS

        def of_made(note: Note, first: int = first) -> bool:
            return bool(is_made[first + note.onset_tick // (HALF_STEPS * 120)])

        known = [note for note in bar.notes if not of_made(note)]
        made = [note for place, note in done.notes if place == index and of_made(note)]
        bars.append(replace(bar, notes=tuple(sorted(known + made))))
    return tuple(bars)


def steps_of(bars: tuple[Bar, ...], done: Unfolding) -> IntArray:
    """Notes on the page's grid, none cut short: (N, 4)."""
    rows = [
        [int(done.canvas.starts[index]) + note.onset_tick // 120, note.pitch, note.velocity, note.duration_ticks // 120]
        for index, bar in enumerate(bars)
        for note in bar.notes
    ]
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)


def restrikes(notes: IntArray) -> bool:
    """Whether a note begins while its pitch sounds: that shortens a note after it was drawn."""
    for pitch in np.unique(notes[:, 1]):
        own = notes[notes[:, 1] == pitch]
        if any(before[0] + before[3] > after[0] for before, after in pairwise(own)):
            return True
    return False


def teacher_forced(
    done: Unfolding, rows: PlanTable, is_present: np.ndarray, first_row: int, is_given: bool = True
) -> float:
    """The log-likelihood in nats that training would give the notes that were made. rows (past + horizon, 6) in units
    are what level 0 was shown, `first_row` the row of the page's first bar; `is_given` says whether plan and texture
    are shown to the levels below."""
    model, page, canvas = done.model, done.page, done.canvas
    config = model.config
    bars = final_bars(done)
    notes = grid_notes(bars)
    assert np.array_equal(notes, steps_of(bars, done)), "no note is struck again while it sounds"
    T, bands = canvas.T, config.pitch_bands
    made = page.group >= page.first_group
    band, order = band_of(config, notes[:, 1]), cell_order(page.group, page.ranks)
    cell = notes[:, 0] * bands + band
    struck = np.bincount(cell, minlength=T * bands)
    onsets = struck.reshape(len(page.group), -1).sum(1)
    assert np.array_equal(onsets[made], canvas.onsets[made]), "every half bar has the onsets it decided"
    left = left_in_half(np.repeat(canvas.is_valid, bands).astype(np.int64), page.ranks)
    bar_of_half = canvas.bar_of_half + first_row - config.past_bars
    tokens = np.stack([cell, notes[:, 1], velocity_bin(notes[:, 2]), duration_class(notes[:, 3])], 1)
    batch = Batch(
        content=torch.from_numpy(visible_content(notes, band, order, T))[None],
        group=torch.from_numpy(page.group)[None],
        order=torch.from_numpy(order)[None],
        step_in_bar=torch.from_numpy(canvas.step_in_bar)[None],
        bar_len=torch.from_numpy(canvas.bar_len)[None],
        is_valid=torch.from_numpy(canvas.is_valid & np.repeat(made, HALF_STEPS))[None],
        bar_of_half=torch.from_numpy(bar_of_half)[None],
        plan=torch.from_numpy(scaled_plan(rows))[None],
        is_present=torch.from_numpy(is_present)[None],
        hidden_cells=torch.zeros(1, len(rows), 6, dtype=torch.bool),
        chroma=torch.from_numpy(canvas.chroma)[None],
        echo=torch.from_numpy(canvas.echo)[None],
        onsets=torch.from_numpy(onsets)[None],
        remaining=torch.from_numpy(left_in_half(struck, page.ranks))[None],
        steps_left=torch.from_numpy(-(-left // bands))[None],
        notes=torch.from_numpy(tokens[np.argsort(cell, kind="stable")]),
        plan_given=torch.tensor([is_given]),
        texture_given=torch.tensor([is_given]),
        latent_given=torch.tensor([False]),
        noise=torch.zeros(1, config.latent_dims),
        plans=no_plans(config),
    )
    with torch.inference_mode():
        losses = model.losses(batch)
    return -float(losses["pitch"] + losses["velocity"] + losses["duration"])


def no_plans(config: ModelConfig) -> Plans:
    rows = config.past_bars + config.plan_bars
    return Plans(
        torch.zeros(0, rows, 6),
        torch.zeros(0, rows, dtype=torch.bool),
        torch.zeros(0, rows, 6, dtype=torch.bool),
        torch.zeros(0, dtype=torch.bool),
        torch.zeros(0, config.latent_dims),
    )


def recorded(done: Unfolding) -> float:
    return float(done.log_likelihood.sum()) + done.forced_log_likelihood
