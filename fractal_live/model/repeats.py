"""The rows of the plan that bars are made by. What was imagined of a row, before anyone knew that its bar would repeat
another one exactly, gives way to the row of that one; what was asked stays.
"""

from __future__ import annotations

import numpy as np

from fractal_live.model.echo import GRADE_OF
from fractal_live.music.plan import COLUMN, PlanTable

EXACT = int(GRADE_OF.max())
DENSITY, TEMPO = COLUMN["density"], COLUMN["tempo"]


class Rows:
    """`plan` (bars, 6) in units, complete; `density` (bars,) is how many onsets each bar shall have. `asked` (bars, 6)
    has NaN where the plan was imagined; without it all of it was asked. `is_free` (bars,): nothing but a tempo was."""

    def __init__(self, plan: PlanTable, asked: PlanTable | None) -> None:
        self.plan = plan.copy()
        self.density = np.rint(plan[:, DENSITY]).astype(np.int64)
        self.is_free = np.zeros(len(plan), dtype=np.bool_)
        if asked is not None:  # the tempo is no part of what a bar repeats
            self.is_free[:] = np.isnan(np.delete(asked, TEMPO, axis=1)).all(axis=1)

    def gives_way(self, bar: int, echo: int) -> bool:
        """Whether the bar's row does, in a half bar that echoes as that class says."""
        return bool(GRADE_OF[echo] == EXACT and self.is_free[bar])

    def follow(self, bar: int, source: int, onsets: int) -> None:
        """The bar repeats another one, which has so many onsets."""
        own, there = self.plan[bar].copy(), self.plan[source]
        self.plan[bar] = np.where(np.isnan(there), own, there)
        self.plan[bar, TEMPO] = own[TEMPO]
        self.have(bar, onsets)

    def have(self, bar: int, onsets: int) -> None:
        """The bar shall have so many onsets, whatever was imagined."""
        self.density[bar] = self.plan[bar, DENSITY] = onsets
