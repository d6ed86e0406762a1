"""From a request to notes: the next bar, missing bars of a piece, or a whole piece at once.

Three orders of opening, one unfolding: what is known stands first; then the new bar in time, or the gap, or all
half bars in a few rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from fractal_live.model.canvas import Page
from fractal_live.model.config import HALF_STEPS
from fractal_live.model.fractal import Fractal
from fractal_live.model.grid import FloatArray, IntArray, padded_steps
from fractal_live.model.imagine import imagine_plan, plan_window
from fractal_live.model.order import draw_ranks
from fractal_live.model.unfolding import Unfolding, wanted_or_raise
from fractal_live.music.harmony import Chroma
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note, on_grid, without_overlaps
from fractal_live.music.plan import COLUMN, PlanTable, measure, unknown_plan
from fractal_live.music.request import BarRequest, InfillRequest, Sampling


@dataclass(frozen=True, slots=True)
class Unfolded:
    """What each level decided about the bars that were made: plan (n, 6) in units, chroma (H, 12) in 0..1, echo
    classes and onsets per half bar, notes bar by bar; the log-likelihood of the notes as they were drawn, in nats,
    and of the stops that were not drawn because the half bar had all its onsets."""

    plan: PlanTable
    chroma: Chroma
    echo: tuple[int, ...]
    onsets: tuple[int, ...]
    bars: tuple[tuple[Note, ...], ...]
    log_likelihood: float
    forced_log_likelihood: float


def next_plan(model: Fractal, request: BarRequest, generator: torch.Generator) -> PlanTable:
    """The plan of a request with nothing unknown: (32, 6) in units."""
    return _next_plan(model, request, _measured(_recent(model, request)), generator)


def _next_plan(model: Fractal, request: BarRequest, rows: FloatArray, generator: torch.Generator) -> PlanTable:
    return imagine_plan(model, request.plan, rows, request.latent, request.latent_gain, request.sampling, generator)


def unfold_bar(
    model: Fractal,
    request: BarRequest,
    generator: torch.Generator,
    scores_forced: bool = False,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Unfolded:
    """The bar that a request asks for; the first of a piece begins on its first step. `generator` is the only source
    of chance. `scores_forced` also scores the stops that follow from the number of onsets (slower, and it draws more
    from the generator). Raises Withdrawn once it is not `is_wanted`."""
    wanted_or_raise(is_wanted)
    rows = _measured(_recent(model, request))
    plan = _next_plan(model, request, rows, generator)
    memory = min(model.config.past_bars, model.config.plan_bars) - 1
    past = tuple(on_grid(bar) for bar in request.past[len(request.past) - min(memory, len(request.past)) :])
    bars = (*past, Bar(request.index, (), request.meter))
    wanted_or_raise(is_wanted)
    window = plan_window(model, rows, plan[: model.config.plan_bars])
    first = model.config.past_bars - len(past)
    parents = model.structure.hand_down(window.plan, window.is_present)[0, first : first + len(bars)]
    is_missing = np.array([*[False] * len(past), True])
    group, first_group = _groups(bars, is_missing, 0)
    page = Page(bars, group, first_group, _ranks(model, len(group), generator), _rows(rows, len(past), plan), parents)
    chroma = None
    if request.chroma is not None:
        chroma = np.full((len(group), 12), np.nan, dtype=np.float32)
        wanted = np.asarray(request.chroma, dtype=np.float32)
        chroma[len(group) - len(wanted) :] = wanted
    begins = request.index == 0 and not past
    own = request.plan if request.asked is None else request.asked
    asked = np.concatenate([unknown_plan(len(past)), own[:1]])
    wanted_or_raise(is_wanted)
    unfolding = Unfolding(
        model, page, request.sampling, generator, chroma, scores_forced=scores_forced, begins=begins, asked=asked
    )
    unfolding.run(is_wanted)
    plan[0] = unfolding.rows.plan[-1]
    return _unfolded(unfolding, plan, is_missing)


def unfold_missing(model: Fractal, request: InfillRequest, generator: torch.Generator) -> Unfolded:
    """The missing bars of a piece of up to 32, opened in a few rounds and, where the sampling asks for it, the least
    sure half bars once more."""
    horizon = model.config.plan_bars
    if len(request.bars) > horizon:
        raise ValueError(f"{len(request.bars)} bars are too many for one infill; this model takes {horizon}")
    is_missing = np.array(request.is_missing)
    kept = tuple(_kept(on_grid(bar), missing, request) for bar, missing in zip(request.bars, is_missing, strict=True))
    wanted = np.stack([measure(bar) for bar in request.bars])
    wanted[is_missing] = unknown_plan(int(is_missing.sum())) if request.plan is None else request.plan[is_missing]
    none = np.zeros((0, len(COLUMN)), dtype=np.float32)
    plan = imagine_plan(model, wanted, none, (0.0,) * model.config.latent_dims, 0.0, request.sampling, generator)
    least = np.array([len(bar.notes) for bar in kept])
    plan[:, COLUMN["density"]] = np.maximum(plan[:, COLUMN["density"]], least)
    pitches = (request.low, request.high)
    return _in_rounds(model, kept, is_missing, plan, wanted, request.sampling, generator, *pitches)


def unfold_piece(
    model: Fractal,
    plan: PlanTable,
    sampling: Sampling,
    generator: torch.Generator,
    latent: tuple[float, ...],
    latent_gain: float,
    meter: Meter = FOUR_FOUR,
) -> Unfolded:
    """A whole piece of as many bars as the plan (n, 6) has rows, NaN for what is imagined: half bars of the whole
    length are opened together, in `sampling.iterations` rounds whatever the length."""
    none = np.zeros((0, len(COLUMN)), dtype=np.float32)
    asked, plan = plan, imagine_plan(model, plan, none, latent, latent_gain, sampling, generator)
    bars = tuple(Bar(index, (), meter) for index in range(len(plan)))
    return _in_rounds(model, bars, np.ones(len(bars), dtype=bool), plan, asked, sampling, generator, 0, 127)


def _in_rounds(
    model: Fractal,
    bars: tuple[Bar, ...],
    is_missing: np.ndarray,
    plan: PlanTable,
    asked: PlanTable,
    sampling: Sampling,
    generator: torch.Generator,
    low: int,
    high: int,
) -> Unfolded:
    parents = _parents(model, plan)
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator, device=generator.device)))
    group, first_group = _groups(bars, is_missing, sampling.iterations, rng)
    page = Page(bars, group, first_group, draw_ranks(model.config, len(group), rng), plan, parents)
    unfolding = Unfolding(model, page, sampling, generator, low=low, high=high, asked=asked)
    unfolding.run()
    made = int((group >= first_group).sum())
    again = math.floor(sampling.refine * made)
    if again and low == 0 and high == 127:
        unfolding = _refined(model, unfolding, again, sampling, generator)
    return _unfolded(unfolding, unfolding.rows.plan, is_missing)


def _refined(model: Fractal, done: Unfolding, again: int, sampling: Sampling, generator: torch.Generator) -> Unfolding:
    """The `again` half bars that the model is least sure of (mean log-likelihood per note) drawn anew, knowing all
    others."""
    page = done.page
    made = np.flatnonzero(page.group >= page.first_group)
    sure = done.log_likelihood[made] / np.maximum(done.canvas.onsets[made], 1)
    chosen = np.sort(made[np.argsort(sure, kind="stable")[:again]])
    is_again = np.isin(np.arange(len(page.group)), chosen)
    group = np.empty_like(page.group)
    group[~is_again] = np.arange((~is_again).sum())
    group[is_again] = (~is_again).sum() + np.arange(again)
    size, starts = HALF_STEPS, done.canvas.starts
    bars = []
    for index, bar in enumerate(page.bars):
        notes = list(bar.notes) + [note for place, note in done.notes if place == index]
        first = int(starts[index]) // size
        kept = [note for note in notes if not is_again[first + note.onset_tick // (size * 120)]]
        bars.append(replace(bar, notes=without_overlaps(kept)))
    again_page = Page(tuple(bars), group, int((~is_again).sum()), page.ranks, done.rows.plan, page.parents)
    unfolding = Unfolding(model, again_page, sampling, generator)
    unfolding.run()
    unfolding.notes += [
        (place, note)
        for place, note in done.notes
        if not is_again[int(starts[place]) // size + note.onset_tick // (size * 120)]
    ]
    return unfolding


def _unfolded(unfolding: Unfolding, plan: PlanTable, is_missing: np.ndarray) -> Unfolded:
    canvas, page = unfolding.canvas, unfolding.page
    made = page.group >= page.first_group
    per_bar = [[note for place, note in unfolding.notes if place == bar] for bar in np.flatnonzero(is_missing)]
    return Unfolded(
        plan,
        unfolding.chroma_made()[made],
        tuple(canvas.echo[made].tolist()),
        tuple(canvas.onsets[made].tolist()),
        tuple(without_overlaps(notes) for notes in per_bar),
        float(unfolding.log_likelihood.sum()),
        unfolding.forced_log_likelihood,
    )


def _groups(
    bars: tuple[Bar, ...], is_missing: np.ndarray, rounds: int, rng: np.random.Generator | None = None
) -> tuple[IntArray, int]:
    """When each half bar is opened: known ones first, in time; the others in time as well or, with so many rounds,
    at random on a cosine schedule. And the first group that is to be made."""
    halves = [padded_steps(bar.meter.steps_per_bar) // HALF_STEPS for bar in bars]
    missing = np.repeat(is_missing, halves)
    group = np.empty(len(missing), dtype=np.int64)
    known, made = int((~missing).sum()), int(missing.sum())
    group[~missing] = np.arange(known)
    if rng is None or rounds >= made:
        group[missing] = known + np.arange(made)
        return group, known
    left = [math.floor(made * math.cos(math.pi / 2 * (turn + 1) / rounds)) for turn in range(rounds - 1)]
    upto = np.maximum.accumulate(np.maximum(made - np.array([*left, 0]), np.arange(1, rounds + 1)))
    turn_of = np.searchsorted(upto, np.arange(made), side="right")
    group[missing] = known + turn_of[rng.permutation(made)]
    return group, known


def _kept(bar: Bar, is_missing: bool, request: InfillRequest) -> Bar:
    if not is_missing:
        return bar
    outside = [note for note in bar.notes if not request.low <= note.pitch <= request.high]
    return replace(bar, notes=tuple(outside))


def _recent(model: Fractal, request: BarRequest) -> tuple[Bar, ...]:
    """As much of the past as level 0 looks at."""
    return request.past[max(0, len(request.past) - model.config.past_bars) :]


def _measured(bars: tuple[Bar, ...]) -> FloatArray:
    if not bars:
        return np.zeros((0, len(COLUMN)), dtype=np.float32)
    return np.stack([_measure(bar) for bar in bars]).astype(np.float32)


@lru_cache(maxsize=256)
def _measure(bar: Bar) -> FloatArray:
    """A bar is asked about as long as it is part of the past."""
    return measure(bar).astype(np.float32)


def _rows(measured: FloatArray, bars: int, plan: PlanTable) -> FloatArray:
    """The plan rows of past bars and of the new one."""
    return np.concatenate([measured[len(measured) - bars :], plan[:1]])


def _ranks(model: Fractal, halves: int, generator: torch.Generator) -> IntArray:
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator, device=generator.device)))
    return draw_ranks(model.config, halves, rng)


def _parents(model: Fractal, plan: PlanTable) -> torch.Tensor:
    """What level 0 hands down for a complete plan of any length: (bars, compressed), horizon by horizon, each seeing
    the past rows before it."""
    horizon = model.config.plan_bars
    found = []
    for low in range(0, len(plan), horizon):
        window = plan_window(model, plan[:low], plan[low : low + horizon])
        rows = model.structure.hand_down(window.plan, window.is_present)[0, model.config.past_bars :]
        found.append(rows[: len(plan) - low])
    return torch.cat(found)
