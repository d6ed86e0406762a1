import random
from itertools import pairwise

import pytest

from fractal_live.music.meter import TICKS_PER_STEP, Meter, step_at
from fractal_live.music.notes import Bar, Note, Score, on_grid, without_overlaps

SEEDS = range(60)
METERS = (Meter(4, 4), Meter(3, 4), Meter(7, 8), Meter(1, 16))


def crowd(seed: int, meter: Meter = METERS[0]) -> list[Note]:
    """Few pitches, many notes: nearly all of them collide."""
    rng = random.Random(seed)
    return [
        Note(rng.randrange(meter.ticks_per_bar), rng.randint(58, 63), rng.randint(1, 2500), rng.randint(1, 127))
        for _ in range(rng.randint(0, 50))
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_afterwards_no_pitch_overlaps_itself_and_notes_are_sorted(seed: int) -> None:
    notes = without_overlaps(crowd(seed))
    assert list(notes) == sorted(notes)
    for pitch in {note.pitch for note in notes}:
        own = [note for note in notes if note.pitch == pitch]
        assert all(a.onset_tick + a.duration_ticks <= b.onset_tick for a, b in pairwise(own))


@pytest.mark.parametrize("seed", SEEDS)
def test_untangling_loses_no_onset_and_makes_none(seed: int) -> None:
    notes = crowd(seed)
    kept = [(note.onset_tick, note.pitch) for note in without_overlaps(notes)]
    assert kept == sorted({(note.onset_tick, note.pitch) for note in notes})


@pytest.mark.parametrize("seed", SEEDS)
def test_untangling_twice_is_untangling_once_and_order_is_no_matter(seed: int) -> None:
    notes = crowd(seed)
    once = without_overlaps(notes)
    assert without_overlaps(once) == once
    random.Random(seed).shuffle(notes)
    assert without_overlaps(notes) == once


def test_of_two_notes_at_one_place_the_louder_velocity_and_the_longer_duration_stay() -> None:
    assert without_overlaps([Note(0, 60, 100, 90), Note(0, 60, 300, 20)]) == (Note(0, 60, 300, 90),)


def test_an_earlier_note_ends_where_the_next_of_its_pitch_begins() -> None:
    tangled = [Note(0, 60, 1000, 80), Note(480, 60, 240, 70), Note(480, 64, 10, 70)]
    assert without_overlaps(tangled) == (Note(0, 60, 480, 80), Note(480, 60, 240, 70), Note(480, 64, 10, 70))


@pytest.mark.parametrize("meter", METERS, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_on_the_grid_each_step_and_pitch_that_was_struck_is_struck_once(seed: int, meter: Meter) -> None:
    bar = on_grid(Bar(3, tuple(sorted(crowd(seed, meter))), meter, 99.0, seed=5))
    struck = {(min(step_at(note.onset_tick), meter.steps_per_bar - 1), note.pitch) for note in crowd(seed, meter)}
    assert [(note.onset_tick // TICKS_PER_STEP, note.pitch) for note in bar.notes] == sorted(struck)
    assert all(note.onset_tick % TICKS_PER_STEP == note.duration_ticks % TICKS_PER_STEP == 0 for note in bar.notes)
    assert (bar.index, bar.meter, bar.tempo_bpm, bar.seed) == (3, meter, 99.0, 5)


@pytest.mark.parametrize("meter", METERS, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_lies_on_the_grid_stays_as_it_is(seed: int, meter: Meter) -> None:
    bar = on_grid(Bar(0, tuple(sorted(crowd(seed, meter))), meter))
    assert on_grid(bar) == bar


def test_notes_that_lie_on_the_grid_are_untangled_like_any_others() -> None:
    tangled = (Note(0, 60, 960, 80), Note(480, 60, 240, 70))
    assert on_grid(Bar(0, tangled)).notes == (Note(0, 60, 480, 80), Note(480, 60, 240, 70))


def test_onsets_and_ends_go_to_the_nearest_step_and_the_last_one_stays_inside() -> None:
    played = (Note(55, 60, 130, 80), Note(1900, 62, 300, 80), Note(1915, 64, 3, 80))
    assert on_grid(Bar(0, played)).notes == (Note(0, 60, 240, 80), Note(1800, 62, 360, 80), Note(1800, 64, 120, 80))


@pytest.mark.parametrize("values", [(-1, 60, 1, 1), (0, 60, 0, 1), (0, -1, 1, 1), (0, 128, 1, 1), (0, 60, 1, 0)])
def test_a_note_out_of_range_is_refused(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Note(*values)


def test_a_velocity_beyond_midi_is_refused() -> None:
    with pytest.raises(ValueError, match="velocity 128 1 to 127"):
        Note(0, 60, 1, 128)


def test_a_bar_refuses_unsorted_notes_and_onsets_at_its_end() -> None:
    with pytest.raises(ValueError, match="bar 7 are not sorted"):
        Bar(7, (Note(1, 60, 1, 1), Note(0, 60, 1, 1)))
    with pytest.raises(ValueError, match="bar 7 begins at or after its end"):
        Bar(7, (Note(1440, 60, 1, 1),), Meter(3, 4))


def test_a_moved_bar_is_the_same_but_for_its_index() -> None:
    bar = Bar(4, (Note(0, 60, 1, 1),), Meter(3, 4), 90.0, (1.0,), seed=3, checkpoint_id="a")
    assert bar.moved_to(9) == Bar(9, bar.notes, bar.meter, 90.0, (1.0,), seed=3, checkpoint_id="a")


def test_a_score_numbers_its_bars_from_zero() -> None:
    assert len(Score((Bar(0), Bar(1))).bars) == 2
    with pytest.raises(ValueError, match="numbered 0, 1, 2"):
        Score((Bar(0), Bar(2)))
