import numpy as np
import pytest

from fractal_live.music.harmony import chroma_of_bar, scale_consistency, scaled
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note

C, E, G = 0, 4, 7


def table(*rows: dict[int, float]) -> np.ndarray:
    chroma = np.zeros((len(rows), 12), dtype=np.float32)
    for half, row in enumerate(rows):
        for pitch_class, value in row.items():
            chroma[half, pitch_class] = value
    return chroma


def test_each_half_bar_has_its_own_chroma_scaled_to_its_loudest_class() -> None:
    notes = (Note(0, 60, 960, 1), Note(0, 76, 240, 127), Note(240, 64, 240, 64), Note(960, 55, 120, 64))
    np.testing.assert_array_equal(chroma_of_bar(Bar(0, notes)), table({C: 1, E: 0.5}, {G: 1}))


def test_a_note_across_the_middle_counts_on_both_sides_by_its_length() -> None:
    notes = (Note(0, 60, 960, 64), Note(720, 67, 480, 64), Note(960, 64, 480, 64))
    np.testing.assert_array_equal(chroma_of_bar(Bar(0, notes)), table({C: 1, G: 0.25}, {E: 1, G: 0.5}))


def test_sound_beyond_the_bar_line_does_not_count() -> None:
    notes = (Note(960, 60, 480, 64), Note(1440, 67, 5000, 64))
    np.testing.assert_array_equal(chroma_of_bar(Bar(0, notes)), table({}, {C: 1, G: 1}))


@pytest.mark.parametrize(
    ("meter", "halves"), [(Meter(4, 4), 2), (Meter(3, 4), 2), (Meter(7, 8), 2), (Meter(5, 4), 3), (Meter(1, 4), 1)]
)
def test_a_bar_has_as_many_half_bars_as_begin_in_it_and_silence_is_zero(meter: Meter, halves: int) -> None:
    np.testing.assert_array_equal(chroma_of_bar(Bar(0, (), meter)), table(*[{}] * halves))


def test_the_shorter_last_half_of_a_bar_is_scaled_like_any_other() -> None:
    notes = (Note(960, 60, 4000, 64), Note(960, 64, 240, 64))
    np.testing.assert_array_equal(chroma_of_bar(Bar(0, notes, Meter(3, 4))), table({}, {C: 1, E: 0.5}))


def test_chroma_hears_no_octaves_and_no_velocities() -> None:
    low = chroma_of_bar(Bar(0, (Note(0, 36, 480, 1), Note(0, 43, 240, 127))))
    high = chroma_of_bar(Bar(0, (Note(0, 84, 480, 127), Note(0, 91, 240, 1))))
    np.testing.assert_array_equal(low, high)


def test_scaling_leaves_silence_silent_and_changes_nothing_twice() -> None:
    chroma = table({C: 2, E: 1}, {})
    np.testing.assert_array_equal(scaled(chroma), table({C: 1, E: 0.5}, {}))
    np.testing.assert_array_equal(scaled(scaled(chroma)), scaled(chroma))


@pytest.mark.parametrize(
    ("pitches", "share"),
    [
        ([60, 62, 64, 65, 67, 69, 71], 1.0),
        ([57, 59, 60, 62, 64, 65, 67], 1.0),
        (list(range(60, 72)), 7 / 12),
        ([60, 62, 64, 65, 67, 69, 71, 61], 7 / 8),
        ([60, 61, 62], 2 / 3),
        ([], 1.0),
    ],
)
def test_scale_consistency_is_the_share_that_the_best_scale_explains(pitches: list[int], share: float) -> None:
    assert scale_consistency(pitches) == pytest.approx(share)


def test_scale_consistency_does_not_know_the_key() -> None:
    melody = [60, 62, 63, 67, 68, 66, 72, 75]
    assert {scale_consistency([pitch + shift for pitch in melody]) for shift in range(12)} == {
        scale_consistency(melody)
    }
