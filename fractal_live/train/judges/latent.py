"""Does the latent do anything? How much of the imagined plan it decides, and whether its faders do what they say.

Only plans are imagined here, no notes, save for how well notes follow a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from fractal_live.music.distances import correlation, rank_correlation
from fractal_live.music.excerpt import FloatArray
from fractal_live.music.plan import ATTRIBUTES, COLUMN, PLAN_BARS, PlanTable
from fractal_live.music.request import LATENT_DIMS, BarRequest, Generator
from fractal_live.train.judges.anchors import Anchors
from fractal_live.train.judges.asked import measured
from fractal_live.train.judges.pictures import draw_curves
from fractal_live.train.judges.playing import Wish, play
from fractal_live.train.judges.report import Goal, Line, Report, at_least, at_most
from fractal_live.train.judges.trial import JudgeError, Trial
from fractal_live.train.judges.two_sample import FOLDS, Heard, told_apart

SLIDERS = ("density level", "density slope", "register", "loudness", "tempo")
"""The first dimensions of the latent, in their order."""

SEEDS = 16
POINTS, REACH = 9, 2.0
PATHS = 3
REPEATED, TRANSMITTED, COLLAPSE_SEEDS = 8, 6, 3
PLAN_LAGS = (1, 2, 4, 8)

ETA_GOAL = at_least(0.8, 0.9)
SHAPE_GOAL = at_least(None, 0.7)
SLIDER_GOAL = at_least(0.9, 0.95)
SMOOTH_GOAL = at_most(2.5, 2.5)


@runtime_checkable
class Imagining(Generator, Protocol):
    """A generator that has a latent: it can say what plan it would unfold, (32, 6), without unfolding it."""

    def imagine(self, request: BarRequest) -> PlanTable: ...


def latent(generator: Generator, anchors: Anchors, trial: Trial) -> Report:
    """Judges `trial.pieces` latents drawn from the prior, sixteen seeds each; `trial.bars` does not matter, plans
    have 32. Raises JudgeError for fewer than five latents or a generator without one."""
    if trial.pieces < FOLDS:
        raise JudgeError(f"the latent judge needs at least {FOLDS} latents; ask for more --pieces")
    if not isinstance(generator, Imagining):
        raise JudgeError(f"{generator.checkpoint_id} has no latent to judge")
    spread = np.nanstd(anchors.plans.astype(np.float64), axis=(0, 1))
    mind = _Mind(generator, trial, np.maximum(spread, 1e-6))
    rng = np.random.default_rng(trial.seed)
    points = rng.standard_normal((trial.pieces, LATENT_DIMS))
    plans = mind.plans(points, 1.0)
    silent = mind.plans(points[: max(2, trial.pieces // 4)], 0.0)
    lines = [
        *_influence_lines(plans, silent, mind.spread),
        *_slider_lines(mind, trial),
        Line("smoothness between drawn latents: largest step over mean", (_smoothness(mind, points),), SMOOTH_GOAL),
        Line("same latent and seed, same plan", (mind.repeated(points[:REPEATED]),), at_least(1.0, 1.0)),
        *_collapse_lines(plans, anchors, trial.seed),
        *_transmission_lines(generator, plans, trial),
    ]
    return Report(
        "latent",
        f"{trial.pieces} latents, {SEEDS} seeds each",
        ("model",),
        tuple(lines),
        (
            "eta2: share of the variance of imagined plans that the latent decides, attributes in real spread",
            f"sliders: Spearman of the fader with what it names, {POINTS} points from {-REACH:g} to {REACH:g}",
        ),
    )


def imagined(latents: int) -> int:
    """How many plans and pieces are heard when so many latents are judged: what a progress bar needs."""
    silent = max(2, latents // 4)
    paths = (len(SLIDERS) + min(PATHS, latents // 2)) * POINTS
    return latents + silent + paths + min(REPEATED, latents) + min(TRANSMITTED, latents)


class _Mind:
    """Asks for plans and measures how far apart they are. `spread` (6,) is the real standard deviation of each
    attribute, in which all is counted."""

    def __init__(self, generator: Imagining, trial: Trial, spread: FloatArray) -> None:
        self.generator, self.trial, self.spread = generator, trial, spread

    def plan(self, point: FloatArray, gain: float, seed: int) -> FloatArray:
        """(32, 6)."""
        request = BarRequest(
            0,
            latent=tuple(float(value) for value in point),
            latent_gain=gain,
            sampling=self.trial.sampling,
            seed=self.trial.seed + seed,
        )
        return np.asarray(self.generator.imagine(request)).astype(np.float64)

    def plans(self, points: Iterable[FloatArray], gain: float) -> FloatArray:
        """Every point with the same seeds: (points, seeds, 32, 6)."""
        found = []
        for point in points:
            found.append([self.plan(point, gain, seed) for seed in range(SEEDS)])
            self.trial.on_piece()
        return np.array(found)

    def path(self, points: Iterable[FloatArray]) -> FloatArray:
        """Mean plans along a path, in units: (points, 32, 6)."""
        mean: FloatArray = self.plans(points, 1.0).mean(1)
        return mean

    def roughness(self, path: FloatArray) -> float:
        """The largest step along a path over the mean one."""
        steps = np.sqrt(np.mean((np.diff(path, axis=0) / self.spread) ** 2, axis=(1, 2)))
        return float(steps.max() / steps.mean()) if steps.mean() > 0 else float("inf")

    def repeated(self, points: FloatArray) -> float:
        """The share of points whose plan comes out bit for bit a second time."""
        same = []
        for point in points:
            same.append(np.array_equal(self.plan(point, 1.0, 0), self.plan(point, 1.0, 0)))
            self.trial.on_piece()
        return float(np.mean(same))


def influence(plans: FloatArray) -> FloatArray:
    """Per attribute, the variance between latents of their mean over seeds, and all of it, summed over bars: (2, 6).
    plans (latents, seeds, 32, 6)."""
    between = plans.mean(1).var(0).sum(0)
    total = plans.reshape(-1, *plans.shape[2:]).var(0).sum(0)
    return np.stack([between, total])


def _eta(between: FloatArray, total: FloatArray, spread: FloatArray) -> float:
    """Of several attributes together, each in its real spread; 0 where nothing varies."""
    whole = (total / spread**2).sum()
    return float((between / spread**2).sum() / whole) if whole > 0 else 0.0


def _share(plans: FloatArray, spread: FloatArray) -> float:
    between, total = influence(plans)
    return _eta(between, total, spread)


def _influence_lines(plans: FloatArray, silent: FloatArray, spread: FloatArray) -> list[Line]:
    between, total = influence(plans)
    lines = [Line("eta2", (_eta(between, total, spread),), ETA_GOAL)]
    for column, attribute in enumerate(ATTRIBUTES):
        own = slice(column, column + 1)
        lines.append(Line(f"eta2 {attribute.name}", (_eta(between[own], total[own], spread[own]),)))
    shapes = plans - plans.mean(axis=2, keepdims=True)
    lines.append(Line("eta2 of the shape, each plan's mean taken off", (_share(shapes, spread),), SHAPE_GOAL))
    lines.append(Line("eta2 at gain 0", (_share(silent, spread),), at_most(0.05, 0.0)))
    return lines


def _slider_lines(mind: _Mind, trial: Trial) -> list[Line]:
    """A fader from end to end, everything else at zero."""
    positions = np.linspace(-REACH, REACH, POINTS)
    lines, curves, rough = [], {}, []
    for dimension, name in enumerate(SLIDERS):
        path = mind.path(position * np.eye(LATENT_DIMS)[dimension] for position in positions)
        curves[name] = slider_values(path)[name]
        lines.append(Line(f"slider {name}: Spearman", (rank_correlation(positions, curves[name]),), SLIDER_GOAL))
        rough.append(mind.roughness(path))
    if trial.plots is not None:
        draw_curves(positions.tolist(), curves, ("fader", "imagined"), trial.plots, "latent-sliders")
    return [*lines, Line("smoothness of sliders: largest step over mean", (max(rough),), SMOOTH_GOAL)]


def slider_values(plans: FloatArray) -> dict[str, FloatArray]:
    """What each fader names, measured on plans (points, 32, 6); the slope in onsets per bar and bar."""
    density = plans[:, :, COLUMN["density"]]
    place = np.arange(plans.shape[1]) - (plans.shape[1] - 1) / 2
    named = {name: plans[:, :, COLUMN[name]].mean(1) for name in ("register", "loudness", "tempo")}
    return {"density level": density.mean(1), "density slope": density @ place / (place @ place), **named}


def _smoothness(mind: _Mind, points: FloatArray) -> float:
    """The roughest of a few straight paths between two drawn latents."""
    shares = np.linspace(0, 1, POINTS)
    pairs = points[: 2 * PATHS].reshape(-1, 2, LATENT_DIMS) if len(points) >= 2 * PATHS else points[:2][None]
    return max(mind.roughness(mind.path((1 - share) * a + share * b for share in shares)) for a, b in pairs)


def _collapse_lines(plans: FloatArray, anchors: Anchors, seed: int) -> list[Line]:
    """Whether drawn latents give plans as different as songs are, and as songs have them."""
    real = anchors.plans.astype(np.float64)
    known = np.nanvar(real.reshape(-1, len(ATTRIBUTES)), axis=0)
    ratio = plans.reshape(-1, len(ATTRIBUTES)).var(0) / np.where(known > 0, known, np.nan)
    lines = [
        Line(f"variance of {name.name} over real", (float(value),))
        for name, value in zip(ATTRIBUTES, ratio, strict=True)
    ]
    off = float(abs(np.nanmean(ratio) - 1))
    lines.append(Line("mean variance, off real", (off,), at_most(None, 0.2)))
    drawn = plans[:, :COLLAPSE_SEEDS]
    shown = Heard(
        np.array([plan_features(plan) for plan in drawn.reshape(-1, PLAN_BARS, len(ATTRIBUTES))]),
        np.repeat(np.arange(len(drawn)), drawn.shape[1]),
    )
    heard = Heard(np.array([plan_features(plan) for plan in real]), np.arange(len(real)))
    return [*lines, Line("plans told apart from real", (told_apart(shown, heard, seed),), at_most(None, 0.65))]


def plan_features(plan: FloatArray) -> FloatArray:
    """Level, spread, slope and likeness to itself some bars on, of every attribute of a plan (32, 6): (42,)."""
    rows = []
    place = np.linspace(-1, 1, len(plan))
    for column in plan.T:
        known = np.where(np.isfinite(column), column, np.nanmean(column) if np.isfinite(column).any() else 0.0)
        shape = known - known.mean()
        own = [correlation(shape[:-lag], shape[lag:]) for lag in PLAN_LAGS]
        rows.append([known.mean(), known.std(), shape @ place / (place @ place), *own])
    return np.concatenate(rows)


def _transmission_lines(generator: Generator, plans: FloatArray, trial: Trial) -> list[Line]:
    """Whether what a latent decides is heard: its plans given, against the notes."""
    asked: list[PlanTable] = []
    played: list[PlanTable] = []
    for place, plan in enumerate(plans[:TRANSMITTED, 0]):
        table = plan.astype(np.float32)
        bars = play(generator, len(table), trial.seed + place, trial.sampling, Wish(table))
        trial.heard(bars, f"latent-{trial.seed + place:06d}")
        asked.append(table)
        played.append(measured(bars))
    wanted, heard = np.concatenate(asked).astype(np.float64), np.concatenate(played).astype(np.float64)
    names: Sequence[str] = ("density", "polyphony", "duration", "register", "loudness")
    goals: dict[str, Goal] = {"density": at_least(0.95, 0.97)}
    return [
        Line(
            f"transmission {name}: r of plan and notes",
            (correlation(wanted[:, COLUMN[name]], heard[:, COLUMN[name]]),),
            goals.get(name, at_least(0.85, 0.93)),
        )
        for name in names
    ]
