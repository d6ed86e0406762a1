import random
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest

from fractal_live.music.meter import Meter
from fractal_live.music.midifile import notes_of_score, read_score
from fractal_live.music.notes import Bar, Note, Score, without_overlaps
from fractal_live.music.pianoroll import (
    ONSET,
    SUSTAIN,
    VELOCITY,
    bar_from_roll,
    fold,
    roll_from_bar,
    roll_of_bars,
    value_form,
)

METERS = (Meter(4, 4), Meter(3, 4), Meter(6, 8), Meter(7, 8), Meter(1, 16), Meter(4, 1))


def grid_bar(seed: int, meter: Meter, index: int = 0) -> Bar:
    """Few pitches, so that many are restruck while they sound; durations reach past the bar line."""
    rng = random.Random(seed)
    notes = [
        Note(120 * rng.randrange(meter.steps_per_bar), pitch, 120 * rng.randint(1, 24), rng.randint(1, 127))
        for pitch in (rng.choice((0, 60, 61, 64, 127)) for _ in range(rng.randint(0, 40)))
    ]
    return Bar(index, without_overlaps(notes), meter, rng.uniform(40, 200))


def restrikes(bar: Bar) -> int:
    """Notes that begin where another of their pitch ends."""
    ends = {(note.onset_tick + note.duration_ticks, note.pitch) for note in bar.notes}
    return sum((note.onset_tick, note.pitch) in ends for note in bar.notes)


@pytest.mark.parametrize("meter", METERS, ids=str)
def test_a_bar_comes_back_from_its_roll_as_it_was(meter: Meter) -> None:
    bars = [grid_bar(seed, meter, seed) for seed in range(80)]
    assert [bar_from_roll(roll_from_bar(bar), bar.index, bar.meter, bar.tempo_bpm) for bar in bars] == bars
    assert any(note.onset_tick + note.duration_ticks > meter.ticks_per_bar for bar in bars for note in bar.notes)
    assert meter.steps_per_bar == 1 or any(restrikes(bar) for bar in bars)


def test_a_restruck_pitch_is_two_notes_and_a_long_one_is_one() -> None:
    restruck = Bar(0, (Note(0, 60, 240, 80), Note(240, 60, 240, 80)))
    held = Bar(0, (Note(0, 60, 480, 80),))
    np.testing.assert_array_equal(roll_from_bar(restruck)[:, :, 1:], roll_from_bar(held)[:, :, 1:])
    assert bar_from_roll(roll_from_bar(restruck)) == restruck
    assert bar_from_roll(roll_from_bar(held)) == held


def test_a_roll_marks_onset_sustain_and_velocity() -> None:
    roll = roll_from_bar(Bar(0, (Note(120, 60, 360, 77),), Meter(3, 8)))
    expected = np.zeros((6, 128, 3), dtype=np.uint8)
    expected[1, 60, ONSET] = 1
    expected[1:4, 60, SUSTAIN] = 1
    expected[1:4, 60, VELOCITY] = 77
    np.testing.assert_array_equal(roll, expected)


def test_a_roll_is_as_long_as_its_bar_or_as_the_note_that_sounds_past_the_line() -> None:
    assert roll_from_bar(Bar(0)).shape == (16, 128, 3)
    assert roll_from_bar(Bar(0, (Note(1800, 60, 1200, 64),))).shape == (25, 128, 3)


@pytest.mark.parametrize("note", [Note(1, 60, 120, 64), Note(0, 60, 119, 64)])
def test_a_bar_off_the_grid_is_refused(note: Note) -> None:
    with pytest.raises(ValueError, match="bar 3 is not on the grid of 120 ticks; use on_grid first"):
        roll_from_bar(Bar(3, (note,)))


def test_sound_that_was_struck_in_an_earlier_bar_belongs_to_that_bar() -> None:
    roll = roll_from_bar(Bar(0, (Note(0, 60, 480, 80), Note(240, 64, 120, 70))))
    roll[0, 60, ONSET] = 0
    assert bar_from_roll(roll).notes == (Note(240, 64, 120, 70),)


@pytest.mark.parametrize("seed", range(40))
def test_the_roll_of_several_bars_shows_the_notes_of_the_score(seed: int) -> None:
    """Four bars of 4/4 are one of 16/4: ties go across the lines and end where their pitch is struck again."""
    bars = tuple(grid_bar(4 * seed + index, Meter(4, 4), index) for index in range(4))
    end = 4 * 1920
    expected = tuple(
        replace(note, duration_ticks=min(note.duration_ticks, end - note.onset_tick))
        for note in notes_of_score(Score(bars))
    )
    assert bar_from_roll(roll_of_bars(bars), meter=Meter(16, 4)).notes == expected


def test_the_value_form_is_velocity_with_pitch_upright() -> None:
    picture = value_form(roll_from_bar(Bar(0, (Note(0, 3, 120, 1), Note(240, 60, 240, 127)))))
    expected = np.zeros((128, 16), dtype=np.float32)
    expected[60, 2:4] = 1
    expected[3, 0] = np.float32(1 / 127)
    np.testing.assert_array_equal(picture, expected)


def test_folding_puts_the_second_half_of_time_below_the_first() -> None:
    picture = np.arange(128 * 512, dtype=np.float32).reshape(128, 512)
    folded = fold(picture)
    assert folded.shape == (256, 256)
    np.testing.assert_array_equal(np.hstack([folded[:128], folded[128:]]), picture)


def test_a_picture_of_odd_width_cannot_be_folded() -> None:
    with pytest.raises(ValueError, match="15 steps wide cannot be folded"):
        fold(np.zeros((128, 15), dtype=np.float32))


@pytest.mark.parametrize("ticks_per_beat", [96, 480, 960])
def test_a_file_of_sixteenths_keeps_every_note_at_its_time(ticks_per_beat: int, tmp_path: Path) -> None:
    """An earlier reader took quarters for sixteenths: half of the notes were lost, and the rest came back four times
    too fast."""
    sixteenth = ticks_per_beat // 4
    track = mido.MidiTrack()
    for step in range(64):
        pitch = (60, 60, 64, 67)[step % 4]
        track.append(mido.Message("note_on", note=pitch, velocity=80))
        track.append(mido.Message("note_off", note=pitch, time=sixteenth))
    file = mido.MidiFile(ticks_per_beat=ticks_per_beat)
    file.tracks.append(track)
    file.save(tmp_path / "sixteenths.mid")
    bars = read_score(tmp_path / "sixteenths.mid").bars
    assert len(bars) == 4, "sixty-four sixteenths are four bars"
    assert np.argwhere(roll_of_bars(bars)[:, :, ONSET]).tolist() == [[t, (60, 60, 64, 67)[t % 4]] for t in range(64)]
    for bar in bars:
        again = bar_from_roll(roll_from_bar(bar), bar.index, bar.meter, bar.tempo_bpm)
        assert again.notes == bar.notes
        assert [note.onset_tick for note in again.notes] == [120 * step for step in range(16)]
