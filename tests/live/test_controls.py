import math

import numpy as np
import pytest

from fractal_live.live.control_table import BY_ADDRESS, BY_NAME, CONTROLS, PATCH_KEYS
from fractal_live.live.controls import HELD_NS, Controls, Outcome
from fractal_live.live.latent_path import between, wandering
from fractal_live.live.snapshot import GivenChroma, GivenCurve
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.plan import COLUMN
from fractal_live.music.request import Sampling


@pytest.fixture
def controls() -> Controls:
    return Controls(seed=7)


def test_the_untouched_snapshot_is_the_defaults_of_a_request(controls: Controls) -> None:
    snapshot = controls.snapshot
    assert snapshot.sampling == Sampling()
    assert snapshot.latent == (0.0,) * 16
    assert (snapshot.latent_gain, snapshot.lead_bars, snapshot.transpose, snapshot.velocity) == (0.3, 2, 0, 1.0)
    assert np.isnan(snapshot.plan_from(0)).all()
    assert snapshot.chroma_of(0, FOUR_FOUR) is None


def test_a_changed_value_makes_a_new_version_and_the_same_value_does_not(controls: Controls) -> None:
    before = controls.snapshot.version
    assert controls.apply("/fractal/param/temperature", [1.5]) == Outcome(changed=("temperature",))
    assert controls.apply("/fractal/param/temperature", [1.5]) == Outcome()
    assert controls.snapshot.version == before + 1
    assert controls.snapshot.sampling.temperature == 1.5


@pytest.mark.parametrize(("sent", "kept"), [(3.0, 3), (2.6, 3), (True, 1), (-30.0, -24), (24, 24)])
def test_whole_numbers_take_floats_and_booleans(controls: Controls, sent: float, kept: int) -> None:
    controls.apply("/fractal/param/transpose", [sent])
    assert controls.snapshot.transpose == kept


def test_the_newest_of_several_samples_of_one_channel_counts(controls: Controls) -> None:
    controls.apply("/fractal/param/cfg", [1.0, 2.0, 3.0])
    assert controls.snapshot.sampling.cfg_scale == 3.0


def test_out_of_range_is_clamped_and_said_once_per_control(controls: Controls) -> None:
    first = controls.apply("/fractal/param/temperature", [9.0])
    second = controls.apply("/fractal/param/temperature", [-9.0])
    other = controls.apply("/fractal/param/velocity", [100.0])
    assert first.changed == ("temperature",) and "outside 0.1 to 2" in str(first.error)
    assert second == Outcome(changed=("temperature",))
    assert "outside 0.25 to 2" in str(other.error)
    assert controls.snapshot.sampling.temperature == 0.1
    assert (controls.accepted, controls.clamped, controls.refused) == (3, 3, 0)


@pytest.mark.parametrize("address", sorted(a for a, c in BY_ADDRESS.items() if c.kind != "bang"))
@pytest.mark.parametrize("bad", ["loud", math.nan, -math.inf, b"x", [1.0], 10**400])
def test_what_is_no_finite_number_is_refused_and_changes_nothing(address: str, bad: object) -> None:
    controls = Controls(seed=7)
    before = controls.snapshot
    outcome = controls.apply(address, [bad])
    assert outcome.changed == () and outcome.action is None and outcome.error
    assert controls.snapshot is before
    assert controls.refused == 1


def test_a_value_without_a_number_is_refused(controls: Controls) -> None:
    assert "no value" in str(controls.apply("/fractal/param/temperature", []).error)
    assert "no value" in str(controls.apply("/fractal/param/temperature", [None]).error)


def test_an_unknown_address_is_answered_with_the_nearest_right_one(controls: Controls) -> None:
    outcome = controls.apply("/fractal/param/temprature", [1.0])
    assert outcome.error == "/fractal/param/temprature: no such address; nearest: /fractal/param/temperature"
    assert controls.refused == 1


def test_a_flood_of_unknown_addresses_is_counted_and_remembered_within_bounds(controls: Controls) -> None:
    for number in range(500):
        assert controls.apply(f"/x{number}", [], now_ns=number).error
    assert controls.refused == 500
    assert "nearest" not in str(controls.apply("/fractal/panik", [], now_ns=500).error)
    assert "nearest: /fractal/panic" in str(controls.apply("/fractal/panik", [], now_ns=10**9).error)


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


# The latent's way.


def at(controls: Controls, bar_index: int) -> tuple[float, ...]:
    """The first two dimensions of a bar's latent."""
    return controls.snapshot.latent_at(bar_index)[:2]


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
    assert controls.apply(f"/fractal/latent/{address}", sent) == Outcome(error=f"/fractal/latent/{address}: {said}")
    assert controls.snapshot is before
    assert controls.apply("/fractal/latent/recall", [7]).error == (
        "/fractal/latent/recall: slot 7 is empty; filled slots: 2, 9"
    )


def test_without_a_stored_point_a_recall_says_so(controls: Controls) -> None:
    assert controls.apply("/fractal/latent/recall", [0]).error == (
        "/fractal/latent/recall: slot 0 is empty; filled slots: none"
    )


@pytest.mark.parametrize(
    ("address", "sent", "kept"),
    [
        ("/fractal/latent/glide", 65, 64.0),
        ("/fractal/latent/glide", -1, 0.0),
        ("/fractal/latent/walk", 1.5, 1.0),
        ("/fractal/param/mask_k", 17, 16.0),
        ("/fractal/param/mask_p", 1, 0.95),
        ("/fractal/param/cfg_schedule", 2, 1.0),
    ],
)
def test_the_nearest_value_in_range_is_used_and_that_is_said(
    controls: Controls, address: str, sent: float, kept: float
) -> None:
    control = BY_ADDRESS[address]
    error = f"{address}: {sent:g} is outside {control.low:g} to {control.high:g}; the nearest is used"
    assert controls.apply(address, [sent]).error == error
    assert controls.apply(address, [kept]) == Outcome()


