"""The opening and closing of a canvas's places on a CPU, in compiled arithmetic: what `Canvas.open` and `close` do,
with the same memory, on the numpy side of the same tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fractal_live.model.cache import Kept
from fractal_live.model.compiled import Mask, Places, compiled
from fractal_live.model.grid import IntArray
from fractal_live.model.lean import MOST, Array, LeanGuide, array

if TYPE_CHECKING:
    from fractal_live.model.canvas import Canvas

ASKS, OPENS, HOLDS = 0, 1, 2
"""How places come to their level: only asked; opened and kept, in order; told what they hold."""


class LeanCanvas:
    """Of a canvas whose model's weights stay as they are meanwhile."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._levels = [level.lean for level in canvas.levels]
        self._guides = [level.guide.lean for level in canvas.levels]
        self._leaf_guide, self._steps = canvas.model.leaf_guide.lean, canvas.model.steps.lean
        self._parents, self._handed = array(canvas.parents), [array(handed) for handed in canvas.handed]
        self._encoded = array(canvas.encoded)
        self._by_cell = self._encoded if canvas.bands == 1 else array(canvas.encoded_cells)
        self._bands = array(canvas.model.bands)

    def takes(self, places: IntArray) -> bool:
        """Whether so many places are better made here."""
        return self._canvas.rows * len(places) <= MOST

    def open(self, index: int, places: IntArray, rest: Sequence[IntArray] | None = None) -> Array:
        """As `Canvas.open`."""
        canvas, lean, steps = self._canvas, self._levels[index], self._canvas.first_steps(index, places)
        where, hint = self._where(index, places, steps), None
        if lean.echo is not None:
            source, is_echo = canvas.source_steps(steps)
            if is_echo.any():
                hint = lean.echo(self._holds(lean.span, source // lean.span) * is_echo[:, None])
        if lean.is_sequential:
            canvas.caches[index].is_filled[places] = True
            before = np.maximum(places - 1, 0)
            is_known = (places > 0) & (canvas.last[index][before] < canvas.first[index][places])
            content = lean.content(self._holds(lean.span, before, is_cell=True))
            where += np.where(is_known[:, None], content, lean.blank)
        else:
            where += lean.blank
        memory, mask = self._seen(index, places, OPENS if lean.is_sequential else ASKS)
        tokens = np.repeat(where[None], canvas.rows, axis=0)
        if hint is not None:
            tokens[canvas.is_given] += hint
        hidden = lean.said(tokens, self._cond(index, places, steps), places, mask, memory, rest)
        for left in rest or ():
            places = places[left]
        down = lean.down(hidden.reshape(-1, hidden.shape[2]))
        self._handed[index][:, places] = down.reshape(canvas.rows, len(places), down.shape[1])
        return hidden

    def close(self, index: int, places: IntArray, rest: Sequence[IntArray] | None = None) -> None:
        """As `Canvas.close`, of a masked level."""
        canvas, lean, steps = self._canvas, self._levels[index], self._canvas.first_steps(index, places)
        canvas.caches[index].is_filled[places] = True
        memory, mask = self._seen(index, places, HOLDS)
        content = lean.content(self._holds(lean.span, places, is_cell=True))
        tokens = np.repeat((content + self._where(index, places, steps))[None], canvas.rows, axis=0)
        rest = lean.trunk.rest_of_memory(len(places)) if rest is None else rest
        lean.said(tokens, self._cond(index, places, steps), places, mask, memory, rest)

    def leaf_cond(self, places: IntArray) -> Array:
        """As `Canvas.leaf_cond`."""
        last = len(self._handed) - 1
        steps = self._canvas.first_steps(last, places)
        return self._guided(self._handed[last][:, places], self._leaf_guide, last, places, steps)

    def encode(self, steps: IntArray) -> None:
        """As `Canvas.encode`, without pitch bands."""
        self._encoded[steps] = self._steps(self._canvas.content[steps])

    def _cond(self, index: int, places: IntArray, steps: IntArray) -> Array:
        """(rows * N, cond)."""
        if index == 0:
            parent = self._parents[:, self._canvas.bar_of_step[steps]]
        else:
            parent = self._handed[index - 1][:, steps // self._levels[index - 1].span]
        return self._guided(parent, self._guides[index], index, places, steps)

    def _guided(self, parent: Array, guide: LeanGuide, index: int, places: IntArray, steps: IntArray) -> Array:
        """What is handed down (rows, N, dim) beside what guides the places: (rows * N, cond)."""
        plan, texture = self._canvas.guiding(index, places, steps)
        return guide.conditions(parent, plan, texture, self._canvas.is_given)

    def _seen(self, index: int, places: IntArray, way: int) -> tuple[Kept, Mask]:
        """As `Canvas.slots`: what the places attend to, and the mask (1, N, columns), own columns included."""
        canvas, cache, window = self._canvas, self._canvas.caches[index], self._canvas.levels[index].generator.window
        low, high = canvas.reach(index, places)
        told = canvas.first[index], canvas.last[index], cache.is_filled
        mask = seen_by(*told, places, window or 0, low, high, way)
        return Kept(*cache.arrays, low, high, way != ASKS), mask

    def _where(self, index: int, places: IntArray, steps: IntArray) -> Array:
        """The embeddings of the places: (N, dim)."""
        canvas, lean = self._canvas, self._levels[index]
        where: Array = lean.step[canvas.step_in_bar[steps]] + lean.length[canvas.bar_len[steps]]
        if lean.span == 1:
            where += self._bands[canvas.cell_of_place[places] % canvas.bands]
        return where

    def _holds(self, span: int, places: IntArray, is_cell: bool = False) -> Array:
        """What places of a span hold, (N, content_dim); of the content level cell by cell, or whole steps."""
        if span == 1 and is_cell:
            by_cell: Array = self._by_cell[self._canvas.cell_of_place[places]]
            return by_cell
        by_place: Array = self._encoded.reshape(self._canvas.T // span, -1)[places]
        return by_place


@compiled
def seen_by(
    first: Places, last: Places, is_filled: Mask, places: Places, window: int, low: int, high: int, way: int
) -> Mask:
    """Which slots `low` to `high` of a level each of N places sees, as `Canvas.slots` says it, with its own columns
    behind them where it is not kept: (1, N, columns). `way`: ASKS, OPENS or HOLDS."""
    N, span = len(places), high - low
    out = np.zeros((1, N, span + (N if way == ASKS else 0)), dtype=np.bool_)
    for n in range(N):
        place = places[n]
        for s in range(low, high):
            if window and abs(place - s) > window:
                continue
            if way == HOLDS:
                is_seen = last[s] <= last[place]
            elif way == OPENS:
                is_seen = first[s] < first[place]
            else:
                is_seen = last[s] < first[place]
            out[0, n, s - low] = (is_seen and is_filled[s]) or (way == OPENS and s == place)
        if way == ASKS:
            out[0, n, span + n] = True
    return out
