"""Does it hold for ten minutes? Long sets as on stage: whether themes return, whether anything creeps or sticks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fractal_live.model.piece import compose
from fractal_live.music.distances import frechet, rank_correlation
from fractal_live.music.excerpt import Excerpt, FloatArray, cuts, excerpt_of
from fractal_live.music.features import WINDOW_BARS, features
from fractal_live.music.metrics import FIGURES, figures
from fractal_live.music.request import GAIN_AT_REST, LATENT_DIMS, Generator
from fractal_live.music.structure import long_term
from fractal_live.train.judges.anchors import SONG_MEMORY_BARS, Anchors
from fractal_live.train.judges.portrait import Portrait
from fractal_live.train.judges.report import Line, Report, at_least, at_most, padded
from fractal_live.train.judges.trial import JudgeError, Trial

MINUTE_WINDOWS = 4
"""Thirty-two bars: a minute at 128 bpm."""

WITHIN = (10, 90)
REAL_SHARE = (WITHIN[1] - WITHIN[0]) / 100
"""How often real minutes lie there: no music should have to do better."""

RHO_LIMIT = 0.2
LEAST_BARS = 3 * MINUTE_WINDOWS * WINDOW_BARS


def live(generator: Generator, anchors: Anchors, trial: Trial) -> Report:
    """Judges `trial.pieces` sets of `trial.bars` bars, the latent at zero and its gain full, as a patch begins.
    Raises JudgeError for sets shorter than three minutes."""
    if trial.bars < LEAST_BARS:
        raise JudgeError(f"a set of {trial.bars} bars is too short to judge; ask for at least {LEAST_BARS} --bars")
    sets = []
    for index in range(trial.pieces):
        seed = trial.seed + index
        bars = compose(
            generator, trial.bars, seed, trial.sampling, latent=(0.0,) * LATENT_DIMS, latent_gain=GAIN_AT_REST
        ).bars
        trial.heard(bars, f"live-{seed:06d}")
        sets.append(excerpt_of(bars))
    return compare(sets, anchors)


def compare(sets: Sequence[Excerpt], anchors: Anchors) -> Report:
    """The report on sets of at least three minutes, wherever they come from."""
    lines = [
        *_song_lines(sets, anchors),
        *_minute_lines(sets, anchors.train),
        *_creep_lines(sets),
        _distance_line(sets, anchors),
    ]
    columns = ("model", "real mean", *(f"real p{share}" for share in WITHIN))
    return Report(
        "live",
        f"{len(sets)} sets of {sets[0].bars} bars",
        columns,
        padded(lines, len(columns)),
        (
            f"real: songs after bar {SONG_MEMORY_BARS}; theme_return: bars alike one at least 16 before; "
            "novel: unlike all before",
            f"minutes are of {MINUTE_WINDOWS * WINDOW_BARS} bars; creep: largest |Spearman| with time, mean over sets",
            "few or short sets creep by chance, and whole real songs do by about 0.36",
        ),
    )


def _song_lines(sets: Sequence[Excerpt], anchors: Anchors) -> list[Line]:
    """What sets do beside what whole songs do."""
    found = [long_term(music, SONG_MEMORY_BARS) for music in sets]
    songs = anchors.songs.astype(np.float64)
    lines, inside = [], []
    for column, name in enumerate(anchors.long_names):
        mean = float(np.mean([figures[name] for figures in found]))
        low, high = np.percentile(songs[:, column], WITHIN)
        inside.append(low <= mean <= high)
        lines.append(Line(name, (mean, float(songs[:, column].mean()), float(low), float(high))))
    return [*lines, Line("share of these inside real p10 to p90", (float(np.mean(inside)),), at_least(None, 1.0))]


def _windows(music: Excerpt) -> list[Excerpt]:
    return cuts(music, WINDOW_BARS)


def _minutes(rows: FloatArray) -> FloatArray:
    """Means of four windows each: (minutes, F)."""
    whole = rows[: len(rows) // MINUTE_WINDOWS * MINUTE_WINDOWS]
    mean: FloatArray = whole.reshape(-1, MINUTE_WINDOWS, rows.shape[1]).mean(1)
    return mean


def _minute_lines(sets: Sequence[Excerpt], train: Portrait) -> list[Line]:
    """In how many minutes each figure lies where those of most real minutes do."""
    real = _minutes(train.figures.astype(np.float64))
    low, high = np.percentile(real, WITHIN, axis=0)
    found = np.concatenate([_minutes(np.stack([figures(window) for window in _windows(music)])) for music in sets])
    inside = (found >= low - 1e-9) & (found <= high + 1e-9)
    lines = [
        Line(
            f"minutes {name}",
            (float(found[:, column].mean()), float(real[:, column].mean()), float(low[column]), float(high[column])),
        )
        for column, name in enumerate(FIGURES)
    ]
    shares = inside.mean(0)
    lines += [
        Line(
            "share of minutes and figures inside real p10 to p90",
            (float(shares.mean()), REAL_SHARE),
            at_least(None, REAL_SHARE),
        ),
        Line("the same, of the worst figure", (float(shares.min()),)),
    ]
    return lines


def _creep_lines(sets: Sequence[Excerpt]) -> list[Line]:
    """Spearman of every figure with time, mean over sets: near nothing in a set that stays itself."""
    rhos = []
    for music in sets:
        rows = np.stack([figures(window) for window in _windows(music)])
        time = np.arange(len(rows), dtype=np.float64)
        rhos.append([rank_correlation(time, rows[:, column]) for column in range(rows.shape[1])])
    mean = np.mean(rhos, axis=0)
    lines = [Line(f"creep {name}", (float(mean[column]),)) for column, name in enumerate(FIGURES)]
    return [*lines, Line("creep: largest", (float(np.abs(mean).max()),), at_most(None, RHO_LIMIT))]


def _distance_line(sets: Sequence[Excerpt], anchors: Anchors) -> Line:
    """How much farther from real music the last third of the sets is than the first: a minute alone holds too few
    windows for a distance."""
    space = anchors.space()
    real = space.place(anchors.train.windows.astype(np.float64))
    rows = [np.stack([features(window) for window in _windows(music)]) for music in sets]
    first = np.concatenate([row[: len(row) // 3] for row in rows])
    last = np.concatenate([row[-(len(row) // 3) :] for row in rows])
    ratio = frechet(space.place(last), real) / frechet(space.place(first), real)
    return Line("frechet of the last third over the first", (ratio,), at_most(None, 1.5))
