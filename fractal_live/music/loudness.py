"""Notes brought to a loudness that was asked for, their accents kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fractal_live.music.notes import Note

SOFTEST, LOUDEST = 1, 127


def levelled(notes: Sequence[Note], loudness: float) -> tuple[Note, ...]:
    """The notes, all louder or all softer by one amount, so that their mean velocity is `loudness` (1 to 127) to
    within a half; what would leave MIDI's range stays at its end and the others go further."""
    if not notes:
        return ()
    velocities = [note.velocity for note in notes]

    def off(by: int) -> float:
        return abs(sum(_moved(velocity, by) for velocity in velocities) - loudness * len(velocities))

    nearest = min(range(SOFTEST - LOUDEST, LOUDEST - SOFTEST + 1), key=lambda by: (off(by), abs(by)))
    return tuple(replace(note, velocity=_moved(note.velocity, nearest)) for note in notes)


def _moved(velocity: int, by: int) -> int:
    return min(max(velocity + by, SOFTEST), LOUDEST)
