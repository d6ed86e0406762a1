"""Note n-grams and bar patterns as hashes: has this been played before, in whatever key?

A hash tells whether it is the same, never what it was: a set of them holds no music.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fractal_live.music.excerpt import BAR_STEPS, PITCH, STEP, Excerpt, IntArray

LENGTHS = (8, 12, 16, 24)
"""How many moves from note to note the n-grams hold."""

LONGEST_GAP = 16
PATTERN_NOTES = 5
"""A bar with fewer notes is no pattern: it would be found anywhere."""

Hashes = npt.NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def moves(excerpt: Excerpt) -> IntArray:
    """From each note to the next: steps on (at most 16) and semitones up, as one number: (N - 1,)."""
    gap = np.minimum(np.diff(excerpt.notes[:, STEP]), LONGEST_GAP)
    return gap * 256 + np.diff(excerpt.notes[:, PITCH]) + 128


def note_ngrams(excerpt: Excerpt, length: int) -> Hashes:
    """One hash for every run of so many moves, the same in every key and at every place: (N - length,)."""
    return _windows_hashed(moves(excerpt).astype(np.uint64), length)


def _windows_hashed(values: Hashes, width: int) -> Hashes:
    count = len(values) - width + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    total = np.full(count, np.uint64(width), dtype=np.uint64)
    for place in range(width):
        total = _mixed(total ^ values[place : place + count])
    return total


def _mixed(values: Hashes) -> Hashes:
    """Every bit of the input moves every bit of the result (Steele, Lea and Flood 2014, SplitMix64)."""
    with np.errstate(over="ignore"):
        values = values + _MULTIPLIERS[0]
        values = (values ^ (values >> np.uint64(30))) * _MULTIPLIERS[1]
        values = (values ^ (values >> np.uint64(27))) * _MULTIPLIERS[2]
    return values ^ (values >> np.uint64(31))


def bar_patterns(excerpt: Excerpt) -> Hashes:
    """One hash for every bar with notes enough: the set of (step in the bar, semitones above its lowest)."""
    found = []
    bar = excerpt.notes[:, STEP] // BAR_STEPS
    for index in range(excerpt.bars):
        notes = excerpt.notes[bar == index]
        if len(notes) >= PATTERN_NOTES:
            pattern = notes[:, STEP] % BAR_STEPS * 128 + notes[:, PITCH] - notes[:, PITCH].min()
            found.append(_windows_hashed(np.unique(pattern).astype(np.uint64), len(np.unique(pattern))))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)


def onset_f1(excerpt: Excerpt, truth: Excerpt) -> float:
    """F1 of the onsets (step, pitch) against the truth's; 1 where neither has any."""
    here = {(step, pitch) for step, pitch in excerpt.notes[:, : PITCH + 1].tolist()}
    there = {(step, pitch) for step, pitch in truth.notes[:, : PITCH + 1].tolist()}
    if not here and not there:
        return 1.0
    return 2 * len(here & there) / (len(here) + len(there))
