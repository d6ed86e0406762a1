"""The values of all controls at one moment, as a request for a bar needs them.

Frozen, so that it may be handed on while the performer goes on turning; knows no addresses and no ranges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fractal_live.live.dressing import Dress
from fractal_live.live.latent_path import LatentPath, Point
from fractal_live.music.harmony import HALF_BAR_STEPS, Chroma
from fractal_live.music.meter import Meter
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

    def moved(self, bars: int) -> GivenCurve:
        """The same curve so many bars later; a held value knows no bars."""
        return self if self.first_bar is None else replace(self, first_bar=self.first_bar + bars)


@dataclass(frozen=True, slots=True)
class GivenChroma:
    """The harmony the performer wants, 12 values 0 to 1 per half bar: with `first_bar` None the single one holds
    for all; else they follow each other from the first half of bar `first_bar` on and later bars are free again."""

    halves: tuple[tuple[float, ...], ...]
    first_bar: int | None = None

    def of_bar(self, bar_index: int, meter: Meter) -> Chroma | None:
        """(halves of a bar, 12), None = free. A bar is given as a whole: what is missing at its end is the last
        half bar again."""
        count = -(-meter.steps_per_bar // HALF_BAR_STEPS)
        first = 0 if self.first_bar is None else (bar_index - self.first_bar) * count
        if self.first_bar is not None and not 0 <= first < len(self.halves):
            return None
        last = len(self.halves) - 1
        return np.array([self.halves[min(first + half, last)] for half in range(count)], dtype=np.float32)

    def moved(self, bars: int) -> GivenChroma:
        """The same harmonies so many bars later; a held one knows no bars."""
        return self if self.first_bar is None else replace(self, first_bar=self.first_bar + bars)


@dataclass(frozen=True, slots=True)
class ControlSnapshot:
    """All values a request for a bar needs, at one moment. `version` grows with every change. `plan`
    has one entry per attribute, in the order of `plan.ATTRIBUTES`; None = free, as for `chroma`. `cycle_seed` changes
    with every generate, `rerolls` counts within the cycle; together they seed the bars. `dress` is what is done to
    bars that are made, `density_factor` scales the density that a bar is asked for."""

    version: int
    sampling: Sampling
    latent_path: LatentPath
    latent_gain: float
    plan: tuple[GivenCurve | None, ...]
    chroma: GivenChroma | None
    cycle_seed: int
    rerolls: int
    lead_bars: int
    dress: Dress
    density_factor: float = 1.0

    @property
    def latent(self) -> Point:
        """The point that was set; `latent_at` says where a bar is on the way to it."""
        return self.latent_path.target

    def latent_at(self, bar_index: int) -> Point:
        """The latent of a bar: glide and walk included."""
        return self.latent_path.at(bar_index, self.cycle_seed)

    def influence_at(self, bar_index: int) -> Point | None:
        """The latent of a bar, None where its gain leaves it no influence."""
        return self.latent_at(bar_index) if self.latent_gain > 0 else None

    def chroma_of(self, bar_index: int, meter: Meter) -> Chroma | None:
        """The given harmony of a bar, per half bar (halves, 12); None where the model shall imagine."""
        return None if self.chroma is None else self.chroma.of_bar(bar_index, meter)

    def plan_from(self, bar_index: int) -> PlanTable:
        """The given plan (32, 6) of the bars from `bar_index` on; NaN where the model shall imagine."""
        table = unknown_plan()
        for column, given in enumerate(self.plan):
            if given is not None:
                table[:, column] = [given.at(bar_index + row) for row in range(PLAN_BARS)]
        return clamped(table)


def imagination_of(controls: ControlSnapshot, first: int) -> tuple[object, ...]:
    """What the imagined plan from the bar `first` on, or from the top, depends on."""
    latents = (controls.influence_at(first), controls.influence_at(0))
    return (controls.plan, controls.latent_gain, controls.cycle_seed, latents)


def generation_of(controls: ControlSnapshot) -> tuple[object, ...]:
    """What all coming bars depend on; their latents are compared bar by bar."""
    shared = (controls.plan, controls.latent_gain, controls.chroma, controls.density_factor)
    return (*shared, controls.cycle_seed, controls.rerolls, controls.sampling)
