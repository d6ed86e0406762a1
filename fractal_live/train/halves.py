"""Half bars of songs as level 1 sees them, worked out once, so that what little is decided from its hidden states can
be learned by itself in a minute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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

    def drawn(self, rng: np.random.Generator) -> HalfBars:
        """HALVES_AT_ONCE of them."""
        rows = torch.from_numpy(rng.integers(0, len(self.hidden), HALVES_AT_ONCE))
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
