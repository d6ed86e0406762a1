"""No leak: what is predicted at a place never moves when what is not visible there changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fractal_live.model.config import BEAT_STEPS, HALF_STEPS
from fractal_live.model.fractal import Batch, Fractal, Levels
from fractal_live.model.grid import visible_content
from fractal_live.train.corpus import Song
from fractal_live.train.dataset import Dataset, collate
from tests.model.tiny import TINY, lively

SMALL = replace(TINY, past_bars=8, plan_bars=8, beat_window=16, step_window=32)


def random_song(seed: int, bars: int = 16) -> Song:
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.integers(0, bars * 16, bars * 12))
    notes = np.stack(
        [steps, rng.integers(40, 80, len(steps)), rng.integers(40, 110, len(steps)), rng.integers(1, 12, len(steps))], 1
    )
    notes = notes[np.unique(notes[:, 0] * 128 + notes[:, 1], return_index=True)[1]]
    return Song(
        "random",
        notes,
        np.full(bars, 16),
        np.arange(bars) * 16,
        rng.uniform([5, 60, 2, 2, 50, 60], [20, 120, 5, 5, 70, 100], (bars, 6)).astype(np.float32),
        rng.integers(0, 4, (bars * 2, 12)),
    )


ORDERS = {
    "time": np.arange(16),
    "random": np.random.default_rng(3).permutation(16),
    "rounds": np.random.default_rng(4).integers(0, 4, 16),
    "gap": np.array([0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 10, 11, 12, 13, 14, 15]),
}


@pytest.mark.parametrize("order_name", ORDERS)
def test_no_level_sees_the_step_it_predicts_nor_any_half_bar_opened_with_it_or_later(order_name: str) -> None:
    order = ORDERS[order_name]
    dataset = Dataset([random_song(1)], SMALL, crop_bars=8)
    song = dataset.songs[0]
    model = lively(0, SMALL)
    sample = dataset.sample(song, 0, 0, np.random.default_rng(0), order=order)
    before = levels_of(model, collate([sample]))
    moved_something = False
    for step in (3, 40, 47, 48, 70, 100, 127):
        notes = song.notes[song.notes[:, 0] < 128]
        added = np.concatenate([notes, [[step, 90, 100, 14]]])
        content = visible_content(added[np.argsort(added[:, 0], kind="stable")], order, 128)
        after = levels_of(model, collate([{**sample, "content": content}]))
        half = step // HALF_STEPS
        blind_halves = [h for h in range(16) if order[h] <= order[half]]
        blind_steps = [
            t
            for t in range(128)
            if (t // HALF_STEPS == half and t <= step)
            or (t // HALF_STEPS != half and order[t // HALF_STEPS] <= order[half])
        ]
        blind_beats = [
            b
            for b in range(32)
            if (b // 2 == half and b <= step // BEAT_STEPS) or (b // 2 != half and order[b // 2] <= order[half])
        ]
        for name, blind in (
            ("phrase", blind_halves),
            ("beats", blind_beats),
            ("steps", blind_steps),
            ("leaf_cond", blind_steps),
            ("features", blind_steps),
            ("rhythm", blind_steps),
        ):
            a, b = said(before, name), said(after, name)
            assert torch.equal(a[blind], b[blind]), f"{name} saw step {step} too early"
            moved_something |= not torch.equal(a, b)
    assert moved_something, "the change reached nothing at all: the test would prove nothing"


def said(levels: Levels, name: str) -> torch.Tensor:
    """What the only sample of a batch is told: (places, ...)."""
    if name in ("features", "rhythm"):
        return getattr(levels.recall, name)
    return getattr(levels, name)[0]


def levels_of(model: Fractal, batch: Batch) -> Levels:
    with torch.no_grad():
        return model(batch)


def test_the_plan_level_does_not_see_the_cells_it_imagines() -> None:
    model = lively(1, SMALL)
    dataset = Dataset([random_song(2)], SMALL, crop_bars=8)
    batch = collate([dataset.sample(dataset.songs[0], 4, 0, np.random.default_rng(0))])
    hidden = batch.hidden_cells
    changed = torch.where(hidden, 1 - batch.plan, batch.plan)
    assert hidden.any() and not torch.equal(changed, batch.plan)
    outs = []
    for plan in (batch.plan, changed):
        known = plan.masked_fill(hidden, float("nan"))
        with torch.no_grad():
            outs.append(model.structure.imagine(known, batch.is_present, batch.noise, torch.zeros(1)))
    assert torch.equal(outs[0], outs[1])


def test_the_leaf_sees_only_the_notes_below() -> None:
    model = lively(2, SMALL).leaf
    cond = torch.randn(1, SMALL.content.compressed_dim + SMALL.guide_dim)
    tokens = torch.randn(1, 5, SMALL.leaf.embed_dim)
    with torch.no_grad():
        before = model.hidden(tokens, cond)
        tokens[:, 3] += 1
        after = model.hidden(tokens, cond)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_masked_tokens_keep_their_place() -> None:
    """Predictions with nothing visible differ between positions of the bar (in earlier systems they were constant)."""
    model = lively(3, SMALL)
    dataset = Dataset([random_song(3)], SMALL, crop_bars=8)
    sample = dataset.sample(dataset.songs[0], 0, 0, np.random.default_rng(0), order=np.zeros(16, dtype=np.int64))
    batch = collate([sample])
    batch = replace(
        batch, plan=torch.full_like(batch.plan, float("nan")), bar_of_half=torch.zeros_like(batch.bar_of_half)
    )
    phrase = levels_of(model, batch).phrase[0]
    assert not torch.allclose(phrase[0], phrase[1], atol=1e-4)
