"""Calls to be answered: short melodies of two bars of 4/4, written for the tests."""

from __future__ import annotations

from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note

Call = tuple[Bar, ...]

# Sixteenths of two bars (x begins a note, - holds it, . is a rest) and the pitches of the notes in order.
WRITTEN = (
    ("x---x---x---x---|x-------x-------", (60, 62, 64, 65, 67, 64)),
    ("x-x-x-x-x---x---|x-x-x-x-x-------", (67, 69, 71, 72, 71, 67, 69, 67, 66, 64, 62)),
    ("x--x--x-x--x--x-|x--x--x-x-------", (57, 60, 64, 57, 60, 65, 57, 59, 62, 64)),
    ("..x-..x-..x-..x-|..x-..x-x-------", (70, 70, 68, 68, 66, 66, 63)),
    ("x-----x-x-----x-|x-----x-x-------", (62, 66, 69, 66, 67, 71, 69)),
    ("xxx.xxx.x---x---|xxx.xxx.x-------", (76, 75, 76, 74, 72, 74, 71, 69, 72, 71, 72, 69, 68, 69, 64)),
    ("x-------------x-|x-------------..", (65, 67, 68)),
    ("x---..x-x---..x-|x-x-x-x-x---....", (58, 61, 65, 68, 66, 65, 63, 61, 58)),
    ("....x---....x---|....x---x-------", (71, 73, 75, 73)),
    ("x-xxx-xxx-x-x---|x-xxx-xxx-------", (64, 64, 66, 68, 68, 69, 71, 69, 68, 64, 62, 62, 64, 66, 66, 64)),
    ("x--x--x--x--x-x-|x--x--x--x--....", (60, 63, 67, 70, 67, 63, 60, 63, 65, 67)),
    ("x-------x---x-x-|x---x---x-------", (69, 72, 71, 69, 68, 64, 69)),
)


def written_calls() -> tuple[Call, ...]:
    """Twelve calls, each in its own key and rhythm."""
    return tuple(_call(*call) for call in WRITTEN)


def _call(rhythm: str, pitches: tuple[int, ...]) -> Call:
    bars, left = [], list(pitches)
    for index, steps in enumerate(rhythm.split("|")):
        notes = []
        for step, mark in enumerate(steps):
            if mark == "x":
                held = len(steps[step + 1 :]) - len(steps[step + 1 :].lstrip("-"))
                notes.append(Note(step * TICKS_PER_STEP, left.pop(0), (1 + held) * TICKS_PER_STEP, 80))
        bars.append(Bar(index, tuple(notes)))
    assert not left and all(
        bar.meter.steps_per_bar == len(part) for bar, part in zip(bars, rhythm.split("|"), strict=True)
    )
    return tuple(bars)
