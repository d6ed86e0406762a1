"""The controls of the latent: its dimensions, its glides and walk, the points that are kept."""

import math

import pytest

from fractal_live.live.controls import Controls, Outcome
from fractal_live.live.latent_path import between, wandering


def at(controls: Controls, bar_index: int) -> tuple[float, ...]:
    """The first two dimensions of a bar's latent."""
    return controls.snapshot.latent_at(bar_index)[:2]


def test_a_shorter_latent_sets_the_first_dimensions_only(controls: Controls) -> None:
    controls.apply("/fractal/latent/level0", [1.0] * 16)
    controls.apply("/fractal/latent/level0", [2.0, -2.0])
    assert controls.snapshot.latent == (2.0, -2.0) + (1.0,) * 14


def test_a_latent_of_too_many_floats_is_reported_and_changes_nothing(controls: Controls) -> None:
    outcome = controls.apply("/fractal/latent/level0", [1.0] * 10_000)
    assert outcome.error == "/fractal/latent/level0: 10000 values; allowed: up to 16"
    assert controls.snapshot.latent == (0.0,) * 16


def test_one_nan_refuses_the_whole_latent(controls: Controls) -> None:
    assert controls.apply("/fractal/latent/level0", [1.0, math.nan, 1.0]).error
    assert controls.snapshot.latent == (0.0,) * 16


def test_single_dimensions_are_counted_from_zero(controls: Controls) -> None:
    controls.apply("/fractal/latent/level0/15", [0.5])
    assert controls.snapshot.latent == (0.0,) * 15 + (0.5,)
    assert controls.apply("/fractal/latent/level0/16", [0.5]).error


def test_a_bare_latent_is_heard_but_a_gain_pulled_down_stays_down() -> None:
    controls = Controls({"latent_gain": 0.0})
    assert controls.apply("/fractal/latent/level0", [1.0]).changed == ("latent", "latent_gain")
    assert controls.snapshot.latent_gain == 1.0
    controls.apply("/fractal/latent/gain", [0.0])
    assert controls.apply("/fractal/latent/level0", [2.0]).changed == ("latent",)
    assert controls.snapshot.latent_gain == 0.0


def test_a_latent_is_glided_to_from_the_playing_bar_on(controls: Controls) -> None:
    controls.playhead_in(9)
    assert controls.apply("/fractal/latent/glide", [4.0]).changed == ("latent_glide",)
    assert controls.apply("/fractal/latent/level0", [2.0]).changed == ("latent", "latent_gain")
    assert [at(controls, bar)[0] for bar in (9, 10, 11, 12, 13, 14)] == [0, 0.5, 1, 1.5, 2, 2]
    assert controls.snapshot.latent[0] == 2


def test_a_single_dimension_glides_too_and_a_change_on_the_way_starts_from_there(controls: Controls) -> None:
    controls.apply("/fractal/latent/glide", [4])
    controls.playhead_in(9)
    controls.apply("/fractal/latent/level0/1", [2.0])
    controls.playhead_in(11)
    controls.apply("/fractal/latent/level0/1", [-1.0])
    assert [at(controls, bar)[1] for bar in (11, 12, 13, 14, 15)] == [1, 0.5, 0, -0.5, -1]


def test_the_length_of_a_glide_changes_no_glide_that_is_under_way(controls: Controls) -> None:
    controls.apply("/fractal/latent/glide", [4])
    controls.apply("/fractal/latent/level0", [2.0])
    before = controls.snapshot.latent_path
    controls.apply("/fractal/latent/glide", [60])
    assert controls.snapshot.latent_path == before


def test_a_latent_that_is_repeated_while_it_glides_changes_nothing(controls: Controls) -> None:
    controls.apply("/fractal/latent/glide", [4])
    controls.apply("/fractal/latent/level0", [2.0])
    controls.playhead_in(2)
    before = controls.snapshot
    assert controls.apply("/fractal/latent/level0", [2.0]) == Outcome()
    assert controls.snapshot is before


def test_a_jump_back_ends_a_glide_at_its_target(controls: Controls) -> None:
    controls.apply("/fractal/latent/glide", [8])
    controls.playhead_in(20)
    controls.apply("/fractal/latent/level0", [2.0])
    controls.playhead_in(21)
    version = controls.snapshot.version
    controls.playhead_in(0)
    assert {at(controls, bar)[0] for bar in range(40)} == {2.0}
    assert controls.snapshot.version == version + 1
    controls.playhead_in(-1)
    assert controls.snapshot.version == version + 1


def test_a_patch_begins_at_its_latent_however_long_its_glides_are() -> None:
    controls = Controls({"latent_glide": 8, "latent": [2.0, 1.0]})
    assert {at(controls, bar) for bar in range(-1, 20)} == {(2.0, 1.0)}
    controls.apply("/fractal/latent/level0", [0.0, 1.0])
    assert at(controls, 3) == between((2.0, 1.0), (0.0, 1.0), 0.5)


def test_the_walk_follows_from_the_cycles_seed_and_the_bar(controls: Controls) -> None:
    controls.apply("/fractal/generate", [42])
    assert controls.apply("/fractal/latent/walk", [0.5]).changed == ("latent_walk",)
    first = [controls.snapshot.latent_at(bar) for bar in range(20)]
    assert first == [tuple(0.5 * step for step in wandering(42, bar)) for bar in range(20)]
    controls.apply("/fractal/reroll", [])
    assert [controls.snapshot.latent_at(bar) for bar in range(20)] == first
    controls.apply("/fractal/generate", [43])
    assert controls.snapshot.latent_at(3) != first[3]
    assert controls.apply("/fractal/latent/walk", [0]).changed == ("latent_walk",)
    assert controls.snapshot.latent_at(3) == (0.0,) * 16


