"""Pitches that keep a promise: a mean pitch that was asked of a bar.

Chords are drawn from their lowest pitch up, so a note cannot be asked to have the mean itself. What is off so far
leans on the notes that are still to come: each pitch gets a little more weight for every semitone in the direction
that is owed, and the chance that a chord ends stays as it was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fractal_live.music.plan import COLUMN, PlanTable

STRENGTH = 0.02  # nats per semitone of a note, for each semitone that is owed by every note to come
MOST_LEAN = 0.15

FloatArray = npt.NDArray[np.float32]


class Heights:
    """`asked` (bars, 6): plan rows, NaN where nothing was asked; `notes` (bars,): how many each bar shall have."""

    def __init__(self, asked: PlanTable, notes: npt.NDArray[np.int64]) -> None:
        self._asked = asked[:, COLUMN["register"]].astype(np.float64)
        self._owed = self._asked * notes
        self._notes = notes.astype(np.int64)

    def is_asked(self, bar: int) -> bool:
        return bool(np.isfinite(self._owed[bar])) and self._notes[bar] > 0

    def told(self, bar: int, pitch: int) -> None:
        """A note of the bar has this pitch."""
        self._owed[bar] -= pitch
        self._notes[bar] -= 1

    def leaning(self, bar: int, scores: FloatArray) -> FloatArray:
        """Scores of the next pitch (pitches, then the stop last) as they must be for what is owed to become less."""
        if not self.is_asked(bar) or np.isneginf(scores[:-1]).all():
            return scores
        off = self._owed[bar] / self._notes[bar] - self._asked[bar]
        lean = min(max(STRENGTH * off, -MOST_LEAN), MOST_LEAN)
        pitches = scores[:-1] + lean * np.arange(len(scores) - 1)
        pitches += _log_sum(scores[:-1]) - _log_sum(pitches)
        out: FloatArray = np.append(pitches, scores[-1]).astype(scores.dtype)
        return out


def _log_sum(scores: npt.NDArray[np.floating]) -> float:
    most = scores.max()
    return float(most + np.log(np.exp(scores - most).sum()))
