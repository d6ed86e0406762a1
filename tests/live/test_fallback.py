import random

import pytest

from fractal_live.live.fallback import fallback_for
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note, without_overlaps

SEEDS = range(40)
SCALE = (0, 2, 4, 5, 7, 9, 11)


def played(seed: int, bars: int = 6, meter: Meter = FOUR_FOUR) -> tuple[Bar, ...]:
    """Bars as they may have sounded: on the grid and off it, some silent."""
    rng = random.Random(seed)
    made = []
    for index in range(bars):
        notes = []
        for _ in range(rng.randint(0, 14)):
            onset = rng.randrange(meter.ticks_per_bar)
            onset -= onset % rng.choice((1, 120))
            notes.append(Note(onset, 48 + rng.choice(SCALE), rng.randint(1, 2000), rng.randint(1, 127)))
        made.append(Bar(index, without_overlaps(notes), meter, rng.uniform(60, 150)))
    return tuple(made)


def pitch_classes(bar: Bar) -> set[int]:
    return {note.pitch % 12 for note in bar.notes}


def source_of(past: tuple[Bar, ...]) -> Bar:
    """The bar a phrase back, silent ones left out; the oldest if there is no phrase yet."""
    heard = [bar for bar in past if bar.notes]
    return heard[max(0, len(heard) - 4)]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_wish_the_bar_a_phrase_back_plays_again(seed: int) -> None:
    past = played(seed)
    fallback = fallback_for(6, FOUR_FOUR, past, None)
    assert (fallback.index, fallback.meter, fallback.notes) == (6, FOUR_FOUR, source_of(past).notes)


@pytest.mark.parametrize("density", [0.5, 1, 3.4, 8, 20, 47])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_has_the_harmony_of_what_it_varies(seed: int, density: float) -> None:
    past = played(seed)
    fallback = fallback_for(6, FOUR_FOUR, past, density)
    assert pitch_classes(fallback) <= pitch_classes(source_of(past))
    assert fallback.index == 6


@pytest.mark.parametrize("wanted", range(1, 48))
def test_it_has_as_many_onsets_as_are_wanted(wanted: int) -> None:
    """Twelve notes in the first half of a bar leave room for echoes of each."""
    notes = tuple(Note(120 * (place // 2), 50 + place, 120, 60 + place) for place in range(12))
    assert len(fallback_for(1, FOUR_FOUR, (Bar(0, notes),), wanted).notes) == wanted


@pytest.mark.parametrize("seed", SEEDS)
def test_thinning_always_meets_the_wish_and_only_leaves_notes_out(seed: int) -> None:
    past = played(seed)
    source = source_of(past)
    for wanted in range(1, len(source.notes) + 1):
        fallback = fallback_for(6, FOUR_FOUR, past, wanted)
        assert len(fallback.notes) == wanted
        assert set(fallback.notes) <= set(source.notes)


@pytest.mark.parametrize("seed", SEEDS)
def test_doubling_keeps_every_onset_and_echoes_are_softer(seed: int) -> None:
    past = played(seed)
    source = {(note.onset_tick, note.pitch): note for note in source_of(past).notes}
    fallback = {(note.onset_tick, note.pitch): note for note in fallback_for(6, FOUR_FOUR, past, 30).notes}
    assert source.keys() <= fallback.keys()
    loudest = max(note.velocity for note in source.values())
    echoes = [note for place, note in fallback.items() if place not in source]
    assert all(note.velocity <= max(1, loudest * 3 // 4) for note in echoes)


@pytest.mark.parametrize("density", [None, 0.5, 2, 47])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_never_silent_once_something_was_played(seed: int, density: float | None) -> None:
    assert fallback_for(6, FOUR_FOUR, played(seed), density).notes


def test_it_is_silent_where_the_plan_is_silent_and_keeps_the_tempo() -> None:
    past = (Bar(0, (Note(0, 60, 120, 80),), tempo_bpm=93.0),)
    assert fallback_for(1, FOUR_FOUR, past, 0.4) == Bar(1, tempo_bpm=93.0)


def test_it_is_silent_where_nothing_was_ever_played() -> None:
    assert fallback_for(0, Meter(3, 4), (), 12) == Bar(0, (), Meter(3, 4))
    assert fallback_for(2, FOUR_FOUR, (Bar(0), Bar(1, tempo_bpm=70.0)), None) == Bar(2, tempo_bpm=70.0)


def test_a_longer_bar_whose_first_beats_are_silent_is_no_source_for_a_shorter_one() -> None:
    """The notes of such a bar all lie beyond the shorter bar line, and the fallback was silent."""
    late = Bar(1, (Note(1800, 60, 120, 80),))
    early = Bar(0, (Note(0, 64, 120, 80),))
    assert fallback_for(2, Meter(2, 4), (early, late), None).notes == early.notes


def test_strong_places_stay_longest_then_loud_notes() -> None:
    notes = (Note(0, 60, 60, 10), Note(120, 61, 60, 127), Note(240, 62, 60, 90), Note(480, 64, 60, 50))
    notes += (Note(960, 65, 60, 40), Note(1440, 67, 60, 60))
    source = (Bar(0, notes),)
    kept = [[note.pitch for note in fallback_for(1, FOUR_FOUR, source, wanted).notes] for wanted in range(1, 7)]
    assert kept == [[60], [60, 65], [60, 65, 67], [60, 64, 65, 67], [60, 62, 64, 65, 67], [60, 61, 62, 64, 65, 67]]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_past_gives_the_same_bar(seed: int) -> None:
    assert fallback_for(6, FOUR_FOUR, played(seed), 9) == fallback_for(6, FOUR_FOUR, played(seed), 9)


@pytest.mark.parametrize("meter", [Meter(3, 4), Meter(7, 8), Meter(1, 16), Meter(4, 1)], ids=str)
def test_no_pitch_overlaps_itself_and_all_onsets_lie_in_the_bar(meter: Meter) -> None:
    for seed in SEEDS:
        for density in (None, 1.0, 6.0, 30.0):
            notes = fallback_for(6, meter, played(seed, meter=meter), density).notes
            assert without_overlaps(notes) == notes
            assert all(note.onset_tick < meter.ticks_per_bar for note in notes)
