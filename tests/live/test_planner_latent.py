"""The planner while the latent moves: glides, walks, recalled points."""

import numpy as np

from fractal_live.live.controls import Controls
from fractal_live.live.planner import Planner
from fractal_live.music.notes import Bar
from tests.live.evening import Set, answer, imagined, playing, request_of


def latents(evening: Set) -> list[tuple[int, float]]:
    """What was asked for: bar and first dimension of its latent."""
    return [(request.index, round(request.latent[0], 9)) for request in evening.requests]


def test_a_changed_latent_replaces_what_has_not_begun_and_its_plan() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/level0", 1.5)
    evening.bars(0.5)
    assert latents(evening) == [(5, 1.5), (6, 1.5)]
    assert np.isnan(evening.requests[0].plan).all()


def test_every_bar_of_a_glide_is_asked_for_once_with_the_latent_of_its_place() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/glide", 4)
    evening.touch("latent/level0", 2)
    evening.bars(6)
    assert latents(evening) == [(5, 0.5), (6, 1), (7, 1.5), (8, 2), (9, 2), (10, 2), (11, 2), (12, 2)]


def test_a_new_target_on_the_way_starts_from_where_the_playing_bar_is() -> None:
    evening = playing(4.3)
    evening.touch("latent/glide", 4)
    evening.touch("latent/level0", 2)
    evening.bars(2)
    evening.requests.clear()
    evening.touch("latent/level0", -1)
    evening.bars(2)
    assert latents(evening) == [(7, 0.5), (8, 0), (9, -0.5), (10, -1)]


def test_while_the_latent_moves_the_plan_is_imagined_anew_for_every_bar_and_then_once() -> None:
    """The rows ahead would have kept the latent the glide began with, and a glide would have been heard 31 bars
    late."""
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/glide", 3)
    evening.touch("latent/level0", 2)
    evening.bars(4)
    unknown = [int(np.isnan(request.plan).all(axis=1).sum()) for request in evening.requests]
    assert unknown == [32, 32, 32, 1, 1, 1]
    first = next(request for request in evening.requests if request.index == 7)
    after = next(request for request in evening.requests if request.index == 8)
    np.testing.assert_array_equal(after.plan[:-1], imagined(first)[1:])


def test_the_plan_that_comes_with_an_answer_for_an_older_latent_is_not_wanted() -> None:
    planner, controls = Planner(), Controls()
    planner.controls_changed(controls.snapshot)
    request = request_of(planner)
    controls.apply("/fractal/latent/level0", [2])
    planner.controls_changed(controls.snapshot)
    assert planner.answered(answer(request)) is not None
    assert np.isnan(planner.plan()[1:]).all()
    again = request_of(planner)
    assert (again.index, again.latent[0]) == (1, 2)  # what is missing comes first


def test_the_length_of_coming_glides_and_a_store_make_nothing_stale() -> None:
    evening = playing(3.3)
    evening.touch("latent/gain", 1)
    evening.bars(1.0)
    evening.requests.clear()
    evening.touch("latent/glide", 9)
    evening.touch("latent/store", 3)
    evening.touch("latent/recall", 3)
    evening.bars(0.4)
    assert evening.asked() == []


def test_a_latent_without_gain_makes_nothing_stale_and_leaves_the_plan() -> None:
    evening = playing(4.3)
    evening.touch("latent/gain", 0)
    evening.bars(0.5)
    evening.requests.clear()
    evening.touch("latent/walk", 0.5)
    evening.touch("latent/level0", 2)
    evening.bars(2)
    assert evening.asked() == [7, 8]
    assert [int(np.isnan(request.plan).all(axis=1).sum()) for request in evening.requests] == [1, 1]
    assert [request.latent for request in evening.requests] == [
        evening.controls.snapshot.latent_at(bar) for bar in (7, 8)
    ]


def test_a_recalled_point_is_approached_over_its_bars() -> None:
    evening = playing(4.3)
    evening.touch("latent/level0", 2)
    evening.touch("latent/store", 7)
    evening.touch("latent/level0", 0)
    evening.bars(1)
    evening.requests.clear()
    evening.touch("latent/recall", 7, 2)
    evening.bars(1)
    assert latents(evening) == [(6, 1), (7, 2), (8, 2)]
    evening.requests.clear()
    evening.touch("latent/store", 8)
    evening.touch("latent/level0", 0)
    evening.touch("latent/store", 9)
    evening.touch("latent/blend", 8, 9, 0.75)
    evening.bars(0.3)
    assert latents(evening) == [(7, 0.25), (8, 0.25)]  # slot 8 was kept half way, at 1


def test_a_walk_is_asked_for_bar_by_bar_and_a_bar_that_is_asked_again_has_the_same_latent() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/walk", 0.5)
    evening.bars(3)
    assert evening.asked() == [5, 6, 7, 8, 9]
    before = {request.index: request.latent for request in evening.requests}
    assert len(set(before.values())) == 5
    evening.requests.clear()
    evening.touch("param/temperature", 0.7)
    evening.touch("reroll")
    evening.bars(0.3)
    assert {request.index: request.latent for request in evening.requests} == {8: before[8], 9: before[9]}


def test_the_same_controls_at_the_same_bars_make_the_same_piece() -> None:
    def evening(seed: int) -> list[Bar]:
        one = Set(seed=seed)
        one.bars(1)
        one.start()
        for address, values in (
            ("latent/walk", (0.6,)),
            ("latent/glide", (5,)),
            ("latent/level0", (1, -1, 2)),
            ("latent/store", (0,)),
            ("latent/level0", (-1, 2)),
            ("latent/recall", (0, 9)),
            ("harmony/chroma", (1.0,) * 24),
        ):
            one.touch(address, *values)
            one.bars(1.3)
        return one.heard()

    assert evening(5) == evening(5)
    assert evening(5) != evening(6)


def test_a_start_after_a_glide_begins_at_its_target_and_asks_for_nothing_twice() -> None:
    evening = playing(4.3)
    evening.touch("latent/glide", 3)
    evening.touch("latent/level0", 2)
    evening.bars(6)
    evening.stop()
    evening.requests.clear()
    evening.bars(1)
    evening.start()
    evening.bars(3.5)
    assert latents(evening) == [(index, 2) for index in range(6)]


def test_song_position_finds_the_bars_of_a_walk_as_they_were() -> None:
    evening = Set()
    evening.touch("latent/walk", 0.5)
    evening.bars(1)
    evening.start()
    evening.bars(20.5)
    known = evening.heard()
    evening.stop()
    evening.locate(7 * 1920)
    evening.bars(1)
    evening.resume()
    evening.bars(5)
    assert evening.heard()[21:] == known[7:13]
