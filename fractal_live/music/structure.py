"""How music returns to itself: likeness of bars that lie apart, repeated sections, and what a long set does."""

from __future__ import annotations

import numpy as np

from fractal_live.music.excerpt import (
    BAR_STEPS,
    BEAT_STEPS,
    Excerpt,
    FloatArray,
    chroma_by,
    rhythm_by_bar,
    struck_by_bar,
)

LAGS = (1, 2, 3, 4, 6, 8, 12, 16)
STRUCTURE_BARS = 32
SECTION_BEATS = {"short": (8, 16), "mid": (16, 32), "long": (32, 64)}

SMOOTHED_BEATS = 4
KEPT_SHARE = 0.2
PENALTY = -1.0

RETURN, NOVEL, STUCK = 0.7, 0.3, 0.95
RETURN_BARS = 16


def likeness(rows: FloatArray) -> FloatArray:
    """Cosine of every row with every other: (bars, bars). NaN where a row is nothing."""
    length = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(length > 0, length, np.nan)[:, None]
    return np.asarray(unit @ unit.T)


def by_lag(alike: FloatArray, lags: tuple[int, ...] = LAGS) -> FloatArray:
    """Mean likeness of bars so many apart; 0 where none are: (lags,)."""
    result = np.zeros(len(lags))
    for place, lag in enumerate(lags):
        found = np.diagonal(alike, lag)
        found = found[np.isfinite(found)]
        result[place] = found.mean() if len(found) else 0.0
    return result


def structure_names() -> tuple[str, ...]:
    """What the numbers of `structure_features` are, in their order."""
    kinds = ("onset", "rhythm", "chroma")
    lagged = [f"{kind}_lag_{lag}" for kind in kinds for lag in LAGS]
    return (*lagged, *(f"si_{name}" for name in SECTION_BEATS), "best_before", "returning", "novel", "repeated")


def structure_features(excerpt: Excerpt) -> FloatArray:
    """Only how the bars of an excerpt of at least 32 relate, nothing of what they hold: see `structure_names`."""
    struck = likeness(struck_by_bar(excerpt))
    rhythm = likeness(np.minimum(rhythm_by_bar(excerpt), 1))
    chroma = likeness(chroma_by(excerpt, BAR_STEPS))
    lags = [by_lag(alike) for alike in (struck, rhythm, chroma)]
    best = best_before(struck, 1)[1:]
    counted = [best.mean(), (best >= RETURN).mean(), (best < NOVEL).mean(), (best > 1 - 1e-6).mean()]
    return np.concatenate([*lags, sectioning(excerpt), counted])


def best_before(alike: FloatArray, least_apart: int) -> FloatArray:
    """Of each bar the greatest likeness to a bar at least so many before it; 0 where there is none: (bars,)."""
    apart = np.subtract.outer(np.arange(len(alike)), np.arange(len(alike)))
    earlier = np.where(apart >= least_apart, np.nan_to_num(alike), 0.0)
    best: FloatArray = earlier.max(axis=1)
    return best


def sectioning(excerpt: Excerpt) -> FloatArray:
    """The structureness indicator (Wu and Yang 2020, "The jazz transformer on the front line") on notes instead of
    audio: for short, mid and long stretches of beats, how well the best one explains the piece by returning: (3,).
    """
    grid = self_similarity(excerpt)
    result = np.zeros(len(SECTION_BEATS))
    for place, (low, high) in enumerate(SECTION_BEATS.values()):
        for beats in range(low, min(high, len(grid)) + 1, 2):
            result[place] = max(result[place], fitness(grid, beats).max())
    return result


def self_similarity(excerpt: Excerpt) -> FloatArray:
    """Likeness of the harmony of every beat with every other, smoothed along time; of it the top fifth stays, the
    rest is a penalty; the diagonal is 1: (beats, beats)."""
    chroma = chroma_by(excerpt, BEAT_STEPS)
    chroma = chroma / np.maximum(np.linalg.norm(chroma, axis=1, keepdims=True), 1e-9)
    smooth = np.stack([np.convolve(row, np.ones(SMOOTHED_BEATS) / SMOOTHED_BEATS, mode="same") for row in chroma.T])
    grid = np.nan_to_num(likeness(smooth.T))
    edge = np.quantile(grid, 1 - KEPT_SHARE)
    kept = grid >= max(edge, 1e-9)
    top = grid.max()
    scaled = (grid - edge) / (top - edge) if top > edge else np.ones_like(grid)
    grid = np.where(kept, scaled, PENALTY)
    np.fill_diagonal(grid, 1.0)
    return grid


