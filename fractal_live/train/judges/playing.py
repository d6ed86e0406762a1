"""The pieces that judges hear: invented freely or recorded, asked for with a harmony, or going on from a past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fractal_live.model.piece import compose, drawn_latent
from fractal_live.music.harmony import Chroma
from fractal_live.music.midifile import read_score
from fractal_live.music.notes import Bar, on_grid
from fractal_live.music.plan import PLAN_BARS, PlanTable, unknown_plan
from fractal_live.music.request import MEMORY_BARS, BarRequest, Generator, Sampling
from fractal_live.train.judges.trial import JudgeError, Trial


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What a piece is asked to be: `plan` (bars, 6), NaN for what is imagined; `chroma` (bars, halves, 12); `past`
    what was played before, which is not part of the piece."""

    plan: PlanTable | None = None
    chroma: Chroma | None = None
    past: Sequence[Bar] = ()


def invented(generator: Generator, trial: Trial, judge: str) -> list[tuple[Bar, ...]]:
    """The pieces that a judge hears where nothing is asked for: composed, or as recorded. Raises JudgeError where too
    few are recorded or they are too short."""
    if trial.recorded is not None:
        return _recorded(trial, trial.recorded)
    pieces = []
    for index in range(trial.pieces):
        bars = compose(generator, trial.bars, trial.seed + index, trial.sampling).bars
        trial.heard(bars, f"{judge}-{trial.seed + index:06d}")
        pieces.append(bars)
    return pieces


def _recorded(trial: Trial, folder: Path) -> list[tuple[Bar, ...]]:
    paths = sorted(folder.glob("*.mid"))[: trial.pieces]
    pieces = []
    for path in paths:
        bars = tuple(on_grid(bar) for bar in read_score(path).bars[: trial.bars])
        silence = (Bar(place, (), bars[-1].meter) for place in range(len(bars), trial.bars))
        pieces.append((*bars, *silence))
        trial.on_piece()
    if len(pieces) < trial.pieces:
        raise JudgeError(f"{folder}: only {len(pieces)} .mid files; {trial.pieces} --pieces were asked for")
    return pieces


def play(generator: Generator, bars: int, seed: int, sampling: Sampling, wish: Wish) -> tuple[Bar, ...]:
    """A piece of so many bars, made as on stage: the plan slides along, what was imagined once stays. The seed draws
    its latent too."""
    latent = drawn_latent(seed)
    known = unknown_plan(bars + PLAN_BARS)
    if wish.plan is not None:
        known[:bars] = wish.plan[:bars]
    asked = known.copy()
    made = list(wish.past)
    for index in range(bars):
        window = known[index : index + PLAN_BARS].copy()
        request = BarRequest(
            len(made),
            tuple(made[-MEMORY_BARS:]),
            window,
            None if wish.chroma is None else wish.chroma[index],
            latent,
            1.0,
            sampling=sampling,
            seed=seed,
            asked=asked[index : index + PLAN_BARS],
        )
        reply = generator.bar(request)
        known[index : index + PLAN_BARS] = np.where(np.isnan(window), reply.plan, window)
        made.append(reply.bar)
    return tuple(made[len(wish.past) :])
