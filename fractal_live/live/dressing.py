"""Bars as they are to sound: what the performer does to notes that are made already."""

from __future__ import annotations

from dataclasses import replace

from fractal_live.music.notes import Bar, Note, without_overlaps


def dressed(bar: Bar, transpose: int, velocity: float) -> Bar:
    """The bar moved by so many semitones, its velocities scaled; a pitch that would leave the range of MIDI stays
    in it by octaves."""
    if transpose == 0 and velocity == 1:
        return bar
    notes = [
        Note(
            note.onset_tick,
            _in_range(note.pitch + transpose),
            note.duration_ticks,
            min(127, max(1, round(note.velocity * velocity))),
        )
        for note in bar.notes
    ]
    return replace(bar, notes=without_overlaps(notes))


def _in_range(pitch: int) -> int:
    while pitch < 0:
        pitch += 12
    while pitch > 127:
        pitch -= 12
    return pitch
