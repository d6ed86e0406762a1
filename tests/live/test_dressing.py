"""What is done to notes that are made: laws over random bars, then each wish by example."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fractal_live.live.dressing import PLAIN, Dress, Outfit, Split, dressed, in_range
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note, without_overlaps
from fractal_live.music.scales import SCALE_NAMES, SCALES

TRIO = Outfit(
    5,
    (
        Split("bass", 1, "lowest", 0, 55, transpose=-12, program=32),
        Split("lead", 2, "highest", 60, 127, velocity=1.2, curve=1.5, program=73),
        Split("chords", 3, "inner", program=4),
    ),
)


def random_bar(rng: random.Random, meter: Meter = FOUR_FOUR) -> Bar:
    notes = [
        Note(
            rng.randrange(meter.steps_per_bar) * 120,
            rng.randint(21, 108),
            rng.randint(1, 24) * 120,
            rng.randint(1, 127),
        )
        for _ in range(rng.randint(0, 40))
    ]
    return Bar(rng.randint(0, 99), without_overlaps(notes), meter, seed=rng.randint(0, 9))


def random_dress(rng: random.Random) -> Dress:
    low = rng.randint(0, 100)
    return Dress(
        transpose=rng.randint(-24, 24),
        velocity=rng.uniform(0.25, 2),
        swing=rng.choice((0, rng.random())),
        humanize=rng.choice((0, rng.random())),
        gate=rng.uniform(0.1, 2),
        low=low,
        high=rng.randint(low, 127),
        key=rng.randrange(12),
        scale=rng.randrange(len(SCALE_NAMES)),
        muted=frozenset(place for place in range(3) if rng.random() < 0.2),
        soloed=frozenset(place for place in range(3) if rng.random() < 0.1),
        levels=tuple(rng.uniform(0, 2) for _ in range(8)),
    )


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_wished_a_bar_stays_a_bar_and_the_same_wish_gives_the_same_notes(seed: int) -> None:
    rng = random.Random(seed)
    bar, dress = random_bar(rng, rng.choice((FOUR_FOUR, Meter(7, 8), Meter(3, 16)))), random_dress(rng)
    sounding = dressed(bar, dress, TRIO)
    assert sounding == dressed(bar, dress, TRIO)
    assert sounding.notes == without_overlaps(sounding.notes)
    assert {note.channel for note in sounding.notes} <= set(TRIO.channels)
    if dress.scale:
        steps = SCALES[SCALE_NAMES[dress.scale]]
        assert all((note.pitch - dress.key) % 12 in steps for note in sounding.notes)
    if dress.high - dress.low >= 12:
        assert all(dress.low <= note.pitch <= dress.high for note in sounding.notes)
    assert replace(sounding, notes=()) == replace(bar, notes=())


@pytest.mark.parametrize("seed", range(30))
def test_without_a_wish_nothing_changes(seed: int) -> None:
    bar = random_bar(random.Random(seed))
    assert dressed(bar, Dress()) == bar
    everything = Outfit(0, (Split("all", 0),))
    assert dressed(bar, Dress(), everything) == bar


@pytest.mark.parametrize("seed", range(30))
def test_splits_share_the_notes_out_and_lose_none(seed: int) -> None:
    bar = random_bar(random.Random(seed))
    flat = replace(TRIO, splits=tuple(replace(split, transpose=0, velocity=1, curve=1) for split in TRIO.splits))
    sounding = dressed(bar, Dress(), flat)
    assert sorted(replace(note, channel=0) for note in sounding.notes) == list(bar.notes)


def test_each_part_takes_its_own_of_a_chord_and_the_rest_sounds_on_the_patchs_channel() -> None:
    chord = Bar(0, (*(Note(0, pitch, 480, 100) for pitch in (40, 52, 59, 64)), Note(480, 58, 120, 100)))
    sounding = dressed(chord, Dress(), TRIO)
    loud = round(127 * (100 / 127) ** 1.5 * 1.2)
    assert [(note.onset_tick, note.pitch, note.velocity, note.channel) for note in sounding.notes] == [
        (0, 28, 100, 1),
        (0, 52, 100, 3),
        (0, 59, 100, 3),
        (0, 64, loud, 2),
        (480, 58, 100, 5),
    ]
    assert TRIO.programs == ((1, 32), (2, 73), (3, 4))
    assert TRIO.channels == (1, 2, 3, 5)


def test_a_mute_silences_its_part_alone_and_a_solo_all_the_others() -> None:
    rng = random.Random(4)
    bar = random_bar(rng)
    human = Dress(humanize=0.7)
    whole = dressed(bar, human, TRIO).notes
    muted = dressed(bar, replace(human, muted=frozenset({1})), TRIO).notes
    soloed = dressed(bar, replace(human, soloed=frozenset({1}), muted=frozenset({0, 1})), TRIO).notes
    assert muted == tuple(note for note in whole if note.channel != 2)
    assert soloed == tuple(note for note in whole if note.channel in (2, 5))


def test_swing_moves_every_second_sixteenth_and_keeps_what_met_together() -> None:
    bar = Bar(0, (Note(0, 60, 120, 80), Note(120, 62, 120, 80), Note(240, 64, 60, 80), Note(1800, 65, 120, 80)))
    times = [(note.onset_tick, note.duration_ticks) for note in dressed(bar, Dress(swing=1.0)).notes]
    assert times == [(0, 160), (160, 80), (240, 80), (1840, 80)]


def test_humanize_is_uneven_within_bounds_and_about_the_same_on_average() -> None:
    notes = tuple(Note(step * 120, 60, 100, 80) for step in range(16))
    late, velocities = [], []
    for index in range(50):
        for before, after in zip(notes, dressed(Bar(index, notes), Dress(humanize=1.0)).notes, strict=True):
            late.append(after.onset_tick - before.onset_tick)
            velocities.append(after.velocity)
    assert max(map(abs, late)) <= 30 and len(set(late)) > 20
    assert abs(sum(late) / len(late)) < 2 and abs(sum(velocities) / len(velocities) - 80) < 1.5


@pytest.mark.parametrize(
    ("pitch", "low", "high", "there"),
    [(60, 0, 127, 60), (30, 48, 72, 54), (100, 48, 72, 64), (66, 60, 64, 66), (-3, 0, 127, 9), (130, 0, 127, 118)],
)
def test_a_pitch_outside_comes_inside_by_octaves(pitch: int, low: int, high: int, there: int) -> None:
    assert in_range(pitch, low, high) == there


def test_the_plain_outfit_has_no_programs() -> None:
    assert (PLAIN.channels, PLAIN.programs) == ((0,), ())
