"""The bars of a set as the planner keeps them and as the stage is offered them, and what is read
off them: the past, and how dense a bar is to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fractal_live.live.horizon import Horizon
from fractal_live.live.latent_path import Point
from fractal_live.live.listening import Influence
from fractal_live.live.scheduler import Programs
from fractal_live.live.snapshot import ControlSnapshot
from fractal_live.music.notes import Bar
from fractal_live.music.plan import ATTRIBUTES, COLUMN
from fractal_live.music.request import MEMORY_BARS

OPENING_BARS = (0, 1)  # the stage keeps these of the last set, so that a Start is heard at once
NEVER_ASKED = -1


@dataclass(frozen=True, slots=True)
class Planned:
    """A bar as the model made it, before transposition and the like; `asked` is the request's number and `latent`
    what the request's latent was (None: it had no influence); `heard` is what it took from the performer's notes;
    `is_begun` says that it has sounded, or sounds."""

    bar: Bar
    version: int
    asked: int
    fallback: Bar
    latent: Point | None = None
    heard: Influence = None
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """For the stage: this bar, and what plays after it if the next is late, as they are to sound; and the programs
    that its channels are to have."""

    bar: Bar
    version: int
    fallback: Bar
    programs: Programs = ()


def past_of(bars: Mapping[int, Planned], index: int, first: int) -> tuple[Bar, ...]:
    """The bars before `index`, oldest first. For a coming bar (`first` is the next to begin) that was given up, as a
    later one is asked for before it, stands the fallback that plays instead."""
    run: list[Bar] = []
    fallback: Bar | None = None
    for place in range(index - MEMORY_BARS, index):
        if place in bars:
            run.append(bars[place].bar)
            fallback = bars[place].fallback
        elif place >= first and fallback is not None:
            run.append(fallback.moved_to(place))
    return tuple(run)


def density_at(index: int, rows: Horizon, controls: ControlSnapshot | None) -> float | None:
    """The onsets a bar is to have, as they are given or else imagined, scaled as the performer wishes; None if neither
    is so."""
    row = rows.row(index)
    density = None if row is None else float(row[COLUMN["density"]])
    if controls is None:
        return density
    given = float(controls.plan_from(index)[0, COLUMN["density"]])
    density = density if np.isnan(given) else given
    return None if density is None else min(density * controls.density_factor, ATTRIBUTES[COLUMN["density"]].high)