def test_a_glide_out_of_range_in_a_recall_is_clamped_and_said(controls: Controls) -> None:
    controls.apply("/fractal/latent/level0", [2.0])
    controls.apply("/fractal/latent/store", [0])
    controls.apply("/fractal/latent/level0", [0.0])
    outcome = controls.apply("/fractal/latent/recall", [0, 99])
    assert outcome == Outcome(("latent",), error="/fractal/latent/recall: 99 is outside 0 to 64; the nearest is used")
    assert [at(controls, bar)[0] for bar in (-1, 31, 63)] == [0, 1, 2]


def test_filters_and_the_schedule_of_guidance_reach_the_sampling(controls: Controls) -> None:
    controls.apply("/fractal/param/mask_k", [2.6])
    controls.apply("/fractal/param/mask_p", [0.5])
    controls.apply("/fractal/param/cfg_schedule", [1.0])
    assert controls.snapshot.sampling == Sampling(mask_k=3, mask_p=0.5, cfg_schedule="linear")
    controls.apply("/fractal/param/cfg_schedule", [0.2])
    assert controls.snapshot.sampling.cfg_schedule == "constant"


# The harmony.

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


# The plan.


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


@pytest.mark.parametrize("name", [c.name for c in CONTROLS if c.kind == "bang"])
@pytest.mark.parametrize("press", [[], [1.0], [1], [True], [math.inf]])
def test_a_bang_acts_when_pressed(name: str, press: list[object]) -> None:
    assert Controls().apply(BY_NAME[name].address, press).action == name


@pytest.mark.parametrize("name", [c.name for c in CONTROLS if c.kind == "bang"])
@pytest.mark.parametrize("release", [[0.0], [0], [False]])
def test_the_release_of_a_button_does_nothing(name: str, release: list[object]) -> None:
    controls = Controls()
    before = controls.snapshot
    assert controls.apply(BY_NAME[name].address, release) == Outcome()
    assert controls.snapshot is before


def test_a_button_repeated_every_frame_is_one_press_until_it_is_released(controls: Controls) -> None:
    frame_ns = HELD_NS // 6
    held = [controls.apply("/fractal/panic", [1.0], now_ns=frame * frame_ns).action for frame in range(60)]
    assert held == ["panic"] + [None] * 59
    controls.apply("/fractal/panic", [0.0], now_ns=60 * frame_ns)
    assert controls.apply("/fractal/panic", [1.0], now_ns=61 * frame_ns).action == "panic"


def test_bangs_without_an_argument_are_never_taken_for_a_held_button(controls: Controls) -> None:
    assert [controls.apply("/fractal/clock/beat", [], now_ns=step).action for step in range(3)] == ["clock_beat"] * 3


def test_generate_with_a_seed_repeats_and_without_one_differs(controls: Controls) -> None:
    assert controls.apply("/fractal/generate", [42.0]) == Outcome(("cycle_seed",), "generate", 42)
    assert controls.snapshot.cycle_seed == 42
    fresh = {controls.apply("/fractal/generate", press).argument for press in ([], [1.0], [])}
    assert len(fresh) == 3


def test_the_fresh_seeds_of_a_set_follow_from_its_first_seed() -> None:
    first, second = Controls(seed=3), Controls(seed=3)
    assert [first.apply("/fractal/generate", []) for _ in range(5)] == [
        second.apply("/fractal/generate", []) for _ in range(5)
    ]


def test_a_reroll_counts_within_its_cycle(controls: Controls) -> None:
    controls.apply("/fractal/generate", [42])
    assert controls.apply("/fractal/reroll", []) == Outcome(("rerolls",), "reroll")
    assert (controls.snapshot.cycle_seed, controls.snapshot.rerolls) == (42, 1)
    controls.apply("/fractal/generate", [43])
    assert controls.snapshot.rerolls == 0


def test_transport_tempo_is_an_action_within_its_range(controls: Controls) -> None:
    assert controls.apply("/fractal/transport/tempo", [96]) == Outcome(action="tempo", argument=96.0)
    assert controls.apply("/fractal/transport/tempo", [9000.0]).argument == 400.0


def test_subscribe_hands_on_the_port_it_was_given(controls: Controls) -> None:
    assert controls.apply("/fractal/subscribe", [9001.0]) == Outcome(action="subscribe", argument=9001.0)
    assert controls.apply("/fractal/subscribe", []) == Outcome(action="subscribe")


def test_defaults_come_from_a_patch_without_raising_the_gain_for_good() -> None:
    controls = Controls({"temperature": 0.8, "latent_gain": 0.0}, {"density": 9, "register": [50, 60]})
    assert controls.snapshot.sampling.temperature == 0.8
    assert controls.snapshot.plan[COLUMN["density"]] == GivenCurve((9.0,))
    assert controls.snapshot.plan[COLUMN["register"]] == GivenCurve((50.0, 60.0), 0)
    assert controls.apply("/fractal/latent/level0", [1.0]).changed == ("latent", "latent_gain")
    assert controls.accepted == 1


@pytest.mark.parametrize(
    "values",
    [{"temprature": 1.0}, {"temperature": 9.0}, {"panic": 1}, {"top_k": "many"}, {"latent_recall": 1}, {"chroma": [1]}],
)
def test_defaults_that_the_table_does_not_allow_are_an_error(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Controls(values)


def test_every_patch_key_takes_its_default() -> None:
    defaults = {name: BY_NAME[name].default for name in PATCH_KEYS}
    assert Controls({name: value for name, value in defaults.items() if value is not None}).refused == 0
