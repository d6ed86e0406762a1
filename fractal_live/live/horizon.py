"""The imagined plan that slides with the bars: which row stands for which bar, and from which latent it came.

A latent stands for the whole plan, so a row counts only for bars that are asked for with the latent it was imagined
from: while the latent stays, a row is imagined once and kept until its bar has come; while it moves, all that lies
ahead is imagined anew for every bar.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fractal_live.live.latent_path import Point
from fractal_live.music.plan import PLAN_BARS, PlanTable, unknown_plan

Row = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImaginedRow:
    """A plan row (6,) and the latent it was imagined from, None where the latent had no influence."""

    values: Row
    latent: Point | None


class Horizon:
    """The rows of one set, by bar index."""

    def __init__(self) -> None:
        self._rows: dict[int, ImaginedRow] = {}

    def imagined(self, index: int, plan: PlanTable, latent: Point | None) -> None:
        """Takes the plan (32, 6) that came with the bar `index`."""
        for place, values in enumerate(plan):
            known = self._rows.get(index + place)
            if known is None or known.latent != latent:
                self._rows[index + place] = ImaginedRow(values, latent)

    def known_from(self, index: int, latent: Point | None) -> PlanTable:
        """What a request for the bar `index` with this latent may rely on: (32, 6), NaN = to be imagined."""
        table = unknown_plan()
        for place in range(PLAN_BARS):
            row = self._rows.get(index + place)
            if row is not None and row.latent == latent:
                table[place] = row.values
        return table

    def row(self, index: int) -> Row | None:
        """The newest row of a bar, whatever latent it came from; None if there is none."""
        row = self._rows.get(index)
        return None if row is None else row.values

    def forget_from(self, index: int) -> None:
        """What lies ahead is to be imagined anew."""
        self._rows = {place: row for place, row in self._rows.items() if place < index}

    def forget_before(self, index: int) -> None:
        """Bars too old to be asked for again need no rows."""
        self._rows = {place: row for place, row in self._rows.items() if place >= index}
