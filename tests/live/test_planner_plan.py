"""What the planner's requests carry: the plan that slides along, the harmony, the filters, a leader's tempo."""

import numpy as np
import pytest

from fractal_live.live.controls import Controls
from fractal_live.live.planner import Planner
from fractal_live.music.meter import Meter
from fractal_live.music.plan import LOW, PLAN_BARS
from fractal_live.music.request import Sampling
from tests.live.evening import DENSITY, TEMPO, imagined, playing, request_of

# The plan slides.


def test_a_row_that_was_imagined_is_asked_for_again_unchanged_when_its_turn_comes() -> None:
    evening = playing(40)
    horizon: dict[int, np.ndarray] = {}
    for request in evening.requests:
        for row in range(PLAN_BARS):
            known = horizon.get(request.index + row)
            expected = np.full(len(LOW), np.nan) if known is None else known
            np.testing.assert_array_equal(request.plan[row], expected)
        for row, values in enumerate(imagined(request)):
            horizon.setdefault(request.index + row, values)


def test_the_sampling_may_change_without_a_new_plan() -> None:
    evening = playing(4.3)
    plan = evening.planner.plan()
    evening.touch("param/cfg", 2)
    evening.touch("reroll")
    np.testing.assert_array_equal(evening.planner.plan(), plan)


def test_a_density_is_in_every_coming_row_and_the_rest_is_imagined_anew() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("plan/density", 9)
    evening.bars(3)
    assert all((request.plan[:, DENSITY] == 9).all() for request in evening.requests)
    others = np.delete(evening.requests[0].plan, DENSITY, axis=1)
    assert np.isnan(others).all()
    assert [len(bar.notes) for bar in evening.heard()[5:8]] == [9, 9, 9]


def test_what_was_asked_for_is_told_apart_from_what_was_imagined() -> None:
    evening = playing(4.3)
    evening.touch("plan/density", 9)
    evening.requests.clear()
    evening.bars(3)
    known, asked = evening.requests[-1].plan, evening.requests[-1].asked
    assert asked is not None
    assert (asked[:, DENSITY] == 9).all() and np.isnan(np.delete(asked, DENSITY, axis=1)).all()
    assert np.isfinite(known[0]).all(), "the others were imagined some bars ago"


def test_a_released_density_leaves_no_trace_in_the_coming_rows() -> None:
    evening = playing(4.3)
    evening.touch("plan/density", 9)
    evening.bars(2)
    evening.touch("plan/density")
    evening.requests.clear()
    evening.bars(0.5)
    assert np.isnan(evening.requests[0].plan).all()


def test_a_curve_begins_at_the_next_bar_and_moves_along() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("plan/density", 3, 5, 7, 9)
    evening.bars(4)
    assert [len(bar.notes) for bar in evening.heard()[5:9]] == [3, 5, 7, 9]
    np.testing.assert_array_equal(evening.requests[1].plan[:4, DENSITY], [5, 7, 9, imagined(evening.requests[0])[4, 0]])


def test_a_bar_that_was_committed_before_a_new_plan_is_shown_with_the_row_it_was_made_of() -> None:
    """Its row was forgotten with the old plan, and the dashboard showed nothing for the bar that played."""
    evening = playing(4.97)
    evening.touch("plan/register", 60)
    evening.bars(0.5)
    assert evening.planner.position == 5
    shown, row = evening.planner.plan()[0], evening.heard()[5].plan
    np.testing.assert_array_equal(shown, np.float32(row))


def test_a_plan_is_shown_with_the_density_that_is_asked_for() -> None:
    """Halved, a plan of one onset a bar is a silent one, and whoever watches is to see that."""
    evening = playing(4.3)
    evening.touch("plan/density", 6)
    evening.bars(1)
    evening.touch("plan/density_factor", 0.5)
    shown = evening.planner.plan()[:, DENSITY]
    assert shown[0] == 6 and (shown[1:] == 3).all()
    evening.bars(2)
    assert (evening.planner.plan()[:, DENSITY] == 3).all()
    assert len(evening.heard()[-1].notes) == 3


def test_a_new_cycle_changes_the_seed_and_a_reroll_too() -> None:
    evening = playing(4.3)
    seeds = [evening.requests[-1].seed]
    for address, values in (("generate", (77,)), ("reroll", ()), ("reroll", ()), ("generate", (77,))):
        evening.touch(address, *values)
        evening.bars(0.3)
        seeds.append(evening.requests[-1].seed)
    assert seeds[1] == seeds[4]
    assert len(set(seeds)) == 4


# Harmony and filters.


def test_a_held_harmony_is_asked_for_at_once_and_leaves_the_plan() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    chord = [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0.5]
    evening.touch("harmony/chroma", *chord)
    evening.bars(0.5)
    assert evening.asked() == [5, 6]
    for request in evening.requests:
        np.testing.assert_array_equal(request.chroma, np.array([chord, chord], dtype=np.float32))
        assert not np.isnan(request.plan[0]).any()
    evening.requests.clear()
    evening.touch("harmony/chroma")
    evening.bars(0.15)
    assert [(request.index, request.chroma) for request in evening.requests] == [(5, None), (6, None)]


def test_a_curve_of_harmonies_goes_to_the_half_bars_it_was_sent_for() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    curve = np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 12)
    evening.touch("harmony/chroma", *curve.ravel().tolist())
    evening.bars(2)
    asked = {request.index: request.chroma for request in evening.requests}
    assert sorted(asked) == [5, 6, 7, 8]
    np.testing.assert_array_equal(asked[5], curve[:2])
    np.testing.assert_array_equal(asked[6], curve[2:])
    assert asked[7] is None and asked[8] is None


def test_in_another_meter_a_bar_has_a_harmony_for_each_of_its_half_bars() -> None:
    planner = Planner(Meter(7, 8))
    planner.controls_changed(Controls({"chroma": [1.0] * 12}).snapshot)
    request = request_of(planner)
    np.testing.assert_array_equal(request.chroma, np.ones((2, 12)))


@pytest.mark.parametrize(
    ("address", "value", "sampling"),
    [
        ("mask_k", 3, Sampling(mask_k=3)),
        ("mask_p", 0.5, Sampling(mask_p=0.5)),
        ("echo", 2.5, Sampling(echo=2.5)),
        ("cfg_schedule", 1, Sampling(cfg_schedule="linear")),
    ],
)
def test_filters_and_schedule_are_asked_for_at_once(address: str, value: float, sampling: Sampling) -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch(f"param/{address}", value)
    evening.bars(0.5)
    assert [(request.index, request.sampling) for request in evening.requests] == [(5, sampling), (6, sampling)]


def test_behind_a_leader_its_tempo_is_the_plans() -> None:
    planner = Planner(leader_sets_tempo=True)
    planner.controls_changed(Controls(plan={"tempo": 60}).snapshot)
    for tempo_bpm, told in ((126.4, 126), (20.0, 40), (300.0, 200)):
        planner.transport_moved(False, 0, tempo_bpm)
        request = request_of(planner)
        assert (request.plan[:, TEMPO] == told).all()
        planner.request_failed()
