"""Note lengths that keep a promise: a mean length, or a mean number of sounding pitches, that was asked of a bar.

What is still owed is shared among the notes that are still to come: the model's distribution of lengths is tilted
just so far that its mean is each note's share. (Exponential tilting: of all distributions with that mean the nearest
to the model's in relative entropy.)
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fractal_live.model.compiled import compiled
from fractal_live.model.config import DURATIONS
from fractal_live.music.plan import COLUMN, PlanTable

MOST_TILT, HALVINGS = 6.0, 24
LENGTHS = np.array(DURATIONS, dtype=np.float64)

FloatArray = npt.NDArray[np.float64]


class Lengths:
    """`asked` (bars, 6): plan rows, NaN where nothing was asked; `notes` (bars,): how many each bar shall have;
    `steps` (bars,): how long each is. Where both are asked, the mean length comes before the polyphony."""

    def __init__(self, asked: PlanTable, notes: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> None:
        duration, polyphony = (asked[:, COLUMN[name]].astype(np.float64) for name in ("duration", "polyphony"))
        self._steps = steps
        self._is_clipped = np.isnan(duration)  # polyphony counts what sounds inside the bar
        self._owed = np.where(self._is_clipped, polyphony * steps, duration * notes)
        self._notes = notes.astype(np.int64)

    def is_asked(self, bar: int) -> bool:
        return bool(np.isfinite(self._owed[bar])) and self._notes[bar] > 0

    def told(self, bar: int, step: int, length: int) -> None:
        """A note of the bar begins at its step (0 is the bar's first) and lasts so many steps."""
        self._owed[bar] -= self._counted(bar, step)[DURATIONS.index(length)]
        self._notes[bar] -= 1

    def tilted(self, bar: int, step: int, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Scores of the duration classes (n,) of a note that begins at a step of the bar, as they must be for the mean
        to be the note's share; as near as a tilt may come where it cannot be."""
        if not self.is_asked(bar):
            return scores
        counted = self._counted(bar, step)
        slope = np.log(counted)  # what lies beyond the bar line adds nothing, so that it is not favoured
        tilt = _tilt(scores, slope, counted, self._owed[bar] / self._notes[bar])
        out: npt.NDArray[np.float32] = (scores + tilt * slope).astype(scores.dtype)
        return out

    def _counted(self, bar: int, step: int) -> FloatArray:
        """What a note of each class adds to what is owed."""
        out: FloatArray = np.minimum(LENGTHS, self._steps[bar] - step) if self._is_clipped[bar] else LENGTHS
        return out


@compiled
def _tilt(scores: npt.NDArray[np.float32], slope: FloatArray, values: FloatArray, share: float) -> float:
    """How far scores (n,) are to be tilted along a slope (n,) for the mean of the values (n,) to be a share, as near as
    MOST_TILT comes where it cannot be."""
    low, high = -MOST_TILT, MOST_TILT
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        most = -np.inf
        for i in range(len(scores)):
            most = max(most, scores[i] + middle * slope[i])
        weight, total = 0.0, 0.0
        for i in range(len(scores)):
            own = math.exp(scores[i] + middle * slope[i] - most)
            weight += own * values[i]
            total += own
        if weight < share * total:
            low = middle
        else:
            high = middle
    return (low + high) / 2
