"""The notes of several cells at once, each cell's chord drawn from its lowest pitch up, in step with the others.

A cell may hold locked notes below or above the pitches that are free; they are told, not drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fractal_live.model.pitch import STOP, ChordTokens, Leaf, PitchRange, Recall
from fractal_live.model.sampling import draw, guided
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
    place allows it. `scores_forced` also scores the stops that a full cell makes unnecessary (slower)."""

    leaf: Leaf
    table: Tensor
    sampling: Sampling
    generator: torch.Generator
    scale: float
    limit: Callable[[int, Token], int]
    scores_forced: bool = False

    def draw(self, cells: list[CellInMaking], cond: Tensor, recall: Recall, within: PitchRange) -> None:
        """cond (rows * N, cond), recall and within (rows * N, ...): branches one after another."""
        N, device = len(cells), cond.device
        branches = len(cond) // N
        memory = self.leaf.new_memory()
        token = self.leaf.begin(cond, recall)
        below = torch.full((branches * N, 1), -1, device=device)
        for place in range(max(cell.room for cell in cells) + 1):
            is_full = [len(cell.notes) >= cell.room for cell in cells]
            if not self.scores_forced and all(
                full or not cell.is_open for full, cell in zip(is_full, cells, strict=True)
            ):
                break
            hidden = self.leaf.hidden(token, cond, place, memory)
            scores = self.leaf.pitch_logits(hidden, below, recall, self.table, within)[:, 0]
            scores = guided(scores.view(branches, N, -1), self.scale)[0]
            pitches = self._pitches(cells, scores, is_full)
            if not any(cell.is_open for cell in cells):
                break
            pitch = torch.tensor(pitches, device=device).clamp(max=STOP - 1)
            velocity, duration = self._rest(hidden, pitch, recall, cells, branches)
            for cell, *note in zip(cells, pitches, velocity.tolist(), duration.tolist(), strict=True):
                if cell.is_open:
                    cell.notes.append((note[0], note[1], note[2]))
            chosen = torch.stack([pitch, velocity, duration]).repeat(1, branches)[..., None]
            token = self.leaf.embed_notes(ChordTokens(*chosen), self.table)
            below = chosen[0]

    def _pitches(self, cells: list[CellInMaking], scores: Tensor, is_full: list[bool]) -> list[int]:
        """The next pitch of each cell, closing those that stop; scores (N, 129)."""
        open_scores = scores.clone()
        for index, cell in enumerate(cells):
            owed = cell.owed - len(cell.notes)
            open_scores[index, : cell.low] = float("-inf")
            open_scores[index, cell.high + 1 : STOP] = float("-inf")
            if owed > len(cell.locked_above):
                narrowed = open_scores[index].clone()
                narrowed[cell.high + 2 - (owed - len(cell.locked_above)) :] = float("-inf")
                if not torch.isinf(narrowed).all():
                    open_scores[index] = narrowed
        drawn = draw(open_scores, self.sampling, self.generator).tolist()
        log_shares = scores.log_softmax(-1)
        result = []
        for index, cell in enumerate(cells):
            if not cell.is_open:
                result.append(0)
                continue
            choice = int(drawn[index])
            if is_full[index]:
                cell.is_open = False
                cell.forced += float(log_shares[index, STOP])
                result.append(0)
                continue
            if cell.locked_below:
                choice = cell.locked_below[0][0]
            elif choice == STOP or len(cell.notes) + len(cell.locked_above) >= cell.room:
                cell.high = -1
                choice = cell.locked_above[0][0] if cell.locked_above else STOP
            else:
                cell.low = choice + 1
            cell.log_likelihood += float(log_shares[index, choice])
            cell.is_open = choice != STOP
            result.append(choice)
        return result

    def _rest(
        self, hidden: Tensor, pitch: Tensor, recall: Recall, cells: list[CellInMaking], branches: int
    ) -> tuple[Tensor, Tensor]:
        """Velocity bin and duration class of the next note of each cell: (N,) each. Locked notes stay as they are,
        others are no longer than their place allows."""
        N, rows = len(cells), pitch.repeat(branches)[:, None]
        locked = [_taken(cell, int(own)) for cell, own in zip(cells, pitch.tolist(), strict=True)]
        scores = self.leaf.velocity_logits(hidden, rows, recall, self.table)[:, 0]
        scores = guided(scores.view(branches, N, -1), self.scale)[0]
        velocity = draw(scores, self.sampling, self.generator)
        for index, token in enumerate(locked):
            if token is not None:
                velocity[index] = token[1]
        self._count(scores, velocity, cells)
        of_rows = velocity.repeat(branches)[:, None]
        scores = self.leaf.duration_logits(hidden, rows, of_rows, recall, self.table)[:, 0]
        scores = guided(scores.view(branches, N, -1), self.scale)[0]
        duration = draw(scores, self.sampling, self.generator)
        for index, token in enumerate(locked):
            if token is not None:
                duration[index] = token[2]
            elif cells[index].is_open:
                duration[index] = self.limit(index, (int(pitch[index]), int(velocity[index]), int(duration[index])))
        self._count(scores, duration, cells)
        return velocity, duration

    def _count(self, scores: Tensor, choice: Tensor, cells: list[CellInMaking]) -> None:
        """Adds the likelihood of what was chosen to the cells that are open."""
        shares = scores.log_softmax(-1).gather(1, choice[:, None])[:, 0].tolist()
        for cell, share in zip(cells, shares, strict=True):
            if cell.is_open:
                cell.log_likelihood += share


def _taken(cell: CellInMaking, pitch: int) -> Token | None:
    """The locked note of this pitch, if it is the next one; it is locked no longer."""
    for locked in (cell.locked_below, cell.locked_above):
        if cell.is_open and locked and locked[0][0] == pitch:
            return locked.pop(0)
    return None
