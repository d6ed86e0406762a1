"""Which pitch classes belong together, and how long a section goes on returning: learned after all else, each by
itself, from what level 1 says of half bars of songs."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from fractal_live.model.fractal import Fractal
from fractal_live.train.few import fit_few
from fractal_live.train.halves import HalfBars

HARMONY_STEPS, HARMONY_RATE, HARMONY_DECAY = 2000, 2e-3, 0.02
RUN_STEPS, RUN_RATE = 1000, 0.03


def fit_harmony(model: Fractal, halves: HalfBars, steps: int, seed: int) -> tuple[float, float]:
    """Learns how pitch classes of half bars belong together while all else is held still. Returns the nats per half bar
    of harmony, first and last."""
    heads, rng = model.heads, np.random.default_rng([seed, 6])
    learned = [*heads.consonance.parameters(), *heads.own.parameters(), heads.pair, heads.copied_chroma]

    def cost(step: int) -> Tensor:
        part = halves.drawn(rng)
        scores = heads.chroma_scores(part.hidden, part.chroma, part.source)
        return F.cross_entropy(scores.flatten(0, 1), part.chroma.flatten()) * part.chroma.shape[1]

    return fit_few(model, learned, cost, steps, HARMONY_RATE, HARMONY_DECAY)


def fit_runs(model: Fractal, halves: HalfBars, steps: int, seed: int) -> tuple[float, float]:
    """Learns how likely an echo goes on from the distance of the one before it, by how closely and for how long that
    has been echoed, while all else is held still. Returns the nats per half bar of what is echoed, first and last."""
    heads, rng = model.heads, np.random.default_rng([seed, 7])

    def cost(step: int) -> Tensor:
        part = halves.drawn(rng)
        scores = heads.echo_scores(part.hidden, part.allowed, part.before, part.run)
        return F.cross_entropy(scores, part.source.echo)

    return fit_few(model, [heads.continued, heads.lasting], cost, steps, RUN_RATE)
