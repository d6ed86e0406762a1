"""Readable figures of an excerpt and histograms of many: what is counted when music is compared.

Where a figure has MusPy's name it is MusPy's definition, save groove and empty beats: MusPy counts a bar and a beat
past the end of the music, these do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fractal_live.music.excerpt import (
    BAR_STEPS,
    BEAT_STEPS,
    DURATION,
    PITCH,
    STEP,
    VELOCITY,
    Excerpt,
    FloatArray,
    IntArray,
    onset_roll,
    rhythm_by_bar,
    sounding_roll,
)
from fractal_live.music.harmony import scale_consistency

LONGEST = 64
OVERLAP_FIGURES = (
    "pitches_used",
    "classes_used",
    "pitch_range",
    "onsets_per_bar",
    "onset_gap",
    "melodic_step",
    "polyphony",
    "pitch_class_entropy",
    "scale_consistency",
    "duration",
)
"""The ten figures whose densities are overlapped; all but `melodic_step` (mean move of the highest note, semitones)
and `onset_gap` (mean steps between onsets) read as they say."""

FIGURES = (*OVERLAP_FIGURES, "pitch_entropy", "groove", "empty_beats", "velocity")


def figures(excerpt: Excerpt) -> FloatArray:
    """One number for each of FIGURES; without notes those that have none are 0."""
    notes = excerpt.notes
    pitch = notes[:, PITCH]
    steps = np.unique(notes[:, STEP])
    found = {
        "pitches_used": len(np.unique(pitch)),
        "classes_used": len(np.unique(pitch % 12)),
        "pitch_range": int(np.ptp(pitch)) if len(pitch) else 0,
        "onsets_per_bar": len(notes) / excerpt.bars,
        "onset_gap": _mean(np.diff(steps)),
        "melodic_step": _mean(np.abs(np.diff(top_line(excerpt)))),
        "polyphony": polyphony(excerpt),
        "pitch_class_entropy": entropy(np.bincount(pitch % 12, minlength=12)),
        "scale_consistency": scale_consistency(pitch),
        "duration": _mean(notes[:, DURATION]),
        "pitch_entropy": entropy(np.bincount(pitch, minlength=128)),
        "groove": groove(excerpt),
        "empty_beats": empty_beats(excerpt),
        "velocity": _mean(notes[:, VELOCITY]),
    }
    return np.array([found[name] for name in FIGURES], dtype=np.float64)


def _mean(values: IntArray) -> float:
    return float(values.mean()) if len(values) else 0.0


def entropy(counts: IntArray) -> float:
    """Of a histogram, in bits."""
    share = counts[counts > 0] / max(1, counts.sum())
    return float(-np.sum(share * np.log2(share)))


def polyphony(excerpt: Excerpt) -> float:
    """Mean pitches sounding on the steps where any does."""
    sounding = sounding_roll(excerpt).sum(1)
    return _mean(sounding[sounding > 0])


def groove(excerpt: Excerpt) -> float:
    """1 less the share of steps on which neighbouring bars differ in whether a note begins (Wu and Yang 2020)."""
    struck = rhythm_by_bar(excerpt) > 0
    if len(struck) < 2:
        return 1.0
    return float(1 - (struck[1:] != struck[:-1]).mean())


def empty_beats(excerpt: Excerpt) -> float:
    """The share of beats in which nothing sounds."""
    sounding = sounding_roll(excerpt).any(1).reshape(-1, BEAT_STEPS).any(1)
    return float(1 - sounding.mean())


def top_line(excerpt: Excerpt) -> IntArray:
    """The highest pitch of every step on which notes begin, in time."""
    last_of_step = np.append(np.diff(excerpt.notes[:, STEP]) > 0, True)[: len(excerpt.notes)]
    line: IntArray = excerpt.notes[last_of_step, PITCH]
    return line


def bass_line(excerpt: Excerpt) -> IntArray:
    """The lowest pitch of every step on which notes begin, in time."""
    first_of_step = np.append(True, np.diff(excerpt.notes[:, STEP]) > 0)[: len(excerpt.notes)]
    line: IntArray = excerpt.notes[first_of_step, PITCH]
    return line


def onset_histogram(excerpts: Sequence[Excerpt]) -> FloatArray:
    """Notes by the step of the bar on which they begin: (16,)."""
    return sum((rhythm_by_bar(excerpt).sum(0) for excerpt in excerpts), np.zeros(BAR_STEPS))


def pitch_histogram(excerpts: Sequence[Excerpt]) -> FloatArray:
    """Notes by pitch: (128,)."""
    return sum((onset_roll(excerpt).sum(0).astype(float) for excerpt in excerpts), np.zeros(128))


def duration_histogram(excerpts: Sequence[Excerpt]) -> FloatArray:
    """Notes by duration in steps, the last one holding all that are longer: (64,)."""
    total = np.zeros(LONGEST)
    for excerpt in excerpts:
        total += np.bincount(np.minimum(excerpt.notes[:, DURATION], LONGEST) - 1, minlength=LONGEST)
    return total
