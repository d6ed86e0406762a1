"""A piece in the making: what is known of it, what each level remembers of it, and places opened one by one.

Knows how levels read and what is visible when; draws nothing. The first row of every batch is the conditional
branch; with guidance a second row follows, which knows neither plan nor texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model.ar import SequentialGenerator
from fractal_live.model.cache import PlaceCache, Slots
from fractal_live.model.config import HALF_STEPS, chroma_level
from fractal_live.model.echo import NO_ECHO, SOURCE_OF, echoes, onsets_per_half
from fractal_live.model.fractal import Fractal, Level
from fractal_live.model.grid import (
    FloatArray,
    IntArray,
    bar_starts,
    grid_notes,
    left_in_half,
    limit_chords,
    scaled_plan,
    visible_content,
)
from fractal_live.model.layers import Guides, Texture
from fractal_live.model.lean import TextureArrays, is_lean
from fractal_live.model.lean_canvas import LeanCanvas
from fractal_live.model.order import band_of, cell_order, distance_to, scan_of_all, still_mattering
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.notes import Bar

Mask = npt.NDArray[np.bool_]
Rest = list[IntArray] | None
"""Which of a level's known places still matter beyond each of its blocks; `Trunk.remember`."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a piece is unfolded from: bars on the grid, those to be made empty (or holding what shall stay of them);
    group (H,): when each half bar is opened, known ones first, `first_group` the first to be made; ranks (H, cells):
    when its cells are; plan (bars, 6) in units, complete; parents (bars, compressed) from level 0."""

    bars: tuple[Bar, ...]
    group: IntArray
    first_group: int
    ranks: IntArray
    plan: FloatArray
    parents: Tensor


class Canvas:
    """The state of a page. Places of a level are counted from 0; those of the content level in scan order, half bar by
    half bar. What is counted and decided is kept in numpy; what the model says and remembers, on its device."""

    def __init__(self, model: Fractal, page: Page, rows: int) -> None:
        config, device = model.config, page.parents.device
        self.model, self.page, self.rows, self.device = model, page, rows, device
        self.levels = [level for level in model.levels if isinstance(level, Level)]
        self.is_given = np.array([True, False][:rows])
        self.given = self._there(self.is_given)
        starts = bar_starts(page.bars)
        self.T, self.H, self.bands = int(starts[-1]), int(starts[-1]) // HALF_STEPS, config.pitch_bands
        notes = grid_notes(page.bars)
        is_in_range = (notes[:, 1] >= config.pitch_low) & (notes[:, 1] <= config.pitch_high)
        notes = limit_chords(notes[is_in_range], config.max_notes_per_step)
        is_made = page.group[notes[:, 0] // HALF_STEPS] >= page.first_group
        self.staying, notes = notes[is_made], notes[~is_made]
        band, self.order = band_of(config, notes[:, 1]), cell_order(page.group, page.ranks)
        self.content = visible_content(notes, band, self.order, self.T)

        lengths = np.array([bar.meter.steps_per_bar for bar in page.bars])
        self.bar_of_step = np.repeat(np.arange(len(page.bars)), np.diff(starts))
        step_in_bar = np.arange(self.T) - starts[self.bar_of_step]
        self.starts, self.bar_of_half = starts, self.bar_of_step[::HALF_STEPS]
        self.is_valid = step_in_bar < lengths[self.bar_of_step]
        self.step_in_bar = np.minimum(step_in_bar, config.max_bar_len - 1)
        self.bar_len = np.minimum(lengths, config.max_bar_len)[self.bar_of_step]
        self.tell_plan(page.plan)
        self.parents = torch.where(self.given[:, None, None], page.parents, model.no_plan)  # (rows, bars, compressed)

        self.chroma = np.concatenate([_chroma_levels(bar) for bar in page.bars])  # (H, 12)
        self.onsets = onsets_per_half(notes, self.H)
        self.group = page.group
        self.echo = echoes(notes, self.group)
        struck = np.bincount(notes[:, 0] * self.bands + band, minlength=self.T * self.bands)
        self.remaining = left_in_half(struck, page.ranks)
        left = left_in_half(np.repeat(self.is_valid, self.bands).astype(np.int64), page.ranks)
        self.steps_left = -(-left // self.bands)

        self.cell_of_place = scan_of_all(config, self.H)  # of the content level
        self.step_last = self.order.reshape(-1, self.bands).max(1)
        self.first: list[IntArray] = []  # when each place of a level is predicted,
        self.last: list[IntArray] = []  # and from when on it is known
        self.caches: list[PlaceCache] = []
        self.handed: list[Tensor] = []
        for index, span in enumerate(config.spans[1:]):
            by_place = self.order[self.cell_of_place] if span == 1 else self.order
            cells = by_place.reshape(-1, 1 if span == 1 else span * self.bands)
            self.first.append(cells.min(1))
            self.last.append(cells.max(1))
            self.caches.append(PlaceCache(config.levels[index + 1], rows, len(cells), device))
            width = config.levels[index + 1].compressed_dim
            self.handed.append(torch.zeros(rows, len(cells), width, device=device))
        content = self._there(self.content)[None]
        codes = model.step_codes
        self.encoded = model.steps(content)[0] if codes is None else codes(self.content)  # (T, step_dim)
        self.encoded_cells = model.encoded_cells(content, self.encoded[None])[0]
        self.lean = LeanCanvas(self) if is_lean(model, self.parents, 1) else None
        self._read_known()

    # What stands already.

    def _read_known(self) -> None:
        """Fills the caches from the known half bars: all of them where a level sees everything, else those near
        enough to what is to be made to matter."""
        config = self.model.config
        half, is_known = np.arange(self.H), self.group < self.page.first_group
        made = half[~is_known]
        away = distance_to(half, made) * HALF_STEPS
        reach = [0.0]  # in steps: how far from what is made a level's states still matter, from the leaf up
        for level, span in zip(config.levels[:0:-1], config.spans[:0:-1], strict=True):
            reach.append(reach[-1] + level.num_blocks * level.window * span if level.window else float("inf"))
        for index in range(len(self.caches)):
            states, contents = reach[-2 - index], reach[-1 - index]
            heard = half[is_known & (away <= contents + HALF_STEPS)]
            if not len(heard):
                return
            places = self._places_of_halves(index, heard)
            distance = distance_to(places, self._places_of_halves(index, made))
            is_asked = np.repeat((away[heard] <= states + HALF_STEPS) & (states > 0), len(places) // len(heard))
            level = config.levels[index + 1]
            if isinstance(self._level(index).generator, SequentialGenerator):
                self.open(index, places, still_mattering(level, distance, is_asked))
                continue
            self.close(index, places, still_mattering(level, distance, is_asked, is_handed=False))
            asked = half[is_known & (away <= states + HALF_STEPS)]
            if states and len(asked):
                self.open(index, self._places_of_halves(index, asked))

    def _places_of_halves(self, index: int, halves: IntArray) -> IntArray:
        each = len(self.first[index]) // self.H
        places: IntArray = (halves[:, None] * each + np.arange(each)).reshape(-1)
        return places

    def tell_plan(self, plan: FloatArray) -> None:
        """The rows (bars, 6) in units that places which are opened from now on are guided by."""
        self.plan = scaled_plan(plan)

    # Opening and closing places.

    def open(self, index: int, places: IntArray, rest: Rest = None) -> Tensor:
        """What a level says at some places (N,): hidden states (rows, N, dim), handed down as well; of those
        alone that `rest` leaves, if it is given."""
        if self.lean is not None and self.lean.takes(places):
            return torch.from_numpy(self.lean.open(index, places, rest))
        level = self._level(index)
        generator = level.generator
        steps = self.first_steps(index, places)
        cond, where = self._cond(index, places, steps), self._where(index, places, steps)
        hint = self._hint(level, steps)
        where, hint = where.expand(self.rows, -1, -1), hint.expand(self.rows, *hint.shape[1:])
        if isinstance(generator, SequentialGenerator):
            self.caches[index].is_filled[places] = True
            slots, mask = self.slots(index, places, is_kept=True)
            before = np.maximum(places - 1, 0)
            previous = self._holds(index, before).expand(self.rows, -1, -1)
            is_known = (places > 0) & (self.last[index][before] < self.first[index][places])
            told = (previous, self._there(is_known)[None], cond, where, hint, self._there(mask), slots)
            hidden = generator.open(*told, self._rest_there(rest))
        else:
            slots, mask = self.slots(index, places, is_kept=False)
            hidden = generator.ask(cond, where, hint, self._there(mask), slots)
        for left in rest or ():
            places = places[left]
        self.handed[index][:, self._there(places)] = level.down(hidden)
        return hidden

    def close(self, index: int, places: IntArray, rest: Rest = None) -> None:
        """Tells a masked level what some places (N,) hold, now that they are known."""
        level = self._level(index)
        if isinstance(level.generator, SequentialGenerator) or not len(places):
            return
        if self.lean is not None and self.lean.takes(places):
            self.lean.close(index, places, rest)
            return
        steps = self.first_steps(index, places)
        cond, where = self._cond(index, places, steps), self._where(index, places, steps)
        self.caches[index].is_filled[places] = True
        slots, mask = self.slots(index, places, is_kept=True, holds=True)
        content = self._holds(index, places).expand(self.rows, -1, -1)
        told = (content, cond, where.expand(self.rows, -1, -1), self._there(mask), slots)
        level.generator.close(*told, self._rest_there(rest))

    # What places are told.

    def guides(self, index: int, places: IntArray) -> Guides:
        """The guiding values of places of a level; those of the content level also guide the leaf."""
        plan, texture = self.guiding(index, places, self.first_steps(index, places))
        told = None if texture is None else Texture(*(self._for_rows(value) for value in texture))
        return Guides(self._for_rows(plan), told, self.given, self.given)

    def leaf_cond(self, places: IntArray) -> Tensor:
        """The condition of the leaf at places (N,) of the content level: (rows * N, cond)."""
        last = len(self.handed) - 1
        if self.lean is not None and self.lean.takes(places):
            return torch.from_numpy(self.lean.leaf_cond(places))
        handed = self.handed[last][:, self._there(places)]
        return torch.cat([handed, self.model.leaf_guide(self.guides(last, places))], dim=-1).flatten(0, 1)

    def guiding(self, index: int, places: IntArray, steps: IntArray) -> tuple[FloatArray, TextureArrays | None]:
        """The plan rows (N, 6) and, below the half bar, the texture of places that begin at steps."""
        span, plan = self._level(index).span, self.plan[self.bar_of_step[steps]]
        if span == HALF_STEPS:
            return plan, None
        half = steps // HALF_STEPS
        if span == 1:
            cells = self.cell_of_place[places]
            remaining, left = self.remaining[cells], self.steps_left[cells]
        else:
            width = span * self.bands
            remaining = self.remaining.reshape(-1, width)[places].max(1)
            left = self.steps_left.reshape(-1, width)[places].max(1)
        return plan, (self.chroma[half], remaining, left, self.echo[half])

    def source_steps(self, steps: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """The steps that steps (N,) are to echo, and whether there is any: (N,) each."""
        half = steps // HALF_STEPS
        echo = self.echo[half]
        source = (half + SOURCE_OF[echo]) % self.H * HALF_STEPS + steps % HALF_STEPS
        return source, echo != NO_ECHO

    def encode(self, steps: IntArray) -> None:
        """Reads anew what some steps hold."""
        if self.bands == 1 and self.lean is not None and self.lean.takes(steps):
            self.lean.encode(steps)
            return
        content = self._there(self.content[steps])[None]
        encoded = self.model.steps(content)
        self.encoded[self._there(steps)] = encoded[0]
        if self.bands == 1:
            self.encoded_cells = self.encoded
        else:
            cells = (steps[:, None] * self.bands + np.arange(self.bands)).reshape(-1)
            self.encoded_cells[self._there(cells)] = self.model.encoded_cells(content, encoded)[0]

    def _rest_there(self, rest: Rest) -> list[Tensor] | None:
        return None if rest is None else [self._there(left) for left in rest]

    def _there(self, values: npt.NDArray[Any]) -> Tensor:
        """The same numbers where the model is."""
        return torch.from_numpy(values).to(self.device)

    def _for_rows(self, values: npt.NDArray[Any]) -> Tensor:
        """Values of places (N, ...), the same for every row: (rows, N, ...)."""
        there = self._there(values)[None]
        return there if self.rows == 1 else there.expand(self.rows, *values.shape)

    def _level(self, index: int) -> Level:
        return self.levels[index]

    def first_steps(self, index: int, places: IntArray) -> IntArray:
        span = self._level(index).span
        steps: IntArray = self.cell_of_place[places] // self.bands if span == 1 else places * span
        return steps

    def _cond(self, index: int, places: IntArray, steps: IntArray) -> Tensor:
        """The condition of places that begin at steps: (rows, N, cond)."""
        if index == 0:
            parent = self.parents[:, self._there(self.bar_of_step[steps])]
        else:
            parent = self.handed[index - 1][:, self._there(steps // self._level(index - 1).span)]
        return torch.cat([parent, self._level(index).guide(self.guides(index, places))], dim=-1)

    def _where(self, index: int, places: IntArray, steps: IntArray) -> Tensor:
        """The embeddings of the places: (N, dim)."""
        level = self._level(index)
        where: Tensor = level.generator.place(self._there(self.step_in_bar[steps]), self._there(self.bar_len[steps]))
        if level.span == 1:
            where = where + self.model.bands[self._there(self.cell_of_place[places] % self.bands)]
        return where

    def _holds(self, index: int, places: IntArray) -> Tensor:
        """What places hold, as their level reads it: (1, N, content_dim)."""
        span = self._level(index).span
        if span == 1:
            by_cell: Tensor = self.encoded_cells[self._there(self.cell_of_place[places])][None]
            return by_cell
        by_place: Tensor = self.encoded.view(self.T // span, -1)[self._there(places)][None]
        return by_place

    def _hint(self, level: Level, steps: IntArray) -> Tensor:
        """What places that begin at steps are to echo: (rows or 1, N or 1, dim or 1)."""
        if level.echo is None:
            return torch.zeros(1, 1, 1, device=self.device)
        source, is_echo = self.source_steps(steps)
        shown = self.encoded.view(self.T // level.span, -1)[self._there(source // level.span)]
        shown = shown * self._there(is_echo)[:, None] * self.given[:, None, None]
        out: Tensor = level.echo(shown)
        return out

    def reach(self, index: int, places: IntArray) -> tuple[int, int]:
        """From where up to where places of a level can see."""
        window, every = self._level(index).generator.window, len(self.first[index])
        if not window:
            return 0, every
        return max(0, int(places.min()) - window), min(every, int(places.max()) + window + 1)

    def slots(self, index: int, places: IntArray, is_kept: bool, holds: bool = False) -> tuple[Slots, Mask]:
        """The way of places to their level's cache, and the mask (N, keys): True where seen."""
        cache, window = self.caches[index], self._level(index).generator.window
        first, last = self.first[index], self.last[index]
        low, high = self.reach(index, places)
        if holds:
            seen = last[low:high] <= last[places, None]  # as `order.sees_held`
        elif is_kept:
            seen = first[low:high] < first[places, None]  # as `order.sees_earlier`
        else:
            seen = last[low:high] < first[places, None]  # as `order.sees_known`
        columns = np.arange(low, high)
        mask = seen & cache.is_filled[low:high]
        if window:
            mask &= np.abs(places[:, None] - columns) <= window
        if is_kept and not holds:
            mask |= places[:, None] == columns
        return Slots(cache, self._there(places), low, high, is_kept), mask


@lru_cache(maxsize=256)
def _chroma_levels(bar: Bar) -> IntArray:
    """The harmony of each half of a bar: (halves, 12). A bar is asked about as long as it is part of the past."""
    return chroma_level(chroma_of_bar(bar))
