"""The notes of several cells at once, each cell's chord drawn from its lowest pitch up, in step with the others.

A cell may hold locked notes below or above the pitches that are free; they are told, not drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from fractal_live.model.compiled import compiled
from fractal_live.model.lean import Array
from fractal_live.model.pitch import STOP
from fractal_live.model.sampling import drawn, mixed
from fractal_live.model.voice import Choice, Voice
from fractal_live.music.request import Sampling

Token = tuple[int, int, int]  # pitch, velocity bin, duration class


@dataclass(slots=True)
class CellInMaking:
    """One cell: `room` notes at most, `owed` notes at least; locked notes below and above the free pitches
    `low` to `high`. `log_likelihood` in nats is of its notes as they stand, `forced` of stops that were not drawn."""

    room: int
    owed: int
    low: int
    high: int
    locked_below: list[Token] = field(default_factory=list)
    locked_above: list[Token] = field(default_factory=list)
    notes: list[Token] = field(default_factory=list)
    is_open: bool = True
    log_likelihood: float = 0.0
    forced: float = 0.0


@dataclass(slots=True)
class Chords:
    """Draws the notes of cells. `scale` is the guidance; `limit(place, token)` is the duration class that a note's
    place allows it; `tilt(place, scores)` is what its durations' scores become where their mean was asked for, and
    `lean(place, scores)` what its pitches' do. None: they stay as they are.
    `scores_forced` also scores the stops that a full cell makes unnecessary (slower)."""

    sampling: Sampling
    generator: torch.Generator
    scale: float
    limit: Callable[[int, Token], int] | None = None
    tilt: Callable[[int, Array], Array] | None = None
    lean: Callable[[int, Array], Array] | None = None
    scores_forced: bool = False

    def draw(self, cells: list[CellInMaking], voice: Voice, branches: int) -> None:
        """The voice is that of branches * N cells: branches one after another."""
        for _ in range(max(cell.room for cell in cells) + 1):
            is_full = [len(cell.notes) >= cell.room for cell in cells]
            if not self.scores_forced and all(
                full or not cell.is_open for full, cell in zip(is_full, cells, strict=True)
            ):
                break
            pitches = self._pitches(cells, self._guided(voice.pitch_scores(), branches), is_full)
            if not any(cell.is_open for cell in cells):
                break
            pitch = np.minimum(pitches, STOP - 1)
            locked = [_taken(cell, own) for cell, own in zip(cells, pitch.tolist(), strict=True)]
            every_pitch = _for_branches(pitch, branches)
            velocity = self._velocities(cells, locked, self._guided(voice.velocity_scores(every_pitch), branches))
            every_velocity = _for_branches(velocity, branches)
            scores = self._guided(voice.duration_scores(every_pitch, every_velocity), branches)
            duration = self._durations(cells, locked, pitch, velocity, scores)
            for cell, *note in zip(cells, pitches.tolist(), velocity.tolist(), duration.tolist(), strict=True):
                if cell.is_open:
                    cell.notes.append((note[0], note[1], note[2]))
            voice.tell(every_pitch, every_velocity, _for_branches(duration, branches))

    def _guided(self, scores: Array, branches: int) -> Array:
        return mixed(scores.reshape(branches, -1, scores.shape[-1]), self.scale)

    def _drawn(self, scores: Array) -> Choice:
        """A choice per cell."""
        return drawn(scores, self.sampling, self.generator)

    def _pitches(self, cells: list[CellInMaking], scores: Array, is_full: list[bool]) -> Choice:
        """The next pitch of each cell, closing those that stop; scores (N, 129)."""
        open_scores = scores.copy()
        for index, cell in enumerate(cells):
            owed = cell.owed - len(cell.notes)
            open_scores[index, : cell.low] = -np.inf
            open_scores[index, cell.high + 1 : STOP] = -np.inf
            if owed > len(cell.locked_above):
                narrowed = open_scores[index].copy()
                narrowed[cell.high + 2 - (owed - len(cell.locked_above)) :] = -np.inf
                if not np.isinf(narrowed).all():
                    open_scores[index] = narrowed
            if self.lean is not None:
                open_scores[index] = self.lean(index, open_scores[index])
        chosen = self._drawn(open_scores).tolist()
        whole = log_sums(scores)
        result = []
        for index, cell in enumerate(cells):
            if not cell.is_open:
                result.append(0)
                continue
            choice = chosen[index]
            if is_full[index]:
                cell.is_open = False
                cell.forced += float(scores[index, STOP] - whole[index])
                result.append(0)
                continue
            if cell.locked_below:
                choice = cell.locked_below[0][0]
            elif choice == STOP or len(cell.notes) + len(cell.locked_above) >= cell.room:
                cell.high = -1
                choice = cell.locked_above[0][0] if cell.locked_above else STOP
            else:
                cell.low = choice + 1
            cell.log_likelihood += float(scores[index, choice] - whole[index])
            cell.is_open = choice != STOP
            result.append(choice)
        return np.array(result)

    def _velocities(self, cells: list[CellInMaking], locked: list[Token | None], scores: Array) -> Choice:
        """The velocity bin of the next note of each cell; locked notes stay as they are."""
        velocity = self._drawn(scores)
        for index, token in enumerate(locked):
            if token is not None:
                velocity[index] = token[1]
        _count(scores, velocity, cells)
        return velocity

    def _durations(
        self, cells: list[CellInMaking], locked: list[Token | None], pitch: Choice, velocity: Choice, scores: Array
    ) -> Choice:
        """The duration class of the next note of each cell, no longer than its place allows; locked ones stay."""
        tilt, limit = self.tilt, self.limit
        duration = self._drawn(scores if tilt is None else np.stack([tilt(*own) for own in enumerate(scores)]))
        for index, token in enumerate(locked):
            if token is not None:
                duration[index] = token[2]
            elif cells[index].is_open and limit is not None:
                duration[index] = limit(index, (int(pitch[index]), int(velocity[index]), int(duration[index])))
        _count(scores, duration, cells)
        return duration


def _for_branches(choice: Choice, branches: int) -> Choice:
    """The same choices for every branch, one branch after another."""
    return choice if branches == 1 else np.concatenate([choice] * branches)


@compiled
def log_sums(scores: Array) -> Array:
    """The logarithm of each row's sum of exponentials, scores (N, n): (N,)."""
    out = np.empty(len(scores), dtype=np.float32)
    for row in range(len(scores)):
        most = scores[row].max()
        out[row] = most + np.log(np.exp(scores[row] - most).sum())
    return out


def _count(scores: Array, choice: Choice, cells: list[CellInMaking]) -> None:
    """Adds the likelihood of what was chosen to the cells that are open."""
    whole = log_sums(scores)
    for index, cell in enumerate(cells):
        if cell.is_open:
            cell.log_likelihood += float(scores[index, choice[index]] - whole[index])


def _taken(cell: CellInMaking, pitch: int) -> Token | None:
    """The locked note of this pitch, if it is the next one; it is locked no longer."""
    for locked in (cell.locked_below, cell.locked_above):
        if cell.is_open and locked and locked[0][0] == pitch:
            return locked.pop(0)
    return None
