"""What the controls give for coming bars: the plan's rows and the harmony of half bars."""

import numpy as np
import pytest

from fractal_live.live.controls import Controls, Outcome
from fractal_live.live.snapshot import GivenChroma, GivenCurve
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.plan import COLUMN

C_MAJOR = (1.0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0)
F_MAJOR = (1.0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)
G_MAJOR = (0.0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1)


def halves(controls: Controls, bar_index: int, meter: Meter = FOUR_FOUR) -> list[tuple[float, ...]] | None:
    chroma = controls.snapshot.chroma_of(bar_index, meter)
    return None if chroma is None else [tuple(half) for half in chroma.tolist()]


def test_one_chroma_is_held_for_every_half_bar_until_it_is_released(controls: Controls) -> None:
    assert controls.apply("/fractal/harmony/chroma", C_MAJOR).changed == ("chroma",)
    assert controls.apply("/fractal/harmony/chroma", C_MAJOR) == Outcome()
    assert halves(controls, 0) == halves(controls, 1000) == [C_MAJOR, C_MAJOR]
    assert halves(controls, 0, Meter(7, 8)) == [C_MAJOR, C_MAJOR]
    assert halves(controls, 0, Meter(2, 4)) == [C_MAJOR]
    assert halves(controls, 0, Meter(5, 4)) == [C_MAJOR] * 3
    assert controls.apply("/fractal/harmony/chroma", []).changed == ("chroma",)
    assert halves(controls, 0) is None


def test_several_chromas_are_a_curve_over_the_coming_half_bars(controls: Controls) -> None:
    controls.playhead_in(4)
    controls.apply("/fractal/harmony/chroma", [*C_MAJOR, *F_MAJOR, *G_MAJOR])
    assert [halves(controls, bar) for bar in (4, 5, 6, 7)] == [None, [C_MAJOR, F_MAJOR], [G_MAJOR, G_MAJOR], None]
    assert [halves(controls, bar, Meter(2, 4)) for bar in (5, 6, 7, 8)] == [[C_MAJOR], [F_MAJOR], [G_MAJOR], None]


def test_a_curve_of_chromas_goes_on_when_the_playhead_jumps_back(controls: Controls) -> None:
    controls.playhead_in(40)
    controls.apply("/fractal/harmony/chroma", [*C_MAJOR, *C_MAJOR, *F_MAJOR, *F_MAJOR])
    controls.playhead_in(41)
    controls.playhead_in(-1)
    assert controls.snapshot.chroma == GivenChroma((C_MAJOR, C_MAJOR, F_MAJOR, F_MAJOR), -1)
    assert halves(controls, 0) == [F_MAJOR, F_MAJOR]


def test_a_chroma_is_clamped_and_that_is_said(controls: Controls) -> None:
    outcome = controls.apply("/fractal/harmony/chroma", [2.0, -1.0, *C_MAJOR[2:]])
    assert outcome.error == "/fractal/harmony/chroma: 2 is outside 0 to 1; the nearest is used"
    assert halves(controls, 0) == [(1.0, 0.0, *C_MAJOR[2:])] * 2


@pytest.mark.parametrize("count", [1, 11, 13, 780])
def test_a_chroma_that_is_not_made_of_twelves_is_refused(controls: Controls, count: int) -> None:
    outcome = controls.apply("/fractal/harmony/chroma", [1.0] * count)
    assert outcome.error == f"/fractal/harmony/chroma: {count} values; allowed: up to 768 in groups of 12"
    assert controls.snapshot.chroma is None
    assert controls.apply("/fractal/harmony/chroma", [1.0] * 768).changed == ("chroma",)


def test_one_float_holds_a_plan_attribute_for_all_coming_bars(controls: Controls) -> None:
    controls.playhead_in(4)
    assert controls.apply("/fractal/plan/density", [12.0]).changed == ("plan_density",)
    assert (controls.snapshot.plan_from(1000)[:, COLUMN["density"]] == 12).all()
    assert np.isnan(np.delete(controls.snapshot.plan_from(5), COLUMN["density"], axis=1)).all()


def test_several_floats_are_a_curve_that_begins_at_the_coming_bar_and_then_ends(controls: Controls) -> None:
    controls.playhead_in(4)
    controls.apply("/fractal/plan/register", [40.0, 50.0, 60.0])
    column = COLUMN["register"]
    np.testing.assert_array_equal(controls.snapshot.plan_from(5)[:4, column], [40, 50, 60, np.nan])
    np.testing.assert_array_equal(controls.snapshot.plan_from(7)[:2, column], [60, np.nan])
    np.testing.assert_array_equal(controls.snapshot.plan_from(4)[:2, column], [np.nan, 40])


def test_no_float_releases_a_plan_attribute(controls: Controls) -> None:
    controls.apply("/fractal/plan/tempo", [90.0])
    assert controls.apply("/fractal/plan/tempo", []).changed == ("plan_tempo",)
    assert controls.apply("/fractal/plan/tempo", []) == Outcome()
    assert controls.snapshot.plan == (None,) * 6


def test_a_curve_of_more_than_32_bars_is_refused(controls: Controls) -> None:
    assert controls.apply("/fractal/plan/tempo", [90.0] * 32).error is None
    assert "allowed: up to 32" in str(controls.apply("/fractal/plan/tempo", [90.0] * 33).error)


def test_a_curve_goes_on_when_the_playhead_jumps_back_to_the_start(controls: Controls) -> None:
    controls.playhead_in(40)
    controls.apply("/fractal/plan/density", [1.0, 2.0, 3.0])
    controls.playhead_in(41)
    controls.playhead_in(-1)
    assert controls.snapshot.plan[COLUMN["density"]] == GivenCurve((1.0, 2.0, 3.0), -1)
    assert controls.snapshot.plan_from(0)[0, COLUMN["density"]] == 2.0
