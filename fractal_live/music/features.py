"""An excerpt as 142 numbers by which a judge, or a Frechet distance, tells one kind of music from another.

Nothing in them depends on the key a piece is in, nor on its exact notes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fractal_live.music.excerpt import (
    DURATION,
    PITCH,
    STEP,
    VELOCITY,
    BoolArray,
    Excerpt,
    FloatArray,
    chroma_by,
    onset_roll,
    rhythm_by_bar,
    sounding_roll,
    struck_by_bar,
)
from fractal_live.music.metrics import bass_line, entropy, top_line
from fractal_live.music.scales import SCALES
from fractal_live.music.structure import by_lag, likeness

WINDOW_BARS = 8
NEAR_LAGS = (1, 2, 4)
DURATION_EDGES = (2, 3, 4, 5, 7, 9, 13, 17)
GAP_EDGES = (2, 3, 4, 5, 7, 9, 17)
HALF_STEPS = 8

GROUPS = {
    "place": 16,
    "degree": 12,
    "register": 11,
    "duration": 9,
    "velocity": 10,
    "struck_together": 8,
    "sounding_together": 8,
    "chord_interval": 12,
    "bass_move": 12,
    "melody_move": 25,
    "gap": 8,
    "bar_likeness": 3,
    "rhythm_likeness": 3,
    "density": 3,
    "harmony": 2,
}
"""The groups of features and how many each holds, in their order."""

FEATURES = sum(GROUPS.values())


def feature_names() -> tuple[str, ...]:
    return tuple(f"{group}_{place}" for group, size in GROUPS.items() for place in range(size))


def features(excerpt: Excerpt) -> FloatArray:
    """(142,), see GROUPS. Shares sum to 1 within their group; silence is all zeros."""
    notes = excerpt.notes
    struck, sounding = onset_roll(excerpt), sounding_roll(excerpt)
    rhythm = rhythm_by_bar(excerpt)
    melody, bass = top_line(excerpt), bass_line(excerpt)
    per_bar = rhythm.sum(1)
    gaps = np.diff(np.unique(notes[:, STEP])).astype(np.int64)
    groups: list[FloatArray] = [
        _share(rhythm.sum(0)),
        _share(degrees(notes[:, PITCH])),
        _counted(notes[:, PITCH] // 12, 11),
        _counted(np.digitize(notes[:, DURATION], DURATION_EDGES), 9),
        _counted(notes[:, VELOCITY] * 10 // 128, 10),
        _counted(np.minimum(struck.sum(1), 7), 8),
        _counted(np.minimum(sounding.sum(1), 7), 8),
        _share(chord_intervals(struck, sounding)),
        _counted(np.diff(bass) % 12, 12),
        _counted(np.clip(np.diff(melody), -12, 12) + 12, 25),
        _counted(np.digitize(gaps, GAP_EDGES), 8),
        by_lag(likeness(struck_by_bar(excerpt)), NEAR_LAGS),
        by_lag(likeness(np.minimum(rhythm, 1)), NEAR_LAGS),
        np.array([per_bar.mean(), per_bar.std(), 1 - sounding.any(1).mean()]),
        by_lag(likeness(chroma_by(excerpt, HALF_STEPS)), (1,)),
        np.array([entropy(np.bincount(notes[:, PITCH] % 12, minlength=12))]),
    ]
    return np.concatenate(groups)


def _share(counts: npt.ArrayLike) -> FloatArray:
    counted = np.asarray(counts, dtype=np.float64)
    shares: FloatArray = counted / max(1.0, counted.sum())
    return shares


def _counted(values: npt.NDArray[np.int64], size: int) -> FloatArray:
    return _share(np.bincount(values, minlength=size))


def degrees(pitches: npt.NDArray[np.int64]) -> FloatArray:
    """How often each degree of the key sounds, the key being the major scale that explains most notes and, among
    equals, has most of them on its tonic and fifth: (12,)."""
    counts = np.bincount(pitches % 12, minlength=12)
    turned = np.stack([np.roll(counts, -root) for root in range(12)])
    fit = turned[:, list(SCALES["major"])].sum(1) + 0.01 * (turned[:, 0] + turned[:, 7])
    best: FloatArray = turned[int(np.argmax(fit))].astype(np.float64)
    return best


def chord_intervals(struck: BoolArray, sounding: BoolArray) -> FloatArray:
    """Pairs of pitches that sound on steps where a note begins, by their distance modulo the octave: (12,)."""
    chords = sounding[struck.any(1)].astype(np.float64)
    together = chords.T @ chords
    counts = np.array([np.trace(together, offset) for offset in range(1, 128)])
    by_class: FloatArray = np.bincount(np.arange(1, 128) % 12, weights=counts, minlength=12).astype(np.float64)
    return by_class