def test_a_recalled_point_is_glided_to_over_the_time_that_was_set_or_given(controls: Controls) -> None:
    controls.apply("/fractal/latent/level0", [0.0, 2.0])
    assert controls.apply("/fractal/latent/store", [3.0]) == Outcome()
    controls.apply("/fractal/latent/level0", [4.0, 0.0])
    controls.apply("/fractal/latent/glide", [2])
    controls.playhead_in(9)
    assert controls.apply("/fractal/latent/recall", [3.0]).changed == ("latent",)
    assert at(controls, 10) == pytest.approx(between((4.0, 0.0), (0.0, 2.0), 0.5))
    assert at(controls, 11) == (0.0, 2.0)
    assert controls.apply("/fractal/latent/recall", [3, 8]).changed == ("latent",)
    assert at(controls, 13) == pytest.approx(between((4.0, 0.0), (0.0, 2.0), 0.5))
    assert controls.apply("/fractal/latent/recall", [3, 0]).changed == ("latent",)
    assert at(controls, 10) == (0.0, 2.0)


def test_what_is_stored_is_the_point_of_the_playing_bar(controls: Controls) -> None:
    controls.apply("/fractal/latent/walk", [0.5])
    controls.apply("/fractal/latent/glide", [4])
    controls.playhead_in(9)
    controls.apply("/fractal/latent/level0", [2.0])
    controls.playhead_in(11)
    heard = controls.snapshot.latent_at(11)
    controls.apply("/fractal/latent/store", [0])
    controls.apply("/fractal/latent/walk", [0])
    controls.apply("/fractal/latent/recall", [0, 0])
    assert controls.snapshot.latent_at(12) == heard


def test_before_the_first_bar_what_is_stored_is_the_point_that_was_set(controls: Controls) -> None:
    controls.apply("/fractal/latent/glide", [8])
    controls.apply("/fractal/latent/level0", [2.0])
    controls.apply("/fractal/latent/store", [15])
    controls.apply("/fractal/latent/level0", [-2.0])
    controls.apply("/fractal/latent/recall", [15, 0])
    assert at(controls, 0) == (2.0, 0.0)


def test_a_blend_is_the_point_between_two_slots(controls: Controls) -> None:
    for slot, values in ((0, [2.0, 0.0]), (1, [0.0, 1.0])):
        controls.apply("/fractal/latent/level0", values)
        controls.apply("/fractal/latent/store", [slot])
    for share in (0.0, 0.3, 1.0):
        controls.apply("/fractal/latent/blend", [0.0, 1.0, share])
        assert at(controls, 5) == pytest.approx(between((2.0, 0.0), (0.0, 1.0), share))
    outcome = controls.apply("/fractal/latent/blend", [0, 1, -2])
    assert outcome == Outcome(("latent",), error="/fractal/latent/blend: -2 is outside 0 to 1; the nearest is used")
    assert at(controls, 5) == (2.0, 0.0)


def test_a_recall_raises_a_gain_that_was_never_sent() -> None:
    controls = Controls({"latent_gain": 0.0})
    controls.apply("/fractal/latent/store", [0])
    assert controls.apply("/fractal/latent/recall", [0]).changed == ("latent_gain",)
    assert controls.snapshot.latent_gain == 1.0


@pytest.mark.parametrize(
    ("address", "sent", "said"),
    [
        ("recall", [4], "slot 4 is empty; filled slots: 2, 9"),
        ("blend", [2, 4, 0.5], "slot 4 is empty; filled slots: 2, 9"),
        ("store", [16], "allowed slots: 0 to 15"),
        ("store", [-1.0], "allowed slots: 0 to 15"),
        ("recall", [99, 4], "allowed slots: 0 to 15"),
        ("store", [], "0 values; allowed: 1"),
        ("store", [1, 2], "2 values; allowed: 1"),
        ("recall", [], "0 values; allowed: 1 or 2"),
        ("recall", [2, 3, 4], "3 values; allowed: 1 or 2"),
        ("blend", [2, 9], "2 values; allowed: 3"),
        ("store", ["verse"], "str where a number belongs"),
    ],
)
def test_a_slot_that_cannot_be_used_is_answered_and_changes_nothing(
    controls: Controls, address: str, sent: list[object], said: str
) -> None:
    controls.apply("/fractal/latent/store", [9])
    controls.apply("/fractal/latent/store", [2])
    before = controls.snapshot
    refused = Outcome(error=f"/fractal/latent/{address}: {said}", about=f"latent_{address}")
    assert controls.apply(f"/fractal/latent/{address}", sent) == refused
    assert controls.snapshot is before
    assert controls.apply("/fractal/latent/recall", [7]).error == (
        "/fractal/latent/recall: slot 7 is empty; filled slots: 2, 9"
    )


def test_without_a_stored_point_a_recall_says_so(controls: Controls) -> None:
    assert controls.apply("/fractal/latent/recall", [0]).error == (
        "/fractal/latent/recall: slot 0 is empty; filled slots: none"
    )


def test_a_glide_out_of_range_in_a_recall_is_clamped_and_said(controls: Controls) -> None:
    controls.apply("/fractal/latent/level0", [2.0])
    controls.apply("/fractal/latent/store", [0])
    controls.apply("/fractal/latent/level0", [0.0])
    outcome = controls.apply("/fractal/latent/recall", [0, 99])
    assert outcome == Outcome(("latent",), error="/fractal/latent/recall: 99 is outside 0 to 64; the nearest is used")
    assert [at(controls, bar)[0] for bar in (-1, 31, 63)] == [0, 1, 2]
