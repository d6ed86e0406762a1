"""Which pitch classes belong together, learned after all else, by itself: from what level 1 says of half bars of songs,
which is worked out once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fractal_live.model.config import HALF_STEPS
from fractal_live.model.fractal import Fractal, sources
from fractal_live.model.phrase import Source
from fractal_live.train.dataset import Dataset, collate

HARMONY_CROPS, HARMONY_STEPS = 1600, 2000
CROPS_AT_ONCE = 8
HALVES_AT_ONCE = 1024
RATE, DECAY = 2e-3, 0.02


@torch.no_grad()
def half_bars(model: Fractal, dataset: Dataset, crops: int, seed: int) -> tuple[Tensor, Tensor, Source]:
    """Of half bars of so many crops: what level 1 says (N, dim), their chroma levels (N, 12), and what they echo."""
    found: list[tuple[Tensor, ...]] = []
    for low in range(0, crops, CROPS_AT_ONCE):
        rngs = [np.random.default_rng([seed, 5, crop]) for crop in range(low, min(low + CROPS_AT_ONCE, crops))]
        batch = collate([dataset.draw(rng) for rng in rngs])
        is_valid, source = batch.is_valid[:, ::HALF_STEPS], sources(batch)
        told = (model.phrase(batch), batch.chroma, source.echo, source.chroma, source.onsets)
        found.append(tuple(values[is_valid] for values in told))
    hidden, chroma, *source_parts = (torch.cat(parts) for parts in zip(*found, strict=True))
    return hidden, chroma, Source(*source_parts)


def fit_harmony(
    model: Fractal, dataset: Dataset, steps: int, seed: int, crops: int = HARMONY_CROPS
) -> tuple[float, float]:
    """Learns how pitch classes of half bars belong together while all else is held still. Returns the nats per half bar
    of harmony, first and last."""
    heads = model.heads
    was_training = model.training
    model.eval()
    hidden, chroma, source = half_bars(model, dataset, crops, seed)
    learned = [*heads.consonance.parameters(), *heads.own.parameters(), heads.pair, heads.copied_chroma]
    was_learned = [parameter.requires_grad for parameter in learned]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(learned, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    rng, costs = np.random.default_rng([seed, 6]), []
    for _ in range(steps):
        rows = torch.from_numpy(rng.integers(0, len(hidden), HALVES_AT_ONCE))
        part = Source(source.echo[rows], source.chroma[rows], source.onsets[rows])
        scores = heads.chroma_scores(hidden[rows], chroma[rows], part)
        cost = torch.nn.functional.cross_entropy(scores.flatten(0, 1), chroma[rows].flatten()) * chroma.shape[1]
        torch.autograd.backward(cost)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        costs.append(float(cost.detach()))
    for parameter, was in zip(learned, was_learned, strict=True):
        parameter.requires_grad_(was)
    model.train(was_training)
    tenth = max(1, steps // 10)
    return float(np.mean(costs[:tenth])), float(np.mean(costs[-tenth:]))
