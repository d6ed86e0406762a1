"""The unfolding of a page: group by group of half bars, each half bar from its decisions down to its notes.

The half bars of a group are made side by side, in step with one another: what one of them takes, all take.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from fractal_live.model.canvas import Canvas, Page
from fractal_live.model.chord import CellInMaking, Chords, Token
from fractal_live.model.config import (
    CHROMA_CENTRES,
    DURATIONS,
    HALF_STEPS,
    MAX_HALF_ONSETS,
    duration_class,
    velocity_bin,
    velocity_of_bin,
)
from fractal_live.model.deciding import Decisions
from fractal_live.model.echo import (
    GRADE_OF,
    STRENGTH_OF,
)
from fractal_live.model.fractal import Fractal, band_range
from fractal_live.model.grid import IntArray
from fractal_live.model.heights import Heights
from fractal_live.model.lengths import Lengths
from fractal_live.model.order import band_of, cells_per_half
from fractal_live.model.pitch import FADING, RECALL_LAGS, Memories, remembered
from fractal_live.model.repeats import Rows
from fractal_live.model.sampling import guidance
from fractal_live.model.voice import Voices
from fractal_live.music.harmony import Chroma
from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Note
from fractal_live.music.plan import PlanTable, unknown_plan
from fractal_live.music.request import Sampling, Withdrawn

LATER_ONSETS = 4  # a chord that the steps left in a half bar may be counted on to bear


def wanted_or_raise(is_wanted: Callable[[], bool]) -> None:
    """Raises Withdrawn."""
    if not is_wanted():
        raise Withdrawn


class Unfolding:
    """Makes the missing half bars of a page. `rows` are those of its plan, as bars are made by them; `chroma`
    (H, 12) in 0..1 is given where not NaN; pitches outside `low` to `high` stay as the page holds them. A page that
    `begins` has an onset on its very first step, if its first bar has any. `asked` (bars, 6) is what of the plan was
    not imagined (NaN elsewhere): where notes' lengths or their mean pitch were asked for, they keep to that."""

    def __init__(
        self,
        model: Fractal,
        page: Page,
        sampling: Sampling,
        generator: torch.Generator,
        chroma: Chroma | None = None,
        low: int = 0,
        high: int = 127,
        scores_forced: bool = False,
        begins: bool = False,
        asked: PlanTable | None = None,
    ) -> None:
        self.model, self.page, self.sampling, self.generator = model, page, sampling, generator
        self.canvas = Canvas(model, page, 1 if sampling.cfg_scale == 1.0 else 2)
        self.voices = Voices(model.leaf)
        self.bands = model.config.pitch_bands
        self.low, self.high, self.scores_forced = low, high, scores_forced
        self.rows = Rows(page.plan, asked)
        self.is_decided = page.group < page.first_group
        band = band_range(model.config, torch.arange(self.bands))
        self.band_ends = band.low.numpy(), band.high.numpy()
        self.band_low = np.maximum(low, band.low.numpy())
        self.band_high = np.minimum(high, band.high.numpy())
        self.free = np.maximum(self.band_high - self.band_low + 1, 0)  # pitches of each band that may be struck
        self.bearer = int(np.flatnonzero(self.free).max(initial=-1))  # the last band that can bear what is left
        self.begins = begins and self.bearer >= 0 and bool(self.rows.density[0] > 0)
        self.staying: dict[int, list[Token]] = {}  # of cells
        for step, pitch, velocity, duration in self.canvas.staying.tolist():
            if not low <= pitch <= high:
                token = (pitch, int(velocity_bin(np.array(velocity))), int(duration_class(np.array(duration))))
                cell = step * self.bands + int(band_of(model.config, np.array(pitch)))
                self.staying.setdefault(cell, []).append(token)
        steps = np.array([bar.meter.steps_per_bar for bar in page.bars])
        own = unknown_plan(len(page.bars)) if asked is None else asked
        self.lengths = Lengths(own, self.rows.density, steps)
        self.heights = Heights(own, self.rows.density)
        for cell, tokens in self.staying.items():
            for token in tokens:
                self._tell(cell // self.bands, token)
        told = (self.canvas, self.rows, self.is_decided, self._bounds)
        self.decisions = Decisions(*told, sampling, generator, chroma)
        self.order = self.canvas.order
        # In order of time nothing that is known begins after what is made.
        self.is_in_time = bool((np.diff(self.order.reshape(-1, self.bands), axis=0) > 0).all())
        self.struck = np.zeros(self.canvas.T, dtype=np.int64)  # notes per step, of what is made
        self.notes: list[tuple[int, Note]] = []  # bar of the page, note
        self.log_likelihood = np.zeros(len(page.group))
        self.forced_log_likelihood = 0.0
        self.opened = 0.0

    def run(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Makes them all. Raises Withdrawn once nothing of it `is_wanted`: looked at before every cell."""
        groups = np.unique(self.page.group[~self.is_decided])
        for place, group in enumerate(groups):
            self.opened = place / len(groups)
            self._make(np.flatnonzero(self.page.group == group), place == len(groups) - 1, is_wanted)

    def _make(self, halves: IntArray, is_last: bool, is_wanted: Callable[[], bool]) -> None:
        """The half bars of one group, from their decisions to their notes. Of the last one nobody is told."""
        canvas = self.canvas
        self.decisions.decide(halves, canvas.open(0, halves), self.opened)
        cells, ranks = cells_per_half(self.model.config), self.page.ranks[halves]
        for rank in range(cells):
            wanted_or_raise(is_wanted)
            opened = np.flatnonzero(ranks == rank) % cells + halves * cells  # one cell of each half bar
            coming = (np.argsort(ranks, axis=1)[:, rank:] + halves[:, None] * cells).reshape(-1)
            if self._have_all(coming):
                if not is_last:
                    self._pass_over(coming)
                break
            self._open_places(opened)
            self._draw(opened)
            if not (is_last and rank == cells - 1):
                self._close_places(opened)
        if not is_last:
            canvas.close(0, halves)
        self.is_decided[halves] = True

    # What of its onsets a half bar can bear.

    def _bounds(self, half: int) -> tuple[int, int]:
        """How many onsets a half bar has at least, because they stay, and at most, because its steps hold no more."""
        size = cells_per_half(self.model.config)
        cells = np.arange(half * size, (half + 1) * size)
        staying = [len(self.staying.get(int(cell), [])) for cell in cells]
        room = (np.array(staying).reshape(-1, self.bands) + self.free).sum(1)
        room = np.minimum(room, self.model.config.max_notes_per_step)
        valid = self.canvas.is_valid[half * HALF_STEPS : (half + 1) * HALF_STEPS]
        least = max(sum(staying), int(self.begins and half == 0))
        return least, min(MAX_HALF_ONSETS, int(room[valid].sum()))

    # Its cells, one of each half bar at a time.

    def _open_places(self, cells: IntArray) -> None:
        """Opens the places of the levels below whose first cell is opened now."""
        canvas = self.canvas
        order = canvas.order[cells]
        for index, span in enumerate(self.model.config.spans[1:]):
            if index == 0:
                continue
            places = self._places(span, cells)
            is_first = canvas.first[index][places] == order
            if is_first.any():
                canvas.open(index, places[is_first])

    def _close_places(self, cells: IntArray) -> None:
        """Tells the masked levels what the places hold whose last cell was opened now."""
        canvas = self.canvas
        canvas.encode(np.unique(cells // self.bands))
        order = canvas.order[cells]
        for index, span in enumerate(self.model.config.spans[1:]):
            if index == 0 or self.model.config.levels[index + 1].generator != "mar":
                continue
            places = self._places(span, cells)
            canvas.close(index, places[canvas.last[index][places] == order])

    def _have_all(self, cells: IntArray) -> bool:
        """Whether nothing is to be drawn of the cells that are still to come, as their half bars have all they get."""
        return not self.scores_forced and not self.staying and not self.canvas.remaining[cells].any()

    def _pass_over(self, cells: IntArray) -> None:
        """Opens and closes, level by level, what is left of half bars that have all their onsets."""
        canvas = self.canvas
        canvas.encode(np.unique(cells // self.bands))
        for index, span in enumerate(self.model.config.spans[1:]):
            if index:
                places = np.unique(self._places(span, cells))
                canvas.close(index, places)
                opened = places[np.isin(canvas.first[index][places], canvas.order[cells])]
                if len(opened):
                    canvas.open(index, opened)

    def _places(self, span: int, cells: IntArray) -> IntArray:
        """The places of the level of such a span that hold these cells, one of each half bar."""
        if span > 1:
            return cells // (span * self.bands)
        if self.bands == 1:
            return cells
        place_of_cell = self.canvas.cell_of_place.argsort()
        return place_of_cell[cells]

    def _draw(self, cells: IntArray) -> None:
        """The notes of one cell of each half bar."""
        canvas = self.canvas
        cells = cells[canvas.is_valid[cells // self.bands]]
        if not len(cells):
            return
        making = [self._cell(int(cell)) for cell in cells]
        if not self.scores_forced and not any(cell.room for cell in making):
            return
        cond = canvas.leaf_cond(self._places(1, cells))
        band = cells % self.bands
        at = [self._place_in_bar(int(cell) // self.bands) for cell in cells]  # bar of the page, step in it
        are_asked = [any(wish.is_asked(bar) for bar, _ in at) for wish in (self.lengths, self.heights)]
        chords = Chords(
            self.sampling,
            self.generator,
            guidance(self.sampling, 2, self.opened),
            None if self.is_in_time else lambda place, token: self._limited(int(cells[place]) // self.bands, token),
            (lambda place, scores: self.lengths.tilted(*at[place], scores)) if are_asked[0] else None,
            (lambda place, scores: self.heights.leaning(at[place][0], scores)) if are_asked[1] else None,
            self.scores_forced,
        )
        low, high = (ends[band] for ends in self.band_ends)
        chords.draw(making, self.voices.of(cond, self._memories(cells), low, high), canvas.rows)
        for cell, made in zip(cells.tolist(), making, strict=True):
            for token in made.notes:
                self._strike(cell, *token)
                if token not in self.staying.get(cell, ()):
                    self._tell(cell // self.bands, token)
            self.struck[cell // self.bands] += len(made.notes)
            self._count_down(cell, len(made.notes))
            self.log_likelihood[cell // self.bands // HALF_STEPS] += made.log_likelihood
            self.forced_log_likelihood += made.forced

    def _cell(self, cell: int) -> CellInMaking:
        """What a cell may and must have: notes enough that those after it can bear the rest of the half bar, few at a
        time. The number of onsets is given, so it is not left to the draw."""
        canvas, bands = self.canvas, self.bands
        most, size = self.model.config.max_notes_per_step, cells_per_half(self.model.config)
        half, step, band = cell // size, cell // bands, cell % bands
        own = np.arange(half * size, (half + 1) * size)
        is_later = (self.order[own] > self.order[cell]) & canvas.is_valid[own // bands]
        kept = [len(self.staying.get(int(other), [])) if self.staying else 0 for other in own] * is_later
        remaining = int(canvas.remaining[cell]) - int(kept.sum())
        taken = self.struck[own[::bands] // bands] + kept.reshape(-1, bands).sum(1)  # of the room of each step
        room = min(remaining, most - int(taken[step % HALF_STEPS]))
        owed = 0
        if band == self.bearer:
            each = max(LATER_ONSETS, -(-int(canvas.onsets[half]) // HALF_STEPS) + 1)
            bearing = np.flatnonzero(is_later.reshape(-1, bands)[:, band])
            borne = np.maximum(np.minimum(most - taken[bearing], min(self.free[band], each)), 0)
            owed = max(0, remaining - int(borne.sum()))
        if self.begins and self.struck[0] == 0:
            if cell == self.bearer:  # the last of the first step's
                owed = max(owed, 1)
            elif step and self.order[cell] < self.order[self.bearer]:
                room = min(room, remaining - 1)
        staying = sorted(self.staying.get(cell, []))
        return CellInMaking(
            room,
            owed,
            int(self.band_low[band]),
            int(self.band_high[band]),
            [token for token in staying if token[0] < self.low],
            [token for token in staying if token[0] > self.high],
        )

    def _memories(self, cells: IntArray) -> Memories:
        """The memory of cells (N,)."""
        canvas = self.canvas
        steps = cells // self.bands
        source, _ = canvas.source_steps(steps)
        echo = canvas.echo[steps // HALF_STEPS]
        told = (canvas.content, canvas.step_last, steps, canvas.order[cells], source, STRENGTH_OF[echo])
        maps, echoed = remembered(*told, canvas.is_given, FADING, RECALL_LAGS)
        return Memories(maps, echoed, GRADE_OF[echo] * canvas.is_given[:, None])

    # What is drawn becomes notes.

    def _limited(self, step: int, token: Token) -> int:
        """The duration class of a note no longer than to the next known onset of its pitch."""
        pitch, _, duration = token
        ahead = self.canvas.content[step + 1 : step + DURATIONS[duration], 0, pitch]
        found = np.flatnonzero(ahead)
        if not len(found):
            return duration
        room = int(found[0]) + 1
        return max(index for index, steps in enumerate(DURATIONS) if steps <= room)

    def _place_in_bar(self, step: int) -> tuple[int, int]:
        """The bar of a step of the page, and the step's place in it."""
        bar = int(self.canvas.bar_of_half[step // HALF_STEPS])
        return bar, step - int(self.canvas.starts[bar])

    def _tell(self, step: int, token: Token) -> None:
        """A note of what was asked is there."""
        bar, inside = self._place_in_bar(step)
        self.lengths.told(bar, inside, DURATIONS[token[2]])
        self.heights.told(bar, token[0])

    def _strike(self, cell: int, pitch: int, velocity_index: int, duration_index: int) -> None:
        canvas, step = self.canvas, cell // self.bands
        velocity, duration = velocity_of_bin(velocity_index), DURATIONS[duration_index]
        bar, place = self._place_in_bar(step)
        onset = place * TICKS_PER_STEP
        self.notes.append((bar, Note(onset, pitch, duration * TICKS_PER_STEP, velocity)))
        ahead = canvas.content[step:, :, pitch]
        if not self.is_in_time:
            later = np.flatnonzero(ahead[1:, 0])
            ahead = ahead[: int(later[0]) + 1] if len(later) else ahead
        length = min(duration, len(ahead))
        left = duration - np.arange(length)
        index = np.arange(step, step + len(ahead))
        is_drawn = canvas.group[index // HALF_STEPS] > canvas.group[step // HALF_STEPS]
        own_half = index[: HALF_STEPS - step % HALF_STEPS] * self.bands + cell % self.bands
        is_drawn[: len(own_half)] = canvas.order[own_half] >= canvas.order[cell]
        ahead[is_drawn, 2] = 0.0
        ahead[:length, 2] = np.where(is_drawn[:length], np.minimum(left, 16) / 16, ahead[:length, 2])
        ahead[0, 0] = 1
        ahead[0, 1] = velocity / 127

    def _count_down(self, cell: int, notes: int) -> None:
        """Cells of the half bar that are opened later have so many onsets fewer to come."""
        size = cells_per_half(self.model.config)
        half = cell // size
        own = slice(half * size, (half + 1) * size)
        canvas = self.canvas
        is_later = canvas.order[own] > canvas.order[cell]
        canvas.remaining[own] = np.maximum(canvas.remaining[own] - notes * is_later, 0)

    def chroma_made(self) -> Chroma:
        """The harmony of all half bars, as levels' centres: (H, 12)."""
        centres: Chroma = np.array(CHROMA_CENTRES, dtype=np.float32)[self.canvas.chroma]
        return centres
