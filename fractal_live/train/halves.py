"""Half bars of songs as level 1 sees them, worked out once, so that what little is decided from its hidden states can
be learned by itself in a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fractal_live.model.config import HALF_STEPS
from fractal_live.model.echo import allowed_echoes, can_source, echo_before, run_before
from fractal_live.model.fractal import Fractal, sources
from fractal_live.model.phrase import Source
from fractal_live.train.dataset import Dataset, collate

HALF_CROPS = 1600
CROPS_AT_ONCE = 8
HALVES_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class HalfBars:
    """Of N of them: what level 1 says (N, dim), their chroma levels (N, 12), what they echo; and of the choice of that
    echo which classes were `allowed` (N, ECHOES), the class `before` (N,) and how long its `run` (N,) was."""

    hidden: Tensor
    chroma: Tensor
    source: Source
    allowed: Tensor
    before: Tensor
    run: Tensor

    def __len__(self) -> int:
        return len(self.hidden)

    def at(self, rows: Tensor) -> HalfBars:
        parts = self.source.echo, self.source.chroma, self.source.onsets, self.source.earlier
        source = Source(*(part[rows] for part in parts))
        told = self.allowed[rows], self.before[rows], self.run[rows]
        return HalfBars(self.hidden[rows], self.chroma[rows], source, *told)


@torch.no_grad()
def half_bars(model: Fractal, dataset: Dataset, crops: int, seed: int) -> HalfBars:
    """Those of so many crops, drawn and transposed as in training."""
    found: list[tuple[Tensor, ...]] = []
    was_training = model.training
    model.eval()
    for low in range(0, crops, CROPS_AT_ONCE):
        rngs = [np.random.default_rng([seed, 5, crop]) for crop in range(low, min(low + CROPS_AT_ONCE, crops))]
        batch = collate([dataset.draw(rng) for rng in rngs])
        is_valid, source = batch.is_valid[:, ::HALF_STEPS], sources(batch)
        allowed = allowed_echoes(can_source(batch.group, (batch.onsets > 0) & is_valid))
        before = echo_before(batch.echo, batch.group), run_before(batch.echo, batch.group)
        parts = source.echo, source.chroma, source.onsets, source.earlier
        told = (model.phrase(batch), batch.chroma, *parts, allowed, *before)
        found.append(tuple(values[is_valid] for values in told))
    model.train(was_training)
    hidden, chroma, *told_of = (torch.cat(values) for values in zip(*found, strict=True))
    return HalfBars(hidden, chroma, Source(*told_of[:4]), *told_of[4:])


def fit(
    halves: HalfBars,
    learned: list[nn.Parameter],
    cost: Callable[[HalfBars], Tensor],
    steps: int,
    rng: np.random.Generator,
    rate: float,
    decay: float = 0.0,
) -> tuple[float, float]:
    """Lowers the cost of half bars by `learned` alone; the mean cost of the first and of the last tenth of the
    steps."""
    was_learned = [parameter.requires_grad for parameter in learned]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(learned, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    costs = []
    for _ in range(steps):
        found = cost(halves.at(torch.from_numpy(rng.integers(0, len(halves), HALVES_AT_ONCE))))
        torch.autograd.backward(found)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        costs.append(float(found.detach()))
    for parameter, was in zip(learned, was_learned, strict=True):
        parameter.requires_grad_(was)
    tenth = max(1, steps // 10)
    return float(np.mean(costs[:tenth])), float(np.mean(costs[-tenth:]))
