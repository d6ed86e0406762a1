"""Scales, keys and chords by name, as pitch classes from C up."""

from __future__ import annotations

import re
from functools import lru_cache

NOTE_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}

SCALES: dict[str, tuple[int, ...]] = {
    "chromatic": tuple(range(12)),
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "octatonic": (0, 1, 3, 4, 6, 7, 9, 10),
}
"""Steps above the key's own pitch class; the first keeps every pitch as it is."""

SCALE_NAMES = tuple(SCALES)

CHORDS: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "5": (0, 7),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2),
    "m9": (0, 3, 7, 10, 2),
    "add9": (0, 4, 7, 2),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "7sus4": (0, 5, 7, 10),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
    "aug": (0, 4, 8),
}
"""Steps above the root, by what follows its name: C, Am7, F#dim."""

ROOT_WEIGHT = 1.0
TONE_WEIGHT = 0.7
BASS_WEIGHT = 1.0


def key_named(text: str) -> int:
    """The pitch class 0 to 11 of a note's name, such as C, F# or Eb. Raises ValueError."""
    root, rest = _root_of(text)
    if rest:
        raise ValueError(f"{text!r} is no key; allowed: {', '.join(NOTE_NAMES)}")
    return root


def chord_chroma(text: str) -> tuple[float, ...]:
    """How strongly each pitch class sounds in a chord, 12 numbers 0 to 1: the root 1, the others less. `text` is a
    root with a kind, and a bass after a slash: C, Am7, G7/B. Raises ValueError with what is allowed."""
    name, _, bass = text.partition("/")
    root, kind = _root_of(name)
    if kind not in CHORDS:
        kinds = ", ".join(kind or "(major)" for kind in CHORDS)
        raise ValueError(f"{text!r} is no chord; a root such as C or F#, and one of: {kinds}")
    weights = [0.0] * 12
    for step in CHORDS[kind]:
        weights[(root + step) % 12] = TONE_WEIGHT
    weights[root] = ROOT_WEIGHT
    if bass:
        weights[key_named(bass)] = BASS_WEIGHT
    return tuple(weights)


def in_scale(pitch: int, key: int, scale: int, low: int = 0, high: int = 127) -> int:
    """The nearest pitch of a scale, the lower of two equally near; `key` is a pitch class, `scale` a place in
    SCALE_NAMES. Stays in `low` to `high` where these hold a pitch of the scale, else in 0 to 127."""
    own = _pitches(key, scale)
    inside = [there for there in own if low <= there <= high]
    return min(inside or own, key=lambda there: (abs(there - pitch), there))


@lru_cache(maxsize=256)
def _pitches(key: int, scale: int) -> tuple[int, ...]:
    steps = SCALES[SCALE_NAMES[scale]]
    return tuple(pitch for pitch in range(128) if (pitch - key) % 12 in steps)


def _root_of(text: str) -> tuple[int, str]:
    """A note's pitch class and what follows its name."""
    found = re.fullmatch(r"([A-Ga-g])([#b♯♭]?)(.*)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} does not begin with a note's name; allowed: {', '.join(NOTE_NAMES)}")
    letter, accidental, rest = found.groups()
    return (LETTERS[letter.upper()] + ACCIDENTALS[accidental]) % 12, rest
