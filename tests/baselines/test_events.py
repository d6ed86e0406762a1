"""The tokens say the fractal's notes, and are MidiTok's own."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fractal_live.baselines import events
from fractal_live.baselines.events import (
    TokensError,
    notes_from_tokens,
    quantised,
    tokenizer,
    tokens_from_bars,
    tokens_from_notes,
    vocabulary,
)
from fractal_live.model.config import BAR_STEPS, DURATIONS, VELOCITY_BINS, duration_class, velocity_bin
from fractal_live.music.meter import TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar, Note
from tests.baselines.small import needs_miditok, random_bars

needs_miditok()


def moved(bars: tuple[Bar, ...]) -> list[Note]:
    """All notes with onsets from the first bar on."""
    found, at = [], 0
    for bar in bars:
        found += [Note(at + n.onset_tick, n.pitch, n.duration_ticks, n.velocity) for n in bar.notes]
        at += bar.meter.ticks_per_bar
    return sorted(found)


@pytest.mark.parametrize("meter", [Meter(4, 4), Meter(3, 4), Meter(7, 8), Meter(5, 4), Meter(12, 4)])
def test_notes_come_back_from_their_tokens_as_they_were(meter: Meter) -> None:
    for seed in range(5):
        bars = random_bars(seed, 6, meter)
        starts = [
            bar * meter.steps_per_bar + low for bar in range(6) for low in range(0, meter.steps_per_bar, BAR_STEPS)
        ]
        tokens = tokens_from_bars(bars).tolist()
        assert tokens[-1] == vocabulary().bar
        assert list(notes_from_tokens(tokens[:-1], starts)) == moved(bars)


def test_tokens_are_those_that_miditok_writes() -> None:
    symusic = pytest.importorskip("symusic")
    for seed in range(5):
        bars = tuple(bar for bar in random_bars(seed, 8) if bar.notes)
        bars = tuple(bar.moved_to(place) for place, bar in enumerate(bars))
        score = symusic.Score(480)
        score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
        track = symusic.Track(program=0)
        for note in moved(bars):
            track.notes.append(symusic.Note(note.onset_tick, note.duration_ticks, note.pitch, note.velocity))
        score.tracks.append(track)
        written = tokenizer().encode(score)[0]
        assert written.ids == tokens_from_bars(bars).tolist()[:-1]


def test_miditok_reads_our_tokens_as_the_same_notes() -> None:
    bars = random_bars(3, 8)
    score = tokenizer().decode([tokens_from_bars(bars).tolist()])
    scale = 480 // score.ticks_per_quarter
    read = [Note(n.time * scale, n.pitch, n.duration * scale, n.velocity) for n in score.tracks[0].notes]
    assert sorted(read) == moved(bars)


def test_velocities_and_durations_fall_into_the_bins_of_the_fractal() -> None:
    """Off the bins: every velocity, and durations between and beyond the classes."""
    words = vocabulary()
    velocities = np.arange(1, 128)
    durations = np.arange(1, 128) % 80 + 1
    notes = np.stack([np.arange(127) * BAR_STEPS, np.full(127, 60), velocities, durations], axis=1)
    tokens = tokens_from_notes(quantised(notes), range(0, 127 * BAR_STEPS, BAR_STEPS))
    rows = tokens[:-1].reshape(127, 5)  # Bar, Position, Pitch, Velocity, Duration
    assert (rows[:, :3] == [words.bar, words.position, words.pitch + 60]).all()
    assert np.array_equal(rows[:, 3] - words.velocity, velocity_bin(velocities))
    assert np.array_equal(rows[:, 4] - words.duration, duration_class(durations))
    assert len(np.unique(rows[:, 3])) == VELOCITY_BINS and len(np.unique(rows[:, 4])) == len(DURATIONS)


def test_a_step_says_no_more_notes_than_the_fractal_can() -> None:
    notes = tuple(Note(0, pitch, TICKS_PER_STEP, 126 - pitch % 64) for pitch in range(40, 60))
    tokens = tokens_from_bars((Bar(0, notes),)).tolist()
    said = notes_from_tokens(tokens[:-1], [0])
    assert [note.pitch for note in said] == [*range(40, 50)]


def test_without_miditok_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miditok", None)
    events.tokenizer.cache_clear()
    with pytest.raises(TokensError, match=r"pip install 'fractal-live\[baselines\]'"):
        events.tokenizer()
