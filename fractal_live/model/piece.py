"""Whole pieces: bar after bar from the engine, as on stage, with the plan sliding along."""

from __future__ import annotations

import numpy as np

from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Score
from fractal_live.music.plan import PLAN_BARS, PlanTable, unknown_plan
from fractal_live.music.request import LATENT_DIMS, MEMORY_BARS, BarRequest, Generator, Sampling


def drawn_latent(seed: int) -> tuple[float, ...]:
    """A point of the latent's prior, N(0, 1) in every dimension."""
    return tuple(float(value) for value in np.random.default_rng(seed).standard_normal(LATENT_DIMS))


def compose(
    engine: Generator,
    bars: int,
    seed: int,
    sampling: Sampling,
    given: PlanTable | None = None,
    meter: Meter = FOUR_FOUR,
    latent: tuple[float, ...] | None = None,
    latent_gain: float = 1.0,
) -> Score:
    """A piece of so many bars. `given` is (bars, 6) with NaN for what the model imagines. Without a latent the
    seed draws one, so that pieces differ from one another as songs do."""
    latent = drawn_latent(seed) if latent is None else latent
    wanted = unknown_plan(bars + PLAN_BARS)
    if given is not None:
        wanted[:bars] = given[:bars]
        wanted[bars:] = given[bars - 1]
    known = wanted.copy()
    made: list[Bar] = []
    for index in range(bars):
        window = known[index : index + PLAN_BARS].copy()
        past = tuple(made[-MEMORY_BARS:])
        asked = wanted[index : index + PLAN_BARS]
        reply = engine.bar(
            BarRequest(index, past, window, None, latent, latent_gain, meter, sampling, seed, index, asked)
        )
        known[index : index + PLAN_BARS] = np.where(np.isnan(window), reply.plan, window)
        made.append(reply.bar)
    return Score(tuple(made))
