"""Which of several attempts at the same bars to keep: the one that the others agree with most.

Minimum Bayes risk (S. Kumar and W. Byrne, 2004): where the attempts are draws from what a model believes, this one
is expected to be nearest to whatever stood there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fractal_live.music.distances import cosine
from fractal_live.music.notes import Bar
from fractal_live.music.request import Generator, InfillRequest

CANDIDATES = 8
SEED_STRIDE = 7_919  # between the attempts at a gap; seeds of neighbouring pieces shall not meet


def mended(generator: Generator, request: InfillRequest, candidates: int = CANDIDATES) -> tuple[Bar, ...]:
    """The piece with its missing bars made, the most agreed of so many attempts."""
    attempts = [
        generator.infill(replace(request, seed=request.seed + SEED_STRIDE * number)) for number in range(candidates)
    ]
    made = [[bar for bar, gone in zip(bars, request.is_missing, strict=True) if gone] for bars in attempts]
    return attempts[most_agreed(made)] if any(request.is_missing) else attempts[0]


def most_agreed(attempts: Sequence[Sequence[Bar]]) -> int:
    """The number of the attempt with the greatest sum of likenesses to all others; each is the same bars. Of equals
    the first. Raises ValueError without attempts."""
    if not attempts:
        raise ValueError("there is nothing to choose from")
    agreement = [
        sum(likeness(here, there) for place, there in enumerate(attempts) if place != own)
        for own, here in enumerate(attempts)
    ]
    return int(np.argmax(agreement))


def likeness(here: Sequence[Bar], there: Sequence[Bar]) -> float:
    """0 to 3, the mean over the bars: F1 of their onsets, and the cosines of how many notes each pitch class has and
    of the places on which notes begin. Two empty bars are alike in everything."""
    return float(np.mean([_alike(one, other) for one, other in zip(here, there, strict=True)]))


def _alike(here: Bar, there: Bar) -> float:
    if not here.notes or not there.notes:
        return 0.0 if here.notes or there.notes else 3.0
    onsets, their_onsets = ({(note.onset_tick, note.pitch) for note in bar.notes} for bar in (here, there))
    places, their_places = ({note.onset_tick for note in bar.notes} for bar in (here, there))
    classes, their_classes = (
        np.bincount([n.pitch % 12 for n in bar.notes], minlength=12).astype(float) for bar in (here, there)
    )
    f1 = 2 * len(onsets & their_onsets) / (len(onsets) + len(their_onsets))
    rhythm = len(places & their_places) / math.sqrt(len(places) * len(their_places))
    return f1 + rhythm + cosine(classes, their_classes)
