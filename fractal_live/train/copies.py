"""How rows of the plan return, and how closely echoes repeat their sources: a few scores, fitted last, by themselves.

They say only how likely a row repeats one at a musical distance, and how the harmony, the number of onsets and the next
note follow those of the source, grade by grade.
Beside millions of weights they are few and far from zero; at the rate that suits the others they do not get there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fractal_live.model.batch import Plans
from fractal_live.model.fractal import Fractal
from fractal_live.model.repeats import EXACT
from fractal_live.train.dataset import Dataset, collate

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

    found = _fit(model, learned, cost, steps, rate)
    model.leaf.copied.data[EXACT] = model.leaf.copied.data[EXACT].clamp(min=EXACT_PULL)
    return found


def fit_returns(model: Fractal, dataset: Dataset, steps: int, seed: int, rate: float = 0.1) -> tuple[float, float]:
    """Learns how rows of the plan return, on plans of songs alone, while all else is held still. Returns the plan's
    nats per cell, first and last."""

    def cost(step: int) -> Tensor:
        rng = np.random.default_rng([seed, 4, step])
        samples = [dataset.draw_planned(rng) for _ in range(RETURN_BATCH)]
        plans = Plans(**{name: torch.from_numpy(np.stack([each[name] for each in samples])) for name in samples[0]})
        found = model.structure_losses(plans)
        return found["plan"] / found["plan_count"].clamp(min=1)

    return _fit(model, [model.structure.returned], cost, steps, rate)


def _fit(
    model: Fractal, learned: list[nn.Parameter], cost: Callable[[int], Tensor], steps: int, rate: float
) -> tuple[float, float]:
    """Lowers the cost of a step by `learned` alone; the mean cost of the first and of the last tenth of the steps."""
    was_learned = [parameter.requires_grad for parameter in model.parameters()]
    was_training = model.training
    model.eval().requires_grad_(False)
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(learned, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    costs = []
    for step in range(steps):
        found = cost(step)
        torch.autograd.backward(found)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        costs.append(float(found.detach()))
    for parameter, was in zip(model.parameters(), was_learned, strict=True):
        parameter.requires_grad_(was)
    model.train(was_training)
    tenth = max(1, steps // 10)
    return float(np.mean(costs[:tenth])), float(np.mean(costs[-tenth:]))