def fitness(grid: FloatArray, beats: int) -> FloatArray:
    """How well each stretch of so many beats explains the whole: (starts,), 0 to 1. The best non-overlapping paths
    through the stretch's band of the self-similarity are found; fitness joins how strong they are with how much
    they cover, without the stretch's own trivial path (Mueller, Jiang and Grosche 2013)."""
    total = len(grid)
    starts = np.arange(0, total - beats + 1, 2)
    band = grid[:, starts[:, None] + np.arange(beats)].transpose(1, 0, 2)  # (S, N, M)
    score, cells, covered = best_paths(band)
    strength = (score - beats) / np.maximum(cells, 1)
    coverage = (covered - beats) / total
    both = np.clip(strength, 0, None) + np.clip(coverage, 0, None)
    product = 2 * np.clip(strength, 0, None) * np.clip(coverage, 0, None)
    return np.asarray(np.divide(product, both, out=np.zeros_like(both), where=both > 0))


def best_paths(band: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each band (S, N, M) the best family of paths from its first column to its last, moving by (1, 1), (1, 2) or
    (2, 1): its score, the cells it visits, the rows it covers, each (S,)."""
    count, total, width = band.shape
    # Each state holds score, cells and rows; column 0 is "between two paths", column m the cell m - 1.
    never = np.full((3, count, width + 1), -1e9)
    never[1:] = 0.0
    before, last = never, never.copy()
    last[0, :, 0] = 0.0
    for row in range(total):
        now = never.copy()
        ended = last[0, :, width] > last[0, :, 0]
        now[:, :, 0] = np.where(ended, last[:, :, width], last[:, :, 0])
        now[:, :, 1] = now[:, :, 0]
        straight, steep, flat = last[:, :, 1:width], last[:, :, : width - 1], before[:, :, 1:width]
        is_steep = steep[0] > straight[0]
        is_steep[:, 0] = False  # a path begins with the stretch's first beat
        best = np.where(is_steep, steep, straight)
        is_flat = flat[0] > best[0]
        best = np.where(is_flat, flat, best)
        best[2] += is_flat  # the row that a flat move passes over
        now[:, :, 2:] = best
        now[0, :, 1:] += band[:, row]
        now[1, :, 1:] += 1
        now[2, :, 1:] += 1
        before, last = last, now
    ended = last[0, :, width] > last[0, :, 0]
    score, cells, rows = np.where(ended, last[:, :, width], last[:, :, 0])
    return score, cells, rows


def long_term(excerpt: Excerpt, after_bar: int = 0) -> dict[str, float]:
    """What a long set does, bars before `after_bar` being only memory: `theme_return` share of bars alike one at
    least 16 before, `novel` share unlike all before, `repeated` share struck exactly before, `stuck` share nearly
    the bar just before, `harmony_drift` mean cosine of the pitch classes of neighbouring 16-bar stretches,
    `density_sd` of onsets per bar over 8-bar stretches."""
    alike = likeness(struck_by_bar(excerpt))
    back, best = best_before(alike, RETURN_BARS)[after_bar:], best_before(alike, 1)[after_bar:]
    stuck = np.nan_to_num(np.concatenate([[0.0], np.diagonal(alike, 1)]))[after_bar:]
    classes = chroma_by(excerpt, 16 * BAR_STEPS)
    neighbours = np.diagonal(likeness(classes), 1)
    density = rhythm_by_bar(excerpt).sum(1)
    stretches = density[: len(density) // 8 * 8].reshape(-1, 8).mean(1)
    return {
        "theme_return": float((back >= RETURN).mean()),
        "novel": float((best < NOVEL).mean()),
        "repeated": float((best > 1 - 1e-6).mean()),
        "stuck": float((stuck > STUCK).mean()),
        "harmony_drift": float(np.nanmean(neighbours)) if np.isfinite(neighbours).any() else 1.0,
        "density_sd": float(stretches.std()),
    }
