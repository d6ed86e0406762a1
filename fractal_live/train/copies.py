"""How rows of the plan return, and how closely echoes repeat their sources: a few scores, fitted last, by themselves.

They say only how likely a row repeats one at a musical distance, and how the harmony, the number of onsets and the next
note follow those of the source, grade by grade.
Beside millions of weights they are few and far from zero; at the rate that suits the others they do not get there.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fractal_live.model.fractal import Fractal
from fractal_live.model.repeats import EXACT
from fractal_live.train.dataset import Dataset, collate
from fractal_live.train.few import fit_few
from fractal_live.train.latent import plan_cost

COPY_STEPS = 120
COPY_BATCH = 4
RETURN_STEPS = 300
RETURN_BATCH = 32
EXACT_PULL = 5.0
"""Nats towards the next note of what is echoed exactly. Songs, where what came before is always right, are likeliest
with 3; a piece that is invented strays, and with 3 a repetition is hardly one (docs/experiments.md)."""
COPIED = ("chroma", "onsets", "pitch")
"""The losses that the scores have a part in."""


def fit_copies(model: Fractal, dataset: Dataset, steps: int, seed: int, rate: float = 0.1) -> tuple[float, float]:
    """Learns the scores of what is copied on crops of songs while all else is held still. Returns the nats per half
    bar of harmony, number of onsets and pitches, first and last. The pull of an exact echo is at least
    EXACT_PULL in the end."""
    learned = [model.heads.copied_chroma, model.heads.copied_count, model.leaf.copied]

    def cost(step: int) -> Tensor:
        rngs = [np.random.default_rng([seed, 3, step, index]) for index in range(COPY_BATCH)]
        found = model.losses(collate([dataset.draw(rng) for rng in rngs]))
        return torch.stack([found[name] for name in COPIED]).sum() / found["chroma_count"]

    found = fit_few(model, learned, cost, steps, rate)
    model.leaf.copied.data[EXACT] = model.leaf.copied.data[EXACT].clamp(min=EXACT_PULL)
    return found


def fit_returns(model: Fractal, dataset: Dataset, steps: int, seed: int, rate: float = 0.1) -> tuple[float, float]:
    """Learns how rows of the plan return, on plans of songs alone, while all else is held still. Returns the plan's
    nats per cell, first and last."""
    return fit_few(model, [model.structure.returned], plan_cost(model, dataset, [seed, 4], RETURN_BATCH), steps, rate)
