"""Where the latent is in each bar: on its way to the point that was set, and wandering about it.

A path is a value, its point a function of bar and seed alone: a bar that is asked for twice, or out of turn, has
the same latent. Knows no addresses and no notes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fractal_live.music.request import LATENT_DIMS

Point = tuple[float, ...]

ORIGIN: Point = (0.0,) * LATENT_DIMS
FURTHEST = 4.0
"""No dimension leaves -4 to 4: there are no songs beyond."""

WALK_BARS = 8.0
"""The walk's correlation time: what it is in a bar and what it is so many bars later correlate by 1/e."""

REMEMBERED_BARS = 128
"""Steps further back weigh less than 2e-7 and are left out."""

FIRST_STEP_BAR = 1 << 32
"""Moves bar indices, negative ones too, into the counter of the random numbers."""

NO_ARC = 1e-6


@dataclass(frozen=True, slots=True)
class LatentPath:
    """`target` is the point that was set. Bar `start_bar` is at `start`, bar `start_bar` + `glide_bars` and all
    after it at the target, what lies between on the way. Bars before `start_bar` are asked for when the position
    is moved back, which ends a glide: they are at the target. `walk` is the standard deviation of the motion about
    the path, in every dimension."""

    target: Point = ORIGIN
    start: Point = ORIGIN
    start_bar: int = 0
    glide_bars: int = 0
    walk: float = 0.0

    def at(self, bar_index: int, seed: int) -> Point:
        """The latent of a bar, walk included."""
        centre = self.centre_at(bar_index)
        if self.walk == 0:
            return centre
        moved = (value + self.walk * step for value, step in zip(centre, wandering(seed, bar_index), strict=True))
        return tuple(min(max(value, -FURTHEST), FURTHEST) for value in moved)

    def centre_at(self, bar_index: int) -> Point:
        """The point the walk is about."""
        place = bar_index - self.start_bar
        if place < 0 or place >= self.glide_bars:
            return self.target
        return between(self.start, self.target, place / self.glide_bars)

    def towards(self, target: Point, playing_bar: int, glide_bars: int) -> LatentPath:
        """Glides to a new target from where it is in the playing bar: the `glide_bars`-th bar after it is the
        first at the target. With 0 it is there at once. The same order once more changes nothing, so that a sender
        may repeat itself every video frame."""
        if target == self.target and glide_bars == self.glide_bars:
            return self
        path = replace(
            self, target=target, start=self.centre_at(playing_bar), start_bar=playing_bar, glide_bars=glide_bars
        )
        return path if glide_bars > 0 else path.settled()

    def settled(self) -> LatentPath:
        """At the target, in every bar."""
        return replace(self, start=self.target, start_bar=0, glide_bars=0)


def between(a: Point, b: Point, share: float) -> Point:
    """The point at `share` of the way from a (0) to b (1): the direction turns evenly along the great circle
    (Shoemake 1985, "Animating rotation with quaternion curves", section 3.3; for latents White 2016,
    arXiv 1609.04468), the norm changes evenly. The straight line where there is no one circle: a point without a
    norm, equal or opposite directions."""
    if share <= 0 or share >= 1:
        return a if share <= 0 else b
    norm_a, norm_b = math.hypot(*a), math.hypot(*b)
    if norm_a > 0 and norm_b > 0:
        cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (norm_a * norm_b)
        angle = math.acos(min(max(cosine, -1.0), 1.0))
        if math.sin(angle) > NO_ARC:
            norm = norm_a + share * (norm_b - norm_a)
            weight_a = norm / norm_a * math.sin((1 - share) * angle) / math.sin(angle)
            weight_b = norm / norm_b * math.sin(share * angle) / math.sin(angle)
            return tuple(weight_a * x + weight_b * y for x, y in zip(a, b, strict=True))
    return tuple(x + share * (y - x) for x, y in zip(a, b, strict=True))


@lru_cache(maxsize=128)  # a plan's bars, and as many again under another seed
def wandering(seed: int, bar_index: int) -> Point:
    """An Ornstein-Uhlenbeck process of variance 1 in every dimension, taken once a bar.

    Its exact step from bar to bar is x' = a x + sqrt(1 - a^2) e with a = exp(-1 / correlation time) and e from
    N(0, 1) (Gillespie 1996, Phys. Rev. E 54, section II). Written out as the sum of all past steps, it needs no
    bar before this one: the steps are drawn by seed and bar from a counter-based generator."""
    decay = math.exp(-1 / WALK_BARS)
    weights = decay ** np.arange(REMEMBERED_BARS - 1, -1, -1)  # the newest step last
    summed = (weights[:, None] * _steps_to(seed, bar_index)).sum(0)  # (16,)
    point = summed / np.sqrt((weights**2).sum())
    return tuple(float(value) for value in point)


def _steps_to(seed: int, bar_index: int) -> np.ndarray:
    """The steps of the last bars up to this one: (128, 16) from N(0, 1), by Box and Muller (1958). Each bar has
    its own stretch of the generator's counter, which yields four numbers a count."""
    first = FIRST_STEP_BAR + bar_index + 1 - REMEMBERED_BARS
    bits = np.random.Philox(key=seed % 2**64, counter=first * LATENT_DIMS // 4)
    raw = bits.random_raw(REMEMBERED_BARS * LATENT_DIMS).reshape(REMEMBERED_BARS, 2, LATENT_DIMS // 2)
    uniform = (raw >> np.uint64(11)) * 2.0**-53  # 0 <= u < 1
    radius = np.sqrt(-2 * np.log1p(-uniform[:, 0]))
    angle = 2 * math.pi * uniform[:, 1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
