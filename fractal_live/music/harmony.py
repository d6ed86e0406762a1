"""Chroma, keys and scales: what pitch classes sound, and which key explains them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar
from fractal_live.music.scales import SCALES

HALF_BAR_STEPS = 8

Chroma = npt.NDArray[np.float32]


def chroma_of_bar(bar: Bar) -> Chroma:
    """Per half bar (eight steps; the last one of a bar may be shorter) how long each pitch class
    sounds, the loudest class scaled to 1: (halves, 12). Silence is all zeros. Counts the bar's own
    notes up to the bar line."""
    halves = -(-bar.meter.steps_per_bar // HALF_BAR_STEPS)
    width = HALF_BAR_STEPS * TICKS_PER_STEP
    chroma = np.zeros((halves, 12), dtype=np.float32)
    for note in bar.notes:
        end = min(note.onset_tick + note.duration_ticks, bar.meter.ticks_per_bar)
        for half in range(note.onset_tick // width, -(-end // width)):
            overlap = min(end, (half + 1) * width) - max(note.onset_tick, half * width)
            chroma[half, note.pitch % 12] += overlap
    return scaled(chroma)


def scaled(chroma: Chroma) -> Chroma:
    """Each row divided by its maximum; a silent row stays zero."""
    peak = chroma.max(axis=-1, keepdims=True)
    result: Chroma = np.divide(chroma, peak, out=np.zeros_like(chroma), where=peak > 0)
    return result


def scale_consistency(pitches: npt.ArrayLike) -> float:
    """The largest share of notes that one of the 24 major and natural-minor scales explains, 0 to 1
    (Mogren 2016, as MusPy defines it). No notes: 1."""
    counts = np.bincount(np.asarray(pitches, dtype=int) % 12, minlength=12)
    if counts.sum() == 0:
        return 1.0
    shares = [
        counts[[(root + degree) % 12 for degree in scale]].sum()
        for root in range(12)
        for scale in (SCALES["major"], SCALES["minor"])
    ]
    return float(max(shares) / counts.sum())
