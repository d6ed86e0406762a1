"""Does it sound like real music? What a generator invents, beside held-out songs, their bars shuffled, and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fractal_live.music.distances import Space
from fractal_live.music.excerpt import Excerpt, excerpt_of
from fractal_live.music.features import WINDOW_BARS
from fractal_live.music.metrics import FIGURES
from fractal_live.music.request import Generator
from fractal_live.music.structure import SECTION_BEATS, STRUCTURE_BARS, structure_names
from fractal_live.train.judges.anchors import Anchors
from fractal_live.train.judges.pictures import draw_quality
from fractal_live.train.judges.playing import invented
from fractal_live.train.judges.portrait import Portrait, distances, portrait_of
from fractal_live.train.judges.report import Goal, Report, at_least, at_most, lines_of
from fractal_live.train.judges.trial import JudgeError, Trial
from fractal_live.train.judges.two_sample import FOLDS, LEAST_WINDOWS, told_apart

FRECHET_WINDOWS = 320
SECTIONS = tuple(f"si_{name}" for name in SECTION_BEATS)
LIKENESS = tuple(f"onset_lag_{lag}" for lag in (1, 2, 4, 8, 16))
SECTION_SHARE, OFF = 0.9, 0.25
SHOWN_FIGURES = ("pitch_class_entropy", "scale_consistency", "groove", "polyphony", "empty_beats", "onsets_per_bar")

GOALS = {
    "told_apart": at_most(0.80, 0.60),
    "told_apart_by_structure": at_most(0.80, 0.65),
    "frechet": at_most(30, 12),
    "overlap": at_least(None, 0.85),
    "onset_jsd": at_most(0.02, 0.005),
    "pitch_jsd": at_most(0.05, 0.03),
    "duration_jsd": at_most(0.02, 0.01),
}


def quality(generator: Generator, anchors: Anchors, trial: Trial) -> Report:
    """Judges pieces invented from nothing. Raises JudgeError for too few or too short ones."""
    if trial.bars < WINDOW_BARS or trial.pieces < FOLDS:
        raise JudgeError(f"quality needs at least {FOLDS} pieces of {WINDOW_BARS} bars; ask for more")
    pieces = [excerpt_of(bars) for bars in invented(generator, trial, "quality")]
    return compare(pieces, anchors, trial)


def compare(pieces: Sequence[Excerpt], anchors: Anchors, trial: Trial, of_piece: Sequence[int] | None = None) -> Report:
    """The report on pieces of at least 8 bars, wherever they come from. `of_piece` says which are parts of one: a
    judge that has heard a part of a song knows the rest of it."""
    model = portrait_of(pieces, of_piece)
    if len(model.windows) < FOLDS:
        raise JudgeError("nearly nothing was played: too few windows hold a note to be judged")
    shown = {"model": model, **anchors.controls}
    judge = _Judge(anchors.train, anchors.space(), len(model.windows), len(model.structure), trial.seed)
    columns = [judge.column(portrait) for portrait in shown.values()]
    if trial.plots is not None:
        draw_quality(shown, anchors.train, trial.plots)
    return Report(
        "quality",
        f"{len(pieces)} pieces, {len(model.windows)} windows of {WINDOW_BARS} bars",
        tuple(shown),
        lines_of(columns, GOALS | _section_goals(anchors.train)),
        _remarks(model),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """Compares portraits with the training songs, each as if it had no more windows and stretches than the model:
    the tests and the distance depend on how many there are."""

    train: Portrait
    space: Space
    windows: int
    stretches: int
    seed: int

    def column(self, here: Portrait) -> dict[str, float]:
        rng = np.random.default_rng(self.seed)
        windows = here.heard_windows().drawn(self.windows, rng)
        found = {"told_apart": told_apart(windows, self.train.heard_windows(), self.seed)}
        if self.stretches >= FOLDS:
            stretches = here.heard_structure().drawn(self.stretches, rng)
            found["told_apart_by_structure"] = told_apart(stretches, self.train.heard_structure(), self.seed)
        found |= distances(here, self.train, self.space, min(FRECHET_WINDOWS, self.windows), self.seed)
        if self.stretches:
            means = dict(zip(structure_names(), here.structure.astype(np.float64).mean(0).tolist(), strict=True))
            found |= {name: means[name] for name in (*SECTIONS, *LIKENESS)}
        return found | self._figures(here)

    def _figures(self, here: Portrait) -> dict[str, float]:
        """Means over windows, and how far they lie from the training songs' in their standard deviations."""
        own, real = here.figures.astype(np.float64), self.train.figures.astype(np.float64)
        off = np.abs(own.mean(0) - real.mean(0)) / np.maximum(real.std(0), 1e-6)
        places = [FIGURES.index(name) for name in SHOWN_FIGURES]
        means = {FIGURES[place]: float(own[:, place].mean()) for place in places}
        return means | {f"{FIGURES[place]}_off": float(off[place]) for place in places}


def _section_goals(train: Portrait) -> dict[str, Goal]:
    """Nine tenths of how sectioned the training songs are, and each mean figure near theirs."""
    means = dict(zip(structure_names(), train.structure.astype(np.float64).mean(0).tolist(), strict=True))
    goals = {name: at_least(None, SECTION_SHARE * means[name]) for name in SECTIONS}
    return goals | {f"{name}_off": at_most(None, OFF) for name in SHOWN_FIGURES}


def _remarks(model: Portrait) -> tuple[str, ...]:
    remarks = ["told_apart: share of a classifier's answers that are right, 0.5 = like the training songs"]
    if len(model.windows) < LEAST_WINDOWS:
        remarks.append(
            f"{len(model.windows)} windows are fewer than {LEAST_WINDOWS}: told_apart is too kind; hear more pieces"
        )
    if len(model.windows) < FRECHET_WINDOWS:
        remarks.append(f"frechet grows as windows get fewer; its goal is for {FRECHET_WINDOWS}")
    if not len(model.structure):
        remarks.append(f"structure is judged on stretches of {STRUCTURE_BARS} bars; these pieces are shorter")
    return tuple(remarks)
