"""The values of all controls at one moment, as a request for a bar needs them.

Frozen, so that it may be handed on while the performer goes on turning; knows no addresses and no ranges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fractal_live.music.plan import PLAN_BARS, PlanTable, clamped, unknown_plan
from fractal_live.music.request import Sampling


@dataclass(frozen=True, slots=True)
class GivenCurve:
    """What the performer wants of one plan attribute: with `first_bar` None the single value holds for
    all bars; else value i belongs to bar `first_bar` + i and later bars are free again."""

    values: tuple[float, ...]
    first_bar: int | None = None

    def at(self, bar_index: int) -> float:
        """The value wanted in a bar; NaN = free."""
        if self.first_bar is None:
            return self.values[0]
        place = bar_index - self.first_bar
        return self.values[place] if 0 <= place < len(self.values) else math.nan


@dataclass(frozen=True, slots=True)
class ControlSnapshot:
    """All values a request for a bar needs, at one moment. `version` grows with every change. `plan`
    has one entry per attribute, in the order of `plan.ATTRIBUTES`; None = free. `cycle_seed` changes
    with every generate, `rerolls` counts within the cycle; together they seed the bars. `transpose` is
    in semitones, `velocity` a factor."""

    version: int
    sampling: Sampling
    latent: tuple[float, ...]
    latent_gain: float
    plan: tuple[GivenCurve | None, ...]
    cycle_seed: int
    rerolls: int
    lead_bars: int
    transpose: int
    velocity: float

    def plan_from(self, bar_index: int) -> PlanTable:
        """The given plan (32, 6) of the bars from `bar_index` on; NaN where the model shall imagine."""
        table = unknown_plan()
        for column, given in enumerate(self.plan):
            if given is not None:
                table[:, column] = [given.at(bar_index + row) for row in range(PLAN_BARS)]
        return clamped(table)
