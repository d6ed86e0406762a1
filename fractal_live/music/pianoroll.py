"""Bars as pictures: the piano roll (T, 128, 3) of onset, sustain and velocity, and two views of it.

Onset marks the step where a note begins, sustain every step on which it sounds, velocity (1 to
127) the same steps. With the onsets kept apart, a restruck pitch is two notes, not one long one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fractal_live.music.meter import FOUR_FOUR, TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar, Note

PITCHES = 128
ONSET, SUSTAIN, VELOCITY = 0, 1, 2

Roll = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]


def roll_from_bar(bar: Bar) -> Roll:
    """The roll of a bar whose notes lie on the grid: uint8, (T, 128, 3). T is the bar's length in
    steps, or more where a note sounds past the bar line. Raises ValueError off the grid."""
    ends = [note.onset_tick + note.duration_ticks for note in bar.notes]
    if any(note.onset_tick % TICKS_PER_STEP for note in bar.notes) or any(end % TICKS_PER_STEP for end in ends):
        raise ValueError(f"bar {bar.index} is not on the grid of {TICKS_PER_STEP} ticks; use on_grid first")
    steps = max([bar.meter.steps_per_bar, *(end // TICKS_PER_STEP for end in ends)])
    roll = np.zeros((steps, PITCHES, 3), dtype=np.uint8)
    for note in bar.notes:
        onset = note.onset_tick // TICKS_PER_STEP
        end = onset + note.duration_ticks // TICKS_PER_STEP
        if roll[onset:end, note.pitch, SUSTAIN].any():
            roll[onset:, note.pitch, 1:] = 0
        roll[onset, note.pitch, ONSET] = 1
        roll[onset:end, note.pitch, SUSTAIN] = 1
        roll[onset:end, note.pitch, VELOCITY] = note.velocity
    return roll


def bar_from_roll(roll: Roll, index: int = 0, meter: Meter = FOUR_FOUR, tempo_bpm: float = 120.0) -> Bar:
    """The bar that a roll shows. Inverse of `roll_from_bar` on the grid; sound without an onset
    before it (a tie from an earlier bar) belongs to that bar and is left out."""
    notes = []
    for step, pitch in np.argwhere(roll[:, :, ONSET]):
        end = step + 1
        while end < len(roll) and roll[end, pitch, SUSTAIN] and not roll[end, pitch, ONSET]:
            end += 1
        velocity = int(roll[step, pitch, VELOCITY])
        notes.append(Note(int(step) * TICKS_PER_STEP, int(pitch), int(end - step) * TICKS_PER_STEP, velocity))
    return Bar(index, tuple(sorted(notes)), meter, tempo_bpm)


def roll_of_bars(bars: tuple[Bar, ...]) -> Roll:
    """One roll for consecutive bars: (sum of their steps, 128, 3), ties drawn across the lines."""
    total = sum(bar.meter.steps_per_bar for bar in bars)
    roll = np.zeros((total, PITCHES, 3), dtype=np.uint8)
    start = 0
    for bar in bars:
        own = roll_from_bar(bar)[: total - start]
        struck = np.argwhere(own[:, :, ONSET])
        for step, pitch in struck:
            roll[start + step :, pitch, 1:] = 0
        window = roll[start : start + len(own)]
        np.maximum(window, own, out=window)
        start += bar.meter.steps_per_bar
    return roll


def value_form(roll: Roll) -> Picture:
    """FractalMIDI's picture of a roll, (128, T): 0 silence, (0, 1] velocity. A caller marks what is
    to be predicted with -1."""
    return (roll[:, :, VELOCITY].T / 127.0).astype(np.float32)


def fold(picture: Picture) -> Picture:
    """A (128, W) picture as (256, W/2): the second half of time stands below the first."""
    half = picture.shape[1] // 2
    if picture.shape[1] % 2:
        raise ValueError(f"a picture {picture.shape[1]} steps wide cannot be folded in two; use an even width")
    return np.concatenate([picture[:, :half], picture[:, half:]], axis=0)
