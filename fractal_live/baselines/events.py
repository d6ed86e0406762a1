"""Music as REMI tokens: Bar, Position, then Pitch, Velocity and Duration of each note, lowest first.

The tokens are MidiTok's (Huang and Yang 2020, Pop Music Transformer; Fradet et al. 2021), with the velocity bins
and duration classes of the fractal in place of its own, so that both systems say the same notes. A REMI bar has 16
steps; a longer bar is written as several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fractal_live.model.config import (
    BAR_STEPS,
    DURATIONS,
    VELOCITY_BINS,
    duration_class,
    velocity_bin,
    velocity_of_bin,
)
from fractal_live.model.grid import IntArray, limit_chords
from fractal_live.music.meter import STEPS_PER_BEAT, TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note, on_grid

PITCHES = 128
MOST_NOTES_PER_STEP = 10


class TokensError(ValueError):
    """The tokenizer is not there, or is not the one these files were written for."""


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """MidiTok's REMI whose values are the fractal's. Raises TokensError where MidiTok is not installed."""
    try:
        from miditok import REMI, TokenizerConfig  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise TokensError(
            "the event transformer's tokens need MidiTok: pip install 'fractal-live[baselines]'"
        ) from error

    class FractalRemi(REMI):  # type: ignore[misc,unused-ignore]
        """MidiTok spaces velocities so that none is a bin's middle, and no table of resolutions of its has our
        long durations."""

        def _create_durations_tuples(self) -> list[tuple[int, int, int]]:
            return [(*divmod(steps, STEPS_PER_BEAT), STEPS_PER_BEAT) for steps in DURATIONS]

        def _create_base_vocabulary(self) -> list[str]:
            self.velocities = np.array([velocity_of_bin(index) for index in range(VELOCITY_BINS)], dtype=np.intc)
            words: list[str] = super()._create_base_vocabulary()
            return words

    longest = -(-max(DURATIONS) // STEPS_PER_BEAT)
    config = TokenizerConfig(
        pitch_range=(0, PITCHES - 1),
        beat_res={(0, longest): STEPS_PER_BEAT},
        num_velocities=VELOCITY_BINS,
        special_tokens=["PAD", "BOS"],
        use_pitchdrum_tokens=False,
        use_time_signatures=False,
    )
    return FractalRemi(config)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which id is which token: `pitch`, `velocity`, `duration` and `position` are the first ids of as many in a row
    as there are values. `words` names all of them in order."""

    words: tuple[str, ...]
    pad: int
    begin: int
    bar: int
    pitch: int
    velocity: int
    duration: int
    position: int

    @property
    def size(self) -> int:
        return len(self.words)


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The tokenizer's, checked: every value of ours is there, in order. Raises TokensError."""
    ids: dict[str, int] = tokenizer().vocab
    words = tuple(sorted(ids, key=lambda word: ids[word]))
    durations = [".".join(map(str, (*divmod(steps, STEPS_PER_BEAT), STEPS_PER_BEAT))) for steps in DURATIONS]
    wanted = {
        "Pitch": [str(pitch) for pitch in range(PITCHES)],
        "Velocity": [str(velocity_of_bin(index)) for index in range(VELOCITY_BINS)],
        "Duration": durations,
        "Position": [str(step) for step in range(BAR_STEPS)],
    }
    first: dict[str, int] = {}
    for kind, values in wanted.items():
        first[kind] = ids.get(f"{kind}_{values[0]}", 0)
        row = tuple(f"{kind}_{value}" for value in values)
        if words[first[kind] : first[kind] + len(row)] != row:
            raise TokensError(f"this MidiTok names its {kind} tokens otherwise than the one this was written for")
    return Vocabulary(
        words,
        ids["PAD_None"],
        ids["BOS_None"],
        ids["Bar_None"],
        first["Pitch"],
        first["Velocity"],
        first["Duration"],
        first["Position"],
    )


def quantised(notes: IntArray) -> IntArray:
    """Notes of the grid (N, 4: step, pitch, velocity, duration in steps), as (N, 4) of step, pitch, velocity bin,
    duration class, no step with more than the fractal's leaf can say."""
    kept = limit_chords(notes, MOST_NOTES_PER_STEP)
    return np.stack([kept[:, 0], kept[:, 1], velocity_bin(kept[:, 2]), duration_class(kept[:, 3])], axis=1)


def tokens_from_notes(notes: IntArray, starts: Sequence[int], is_closed: bool = True) -> IntArray:
    """The tokens of consecutive REMI bars that begin at these steps. notes (N, 4) as `quantised`, sorted by step,
    then pitch, none before the first bar. `is_closed` puts the Bar of what follows behind."""
    words = vocabulary()
    bar = np.searchsorted(starts, notes[:, 0], side="right") - 1
    step = notes[:, 0] - np.asarray(starts, dtype=np.int64)[bar]
    assert not len(notes) or (bar.min() >= 0 and step.max() < BAR_STEPS), "notes lie inside REMI bars"
    place = bar * (BAR_STEPS + 1) + step + 1
    keys, ids = [], []

    def put(place_key: IntArray, pitch: IntArray | int, order: int, token: IntArray) -> None:
        keys.append((place_key * (PITCHES + 1) + pitch) * 3 + order)
        ids.append(token)

    bars = np.arange(len(starts) + is_closed, dtype=np.int64)
    put(bars * (BAR_STEPS + 1), 0, 0, np.full(len(bars), words.bar))
    struck, first = np.unique(place, return_index=True)
    put(struck, 0, 0, words.position + step[first])
    put(place, notes[:, 1] + 1, 0, words.pitch + notes[:, 1])
    put(place, notes[:, 1] + 1, 1, words.velocity + notes[:, 2])
    put(place, notes[:, 1] + 1, 2, words.duration + notes[:, 3])
    order = np.argsort(np.concatenate(keys), kind="stable")
    found: IntArray = np.concatenate(ids)[order].astype(np.int64)
    return found


def tokens_from_bars(bars: Sequence[Bar]) -> IntArray:
    """The tokens of whole bars in a row, and the Bar of the next one."""
    rows: list[tuple[int, int, int, int]] = []
    starts: list[int] = []
    at = 0
    for bar in bars:
        steps = bar.meter.steps_per_bar
        starts.extend(range(at, at + steps, BAR_STEPS))
        rows.extend(
            (at + n.onset_tick // TICKS_PER_STEP, n.pitch, n.velocity, n.duration_ticks // TICKS_PER_STEP)
            for n in on_grid(bar).notes
        )
        at += steps
    notes = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return tokens_from_notes(quantised(notes), starts)


def notes_from_tokens(tokens: Sequence[int], starts: Sequence[int]) -> tuple[Note, ...]:
    """The notes that whole REMI bars beginning at these steps hold, onsets in ticks from step 0, sorted. The first
    token is the first bar's Bar; what is not a whole note is left out."""
    words = vocabulary()
    notes: list[Note] = []
    bar, onset, pitch, velocity = -1, 0, 0, 0
    for token in tokens:
        if token == words.bar:
            bar += 1
        elif words.position <= token < words.position + BAR_STEPS:
            onset = starts[bar] + token - words.position
        elif words.pitch <= token < words.pitch + PITCHES:
            pitch = token - words.pitch
        elif words.velocity <= token < words.velocity + VELOCITY_BINS:
            velocity = velocity_of_bin(token - words.velocity)
        elif words.duration <= token < words.duration + len(DURATIONS):
            steps = DURATIONS[token - words.duration]
            notes.append(Note(onset * TICKS_PER_STEP, pitch, steps * TICKS_PER_STEP, velocity))
    return tuple(sorted(notes))
