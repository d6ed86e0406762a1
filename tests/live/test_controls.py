"""The controls: values that are kept, clamped or refused, buttons, seeds, and what a patch begins with."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fractal_live.live.buttons import HELD_NS
from fractal_live.live.control_table import BY_ADDRESS, BY_NAME, CONTROLS, PATCH_KEYS
from fractal_live.live.controls import Controls, Outcome
from fractal_live.live.dressing import Dress
from fractal_live.live.snapshot import GivenCurve
from fractal_live.music.meter import FOUR_FOUR
from fractal_live.music.plan import COLUMN
from fractal_live.music.request import Sampling
from fractal_live.music.scales import SCALE_NAMES, chord_chroma


def test_the_untouched_snapshot_is_the_defaults_of_a_request(controls: Controls) -> None:
    snapshot = controls.snapshot
    assert snapshot.sampling == Sampling()
    assert snapshot.latent == (0.0,) * 16
    assert (snapshot.latent_gain, snapshot.lead_bars, snapshot.dress) == (0.3, 2, Dress())
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
    assert controls.snapshot.dress.transpose == kept


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


@pytest.mark.parametrize(
    "address", sorted(a for a, c in BY_ADDRESS.items() if c.kind != "bang" and c.name not in ("patch", "score"))
)
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


def test_filters_and_the_schedule_of_guidance_reach_the_sampling(controls: Controls) -> None:
    controls.apply("/fractal/param/mask_k", [2.6])
    controls.apply("/fractal/param/mask_p", [0.5])
    controls.apply("/fractal/param/cfg_schedule", [1.0])
    assert controls.snapshot.sampling == Sampling(mask_k=3, mask_p=0.5, cfg_schedule="linear")
    controls.apply("/fractal/param/cfg_schedule", [0.2])
    assert controls.snapshot.sampling.cfg_schedule == "constant"


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
    assert controls.apply("/fractal/transport/tempo", [96]) == Outcome(action="tempo", argument=96.0, arguments=(96.0,))
    assert controls.apply("/fractal/transport/tempo", [9000.0]).argument == 400.0


def test_freeze_and_infill_hand_on_their_bars_and_patch_its_name(controls: Controls) -> None:
    assert controls.apply("/fractal/freeze", [4.0]) == Outcome(action="freeze", argument=4.0, arguments=(4.0,))
    assert controls.apply("/fractal/freeze", [0]).arguments == (0.0,)
    assert controls.apply("/fractal/infill", [2, 3.0]).arguments == (2.0, 3.0)
    assert controls.apply("/fractal/infill", [2]).error == "/fractal/infill: 1 values; allowed: 2"
    assert controls.apply("/fractal/patch", ["glass"]) == Outcome(action="patch", name="glass")
    assert controls.apply("/fractal/score", ["song.mid"]) == Outcome(action="score", name="song.mid")


def test_a_chord_a_key_and_a_scale_go_by_their_names(controls: Controls) -> None:
    assert controls.apply("/fractal/harmony/chord", ["Am"]).changed == ("chroma",)
    given = controls.snapshot.chroma_of(3, FOUR_FOUR)
    assert given is not None and np.allclose(given, [chord_chroma("Am")] * 2)
    assert controls.apply("/fractal/harmony/chord", ["Am", "F", "C", "G"]).changed == ("chroma",)
    second = controls.snapshot.chroma_of(1, FOUR_FOUR)
    assert second is not None and np.allclose(second, [chord_chroma("C"), chord_chroma("G")])
    assert controls.apply("/fractal/harmony/chord", []).changed == ("chroma",)
    assert controls.snapshot.chroma_of(0, FOUR_FOUR) is None
    controls.apply("/fractal/harmony/key", ["Eb"])
    controls.apply("/fractal/harmony/scale", ["minor_pentatonic"])
    dress = controls.snapshot.dress
    assert (dress.key, SCALE_NAMES[dress.scale]) == (3, "minor pentatonic")
    controls.apply("/fractal/harmony/scale", [0.0])
    assert controls.snapshot.dress.scale == 0
    assert "dorian" in str(controls.apply("/fractal/harmony/scale", ["dorien"]).error)


def test_splits_are_counted_from_one(controls: Controls) -> None:
    controls.apply("/fractal/split/1/mute", [1])
    controls.apply("/fractal/split/3/solo", [1.0])
    controls.apply("/fractal/split/8/level", [0.5])
    dress = controls.snapshot.dress
    assert (dress.muted, dress.soloed, dress.levels) == (frozenset({0}), frozenset({2}), (1.0,) * 7 + (0.5,))
    assert "no such address" in str(controls.apply("/fractal/split/9/mute", [1]).error)


def test_another_patch_leaves_nothing_of_the_first_but_the_cycle() -> None:
    first = Controls({"temperature": 1.7, "chord": ("Am", "F")}, {"density": 9}, seed=4)
    first.apply("/fractal/split/1/mute", [1])
    first.apply("/fractal/latent/level0", [2.0])
    first.apply("/fractal/generate", [99])
    first.take_patch({"swing": 0.5, "latent": (1.0,)}, {"loudness": 30})
    other = Controls({"swing": 0.5, "latent": (1.0,)}, {"loudness": 30}, seed=99)
    assert replace(first.snapshot, version=0) == replace(other.snapshot, version=0)


@pytest.mark.parametrize("name", ["subscribe", "unsubscribe", "query"])
def test_two_who_name_a_port_in_one_breath_are_no_button_that_is_held(controls: Controls, name: str) -> None:
    taken = [controls.apply(f"/fractal/{name}", [9001.0], now_ns=step) for step in range(2)]
    assert taken == [Outcome(action=name, argument=9001.0)] * 2


def test_a_refusal_names_its_control_and_all_strangers_are_alike(controls: Controls) -> None:
    assert controls.apply("/fractal/plan/density", ["loud"]).about == "plan_density"
    assert {controls.apply(f"/nowhere/{number}", []).about for number in range(3)} == {"no such address"}
    assert controls.apply("/fractal/plan/density", [12.0]).about == ""


def test_what_was_set_is_told_as_it_would_be_sent() -> None:
    controls = Controls(seed=5)
    for address, values in (
        ("/fractal/param/top_k", [40.0]),
        ("/fractal/plan/density", [12.0]),
        ("/fractal/plan/register", [50.0, 60.0, 70.0]),
        ("/fractal/latent/level0", [0.5, -1.0]),
        ("/fractal/harmony/chroma", [0.0, 0.5] * 12),
        ("/fractal/latent/walk", [0.25]),
    ):
        assert controls.apply(address, values).error is None
    told = controls.values()
    assert told["/fractal/plan/register"] == (50.0, 60.0, 70.0) and told["/fractal/plan/tempo"] == ()
    assert told["/fractal/latent/level0"] == (0.5, -1.0, *[0.0] * 14)
    twin = Controls(seed=5)
    for address, given in told.items():
        twin.apply(address, given)
    assert replace(twin.snapshot, version=0) == replace(controls.snapshot, version=0)


def test_the_same_values_once_more_change_nothing() -> None:
    """A sender may say everything in every video frame: nothing is to be planned anew for that."""
    controls = Controls(plan={"density": (8.0, 9.0)})
    controls.apply("/fractal/latent/level0", [1.0])
    before = controls.snapshot
    again = [controls.apply(address, values) for address, values in controls.values().items()]
    assert set(again) == {Outcome()} and controls.snapshot is before


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
