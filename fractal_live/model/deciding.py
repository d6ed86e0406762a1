"""What a half bar decides before its notes: what it echoes, its harmony, how many onsets it gets; of several half bars
opened together, side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model.canvas import Canvas
from fractal_live.model.config import HALF_STEPS, MAX_HALF_ONSETS, chroma_level
from fractal_live.model.echo import SOURCE_OF, STRENGTH_OF
from fractal_live.model.grid import IntArray
from fractal_live.model.lean import Array, array
from fractal_live.model.order import cells_per_half
from fractal_live.model.phrase_scores import PhraseScores, before
from fractal_live.model.repeats import Rows
from fractal_live.model.sampling import drawn, guidance, mixed
from fractal_live.music.harmony import Chroma
from fractal_live.music.request import Sampling


class Decisions:
    """Of the half bars of a canvas, into which they are written. `is_decided` (H,) is kept by who opens them; `bounds`
    says how many onsets a half bar has at least and at most; `chroma` (H, 12) is given where not NaN. What the plan's
    `rows` say of bars that repeat others gives way."""

    def __init__(
        self,
        canvas: Canvas,
        rows: Rows,
        is_decided: npt.NDArray[np.bool_],
        bounds: Callable[[int], tuple[int, int]],
        sampling: Sampling,
        generator: torch.Generator,
        chroma: Chroma | None,
    ) -> None:
        self.canvas, self.rows, self.is_decided, self.bounds = canvas, rows, is_decided, bounds
        self.sampling, self.generator, self.chroma = sampling, generator, chroma
        self.scores, self.group = PhraseScores(canvas.model.heads), canvas.group
        self.cells = cells_per_half(canvas.model.config)

    def decide(self, halves: IntArray, hidden: Tensor, opened: float) -> None:
        """Echo, harmony and number of onsets of half bars (N,), from their states (branches, N, dim), when a share
        `opened` of the piece is made."""
        canvas, scores = self.canvas, self.scores
        scale = guidance(self.sampling, 1, opened)
        states, given = array(hidden.float().cpu()), self._given_chroma(halves)
        has_onsets = (canvas.onsets > 0) & canvas.is_valid[::HALF_STEPS]
        known = before(halves, canvas.group, canvas.echo, canvas.chroma, has_onsets)
        is_free = self.rows.is_free[canvas.bar_of_half[halves]] & (given < 0).all(axis=1)
        echoes = mixed(scores.echoes(states, known, is_free), scale)
        echo = self._choose(echoes + np.float32(self.sampling.echo) * STRENGTH_OF)
        source = (halves + SOURCE_OF[echo]) % canvas.H
        canvas.echo[halves] = echo
        harmony = scores.harmony(states, known, echo, canvas.chroma[source])
        for pitch_class in range(12):
            own = mixed(scores.pitch_class(harmony, pitch_class, canvas.chroma[halves]), scale)
            chosen, wanted = self._choose(own), given[:, pitch_class]
            canvas.chroma[halves, pitch_class] = np.where(wanted >= 0, wanted, chosen)
        counts = mixed(scores.counts(states, echo, canvas.onsets[source]), scale)
        cells = self.cells
        for place, half in enumerate(halves.tolist()):
            self._follow(half)
            count = self._count(half, counts[place])
            canvas.onsets[half] = count
            canvas.remaining[half * cells : (half + 1) * cells] = count

    def _follow(self, half: int) -> None:
        """A bar that begins to repeat another one exactly takes over that one's row of the plan."""
        canvas, echo = self.canvas, int(self.canvas.echo[half])
        source = half + int(SOURCE_OF[echo])
        bar, there = int(canvas.bar_of_half[half]), int(canvas.bar_of_half[source])
        own, others = (np.flatnonzero(canvas.bar_of_half == index) for index in (bar, there))
        is_whole = half - own[0] == source - others[0] and len(own) == len(others)
        is_first = not self.is_decided[own].any() and self.is_decided[others].all()
        if is_whole and is_first and self.rows.gives_way(bar, echo):
            self.rows.follow(bar, there, int(canvas.onsets[others].sum()))
            canvas.tell_plan(self.rows.plan)

    def _given_chroma(self, halves: IntArray) -> IntArray:
        """Levels of what is given, -1 where nothing is: (N, 12)."""
        if self.chroma is None:
            return np.full((len(halves), 12), -1)
        wanted = self.chroma[halves]
        return np.where(np.isnan(wanted), -1, chroma_level(np.nan_to_num(wanted)))

    def _count(self, half: int, scores: Array) -> int:
        """How many onsets a half bar gets of those its bar still has to come."""
        canvas = self.canvas
        bar = canvas.bar_of_half[half]
        own = np.flatnonzero(canvas.bar_of_half == bar)
        is_open = ~self.is_decided[own] & (self.group[own] >= self.group[half])
        others = [other for other, open_ in zip(own.tolist(), is_open, strict=True) if open_ and other != half]
        later = [other for other in others if (self.group[other], other) > (self.group[half], half)]
        told = sum(int(canvas.onsets[other]) for other in own.tolist() if other != half and other not in later)
        least, most = self.bounds(half)
        echo = int(canvas.echo[half])
        wanted = int(self.rows.density[bar]) - told
        bounds = [self.bounds(other) for other in later]
        least_later, most_later = sum(bound[0] for bound in bounds), sum(bound[1] for bound in bounds)
        if self.rows.gives_way(bar, echo):
            count = max(least, min(int(canvas.onsets[half + SOURCE_OF[echo]]), most))
            self.rows.have(bar, told + max(count + least_later, min(wanted, count + most_later)))
            canvas.tell_plan(self.rows.plan)
            return count
        if later:
            index = np.arange(MAX_HALF_ONSETS + 1)
            high, low = min(most, wanted - least_later), max(least, wanted - most_later)
            scores = np.where((index > high) | (index < low), np.float32(-np.inf), scores)
            if not np.isinf(scores).all():
                return int(self._choose(scores[None])[0])
        return max(least, min(wanted, most))

    def _choose(self, scores: Array) -> IntArray:
        return drawn(scores, self.sampling, self.generator)
