import numpy as np

from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import ATTRIBUTES, COLUMN, HIGH, LOW, clamped, measure, unknown_plan

NAN = float("nan")


def test_a_bar_is_measured_as_one_counts_it_by_hand() -> None:
    """Three notes in 3/4 (1440 ticks): 480 + 480 + the 240 that lie inside the bar of a note of 960."""
    notes = (Note(0, 60, 480, 40), Note(0, 64, 480, 60), Note(1200, 71, 960, 80))
    row = measure(Bar(2, notes, Meter(3, 4), 90.0))
    np.testing.assert_allclose(row, [3, 90, 1200 / 1440, 1920 / 3 / 120, 65, 60], rtol=1e-6)


def test_an_empty_bar_has_density_polyphony_and_tempo_and_nothing_else() -> None:
    np.testing.assert_array_equal(measure(Bar(0, tempo_bpm=72.0)), np.float32([0, 72, 0, NAN, NAN, NAN]))


def test_density_counts_onsets_not_sounding_pitches() -> None:
    long, short = Note(0, 60, 1920, 64), Note(0, 60, 1, 64)
    assert measure(Bar(0, (long,)))[COLUMN["density"]] == measure(Bar(0, (short,)))[COLUMN["density"]] == 1


def test_what_is_measured_has_the_same_columns_whatever_the_bar() -> None:
    assert [attribute.name for attribute in ATTRIBUTES] == list(COLUMN)
    assert measure(Bar(0)).shape == (len(ATTRIBUTES),) == LOW.shape == HIGH.shape
    assert measure(Bar(0)).dtype == np.float32


def test_an_unknown_plan_knows_nothing() -> None:
    plan = unknown_plan(5)
    assert plan.shape == (5, 6)
    assert np.isnan(plan).all()
    assert unknown_plan().shape == (32, 6)


def test_clamping_keeps_the_unknown_unknown_and_the_rest_in_range() -> None:
    plan = np.float32([[-5, 500, NAN, 3, 20, 128], [12, NAN, 11, -1, 97, 0]])
    expected = np.float32([[0, 200, NAN, 3, 36, 127], [12, NAN, 10, 0, 96, 1]])
    before = plan.copy()
    np.testing.assert_array_equal(clamped(plan), expected)
    np.testing.assert_array_equal(plan, before)


def test_clamping_twice_is_clamping_once() -> None:
    plan = np.random.default_rng(3).normal(50, 80, (64, 6)).astype(np.float32)
    np.testing.assert_array_equal(clamped(clamped(plan)), clamped(plan))
    assert ((clamped(plan) >= LOW) & (clamped(plan) <= HIGH)).all()
