"""A piece in the making: what is known of it, what each level remembers of it, and places opened one by one.

Knows how levels read and what is visible when; draws nothing. The first row of every batch is the conditional
branch; with guidance a second row follows, which knows neither plan nor texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fractal_live.model.ar import SequentialGenerator
from fractal_live.model.cache import PlaceCache, Slots
from fractal_live.model.config import HALF_STEPS, ModelConfig, chroma_level
from fractal_live.model.echo import NO_ECHO, echoes, onsets_per_half, source_of
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
from fractal_live.model.order import (
    Opening,
    band_of,
    cell_order,
    cells_per_half,
    near,
    opening,
    scan,
    sees_earlier,
    sees_held,
    sees_known,
)
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.notes import Bar


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
    """The state of a page, as tensors. Places of a level are counted from 0; those of the content level in scan
    order, half bar by half bar."""

    def __init__(self, model: Fractal, page: Page, rows: int) -> None:
        config, device = model.config, page.parents.device
        self.model, self.page, self.rows, self.device = model, page, rows, device
        self.levels = [level for level in model.levels if isinstance(level, Level)]
        self.given = torch.tensor([True, False][:rows], device=device)
        starts = bar_starts(page.bars)
        self.T, self.H, bands = int(starts[-1]), int(starts[-1]) // HALF_STEPS, config.pitch_bands
        notes = grid_notes(page.bars)
        is_in_range = (notes[:, 1] >= config.pitch_low) & (notes[:, 1] <= config.pitch_high)
        notes = limit_chords(notes[is_in_range], config.max_notes_per_step)
        is_made = page.group[notes[:, 0] // HALF_STEPS] >= page.first_group
        self.staying, notes = notes[is_made], notes[~is_made]
        band, order = band_of(config, notes[:, 1]), cell_order(page.group, page.ranks)
        self.content = torch.from_numpy(visible_content(notes, band, order, self.T)).to(device)

        lengths = np.array([bar.meter.steps_per_bar for bar in page.bars])
        bar_of_step = np.repeat(np.arange(len(page.bars)), np.diff(starts))
        step_in_bar = np.arange(self.T) - starts[bar_of_step]
        self.starts, self.bar_of_half = starts, bar_of_step[::HALF_STEPS]
        self.is_valid = step_in_bar < lengths[bar_of_step]
        self.bar_of_step = torch.from_numpy(bar_of_step).to(device)
        self.step_in_bar = torch.from_numpy(np.minimum(step_in_bar, config.max_bar_len - 1)).to(device)
        self.bar_len = torch.from_numpy(np.minimum(lengths, config.max_bar_len)[bar_of_step]).to(device)
        self.plan = torch.from_numpy(scaled_plan(page.plan)).to(device)
        self.parents = torch.where(self.given[:, None, None], page.parents, model.no_plan)  # (rows, bars, compressed)

        chroma = [_chroma_levels(bar) for bar in page.bars]
        self.chroma = torch.from_numpy(np.concatenate(chroma)).to(device)  # (H, 12)
        self.onsets = torch.from_numpy(onsets_per_half(notes, self.H)).to(device)
        self.echo = torch.from_numpy(echoes(notes, page.group)).to(device)
        self.group = torch.from_numpy(page.group).to(device)
        cell = notes[:, 0] * bands + band
        struck = np.bincount(cell, minlength=self.T * bands)
        self.remaining = torch.from_numpy(left_in_half(struck, page.ranks)).to(device)
        left = left_in_half(np.repeat(self.is_valid, bands).astype(np.int64), page.ranks)
        self.steps_left = torch.from_numpy(-(-left // bands)).to(device)

        self.order = torch.from_numpy(order).to(device)
        self.cell_of_place = _scan_of_all(config, self.H).to(device)  # of the content level
        self.step_order = opening(self.order[None], bands)
        self.openings: list[Opening] = []
        self.caches: list[PlaceCache] = []
        self.handed: list[Tensor] = []
        for index, span in enumerate(config.spans[1:]):
            places = self.T // span * (bands if span == 1 else 1)
            by_place = self.order[self.cell_of_place] if span == 1 else self.order
            self.openings.append(opening(by_place[None], 1 if span == 1 else span * bands))
            self.caches.append(PlaceCache(config.levels[index + 1], rows, places, device))
            width = config.levels[index + 1].compressed_dim
            self.handed.append(torch.zeros(rows, places, width, device=device))
        self.encoded = model.steps(self.content[None])[0]  # (T, step_dim)
        self.encoded_cells = model.encoded_cells(self.content[None], self.encoded[None])[0]
        self._read_known()

    # What stands already.

    def _read_known(self) -> None:
        """Fills the caches from the known half bars: all of them where a level sees everything, else those near
        enough to what is to be made to matter."""
        config = self.model.config
        half = torch.arange(self.H, device=self.device)
        is_known = self.group < self.page.first_group
        made = half[~is_known]
        away = (half[:, None] - made).abs().amin(1) * HALF_STEPS if len(made) else torch.zeros_like(half)
        reach = [0.0]  # in steps: how far from what is made a level's states still matter, from the leaf up
        for level, span in zip(config.levels[:0:-1], config.spans[:0:-1], strict=True):
            reach.append(reach[-1] + level.num_blocks * level.window * span if level.window else float("inf"))
        for index in range(len(self.caches)):
            states, contents = reach[-2 - index], reach[-1 - index]
            heard = half[is_known & (away <= contents + HALF_STEPS)]
            if not len(heard):
                return
            if isinstance(self._level(index).generator, SequentialGenerator):
                self.open(index, self._places_of_halves(index, heard))
                continue
            self.close(index, self._places_of_halves(index, heard))
            asked = half[is_known & (away <= states + HALF_STEPS)]
            if states and len(asked):
                self.open(index, self._places_of_halves(index, asked))

    def _places_of_halves(self, index: int, halves: Tensor) -> Tensor:
        each = self.openings[index].first.shape[1] // self.H
        return (halves[:, None] * each + torch.arange(each, device=self.device)).reshape(-1)

    # Opening and closing places.

    def open(self, index: int, places: Tensor) -> Tensor:
        """What a level says at some places (N,): hidden states (rows, N, dim), handed down as well."""
        level = self._level(index)
        generator = level.generator
        steps = self._first_steps(index, places)
        cond = torch.cat([self._parent(index, places, steps), level.guide(self.guides(index, places))], dim=-1)
        where = generator.place(self.step_in_bar[steps], self.bar_len[steps])
        if level.span == 1:
            where = where + self.model.bands[self.cell_of_place[places] % self.model.config.pitch_bands]
        hint = self._hint(level, index, places, steps)
        where, hint = where.expand(self.rows, -1, -1), hint.expand(self.rows, *hint.shape[1:])
        if isinstance(generator, SequentialGenerator):
            self.caches[index].is_filled[places] = True
            slots, mask = self._slots(index, places, is_kept=True)
            previous = self._holds(index, (places - 1).clamp(min=0)).expand(self.rows, -1, -1)
            first, last = self.openings[index].first[0], self.openings[index].last[0]
            is_known = (places > 0) & (last[(places - 1).clamp(min=0)] < first[places])
            hidden = generator.open(previous, is_known[None], cond, where, hint, mask, slots)
        else:
            slots, mask = self._slots(index, places, is_kept=False)
            hidden = generator.ask(cond, where, hint, mask, slots)
        self.handed[index][:, places] = level.down(hidden)
        return hidden

    def close(self, index: int, places: Tensor) -> None:
        """Tells a masked level what some places (N,) hold, now that they are known."""
        level = self._level(index)
        if isinstance(level.generator, SequentialGenerator) or not len(places):
            return
        steps = self._first_steps(index, places)
        cond = torch.cat([self._parent(index, places, steps), level.guide(self.guides(index, places))], dim=-1)
        where = level.generator.place(self.step_in_bar[steps], self.bar_len[steps])
        if level.span == 1:
            where = where + self.model.bands[self.cell_of_place[places] % self.model.config.pitch_bands]
        self.caches[index].is_filled[places] = True
        slots, mask = self._slots(index, places, is_kept=True, holds=True)
        content = self._holds(index, places).expand(self.rows, -1, -1)
        level.generator.close(content, cond, where.expand(self.rows, -1, -1), mask, slots)

    def guides(self, index: int, places: Tensor) -> Guides:
        """The guiding values of places of a level; those of the content level also guide the leaf."""
        level = self._level(index)
        steps = self._first_steps(index, places)
        plan = self.plan[self.bar_of_step[steps]].expand(self.rows, -1, -1)
        if level.span == HALF_STEPS:
            return Guides(plan, None, self.given, self.given)
        half, shape = steps // HALF_STEPS, (self.rows, -1)
        if level.span == 1:
            cells = self.cell_of_place[places]
            remaining, left = self.remaining[cells], self.steps_left[cells]
        else:
            width = level.span * self.model.config.pitch_bands
            remaining = self.remaining.view(-1, width)[places].amax(-1)
            left = self.steps_left.view(-1, width)[places].amax(-1)
        texture = Texture(
            self.chroma[half].expand(self.rows, -1, -1),
            remaining.expand(shape),
            left.expand(shape),
            self.echo[half].expand(shape),
        )
        return Guides(plan, texture, self.given, self.given)

    def source_steps(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """The steps that steps (N,) are to echo, and whether there is any: (N,) each."""
        echo = self.echo[steps // HALF_STEPS]
        source = (steps // HALF_STEPS + source_of(echo)).clamp(0, self.H - 1) * HALF_STEPS + steps % HALF_STEPS
        return source, echo != NO_ECHO

    def encode(self, steps: Tensor) -> None:
        """Reads anew what some steps hold."""
        content = self.content[steps][None]
        encoded = self.model.steps(content)
        self.encoded[steps] = encoded[0]
        bands = self.model.config.pitch_bands
        if bands == 1:
            self.encoded_cells = self.encoded
        else:
            cells = (steps[:, None] * bands + torch.arange(bands, device=self.device)).reshape(-1)
            self.encoded_cells[cells] = self.model.encoded_cells(content, encoded)[0]

    def _level(self, index: int) -> Level:
        return self.levels[index]

    def _first_steps(self, index: int, places: Tensor) -> Tensor:
        span = self._level(index).span
        return self.cell_of_place[places] // self.model.config.pitch_bands if span == 1 else places * span

    def _parent(self, index: int, places: Tensor, steps: Tensor) -> Tensor:
        if index == 0:
            return self.parents[:, self.bar_of_step[steps]]
        return self.handed[index - 1][:, steps // self._level(index - 1).span]

    def _holds(self, index: int, places: Tensor) -> Tensor:
        """What places hold, as their level reads it: (1, N, content_dim)."""
        span = self._level(index).span
        if span == 1:
            by_cell: Tensor = self.encoded_cells[self.cell_of_place[places]][None]
            return by_cell
        by_place: Tensor = self.encoded.view(self.T // span, -1)[places][None]
        return by_place

    def _hint(self, level: Level, index: int, places: Tensor, steps: Tensor) -> Tensor:
        """What places are to echo: (rows or 1, N or 1, dim or 1)."""
        if level.echo is None:
            return torch.zeros(1, 1, 1, device=self.device)
        source, is_echo = self.source_steps(steps)
        shown = (
            self.encoded[source]
            if level.span == 1
            else self.encoded.view(self.T // level.span, -1)[source // level.span]
        )
        shown = shown * is_echo[:, None] * self.given[:, None, None]
        out: Tensor = level.echo(shown)
        return out

    def _slots(self, index: int, places: Tensor, is_kept: bool, holds: bool = False) -> tuple[Slots, Tensor]:
        """The way of places to their level's cache, and the mask (N, keys): True where seen."""
        level, cache, order = self._level(index), self.caches[index], self.openings[index]
        window = level.generator.window
        low, high = 0, len(cache.is_filled)
        if window:
            low, high = max(0, int(places.min()) - window), min(high, int(places.max()) + window + 1)
        there = Opening(order.first[:, low:high], order.last[:, low:high])
        here = Opening(order.first[:, places], order.last[:, places])
        if holds:
            seen = sees_held(here, there)[0]
        elif is_kept:
            seen = sees_earlier(here, there)[0]
        else:
            seen = sees_known(here, there)[0]
        columns = torch.arange(low, high, device=self.device)
        mask = seen & near(places, columns, window) & cache.is_filled[low:high]
        if is_kept and not holds:
            mask = mask | (places[:, None] == columns)
        return Slots(cache, places, low, high, is_kept), mask


@lru_cache(maxsize=256)
def _chroma_levels(bar: Bar) -> IntArray:
    """The harmony of each half of a bar: (halves, 12). A bar is asked about as long as it is part of the past."""
    return chroma_level(chroma_of_bar(bar))


def _scan_of_all(config: ModelConfig, halves: int) -> Tensor:
    """The cell of every place of the content level: (C,)."""
    start = np.arange(halves) * cells_per_half(config)
    return torch.from_numpy((start[:, None] + scan(config)).reshape(-1))
