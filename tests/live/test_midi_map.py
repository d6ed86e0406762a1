"""Knobs, keys and program changes mean what the patch's map says, and go through the controls as OSC does."""

from __future__ import annotations

import pytest

from fractal_live.live.control_table import BY_ADDRESS
from fractal_live.live.controls import Controls
from fractal_live.live.midi_map import BUTTONS, TARGETS, MidiHands, MidiMap, Place, place_named

TEMPERATURE = TARGETS["temperature"]
DENSITY = TARGETS["plan_density"]
ON_ANY = Place(None, 20)


def turned(hands: MidiHands, *values: tuple[int, int], channel: int = 0) -> list[float]:
    """The arguments that so many control changes (number, value) lead to."""
    sent = [hands.hear(bytes((0xB0 | channel, number, value))) for number, value in values]
    return [float(arguments[0]) for messages in sent for _, arguments in messages or ()]


def pressed(hands: MidiHands, *messages: tuple[int, ...]) -> list[object]:
    return [hands.hear(bytes(message)) for message in messages]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_target_is_obeyed_by_the_controls_over_its_whole_range(name: str, controls: Controls) -> None:
    target = TARGETS[name]
    assert target.address in BY_ADDRESS
    sent = [target.arguments] if target.arguments else [(target.low,), (target.high,)]
    if target.is_button and not target.arguments:
        sent = [(1.0,), (0.0,)]
    if "recall" in name:
        assert controls.apply("/fractal/latent/store", target.arguments).error is None
    assert [controls.apply(target.address, arguments).error for arguments in sent] == [None] * len(sent)
    assert controls.clamped == controls.refused == 0


def test_a_knob_goes_through_the_whole_range_of_its_control() -> None:
    hands = MidiHands(MidiMap(cc={ON_ANY: TEMPERATURE}))
    assert turned(hands, (20, 0), (20, 127)) == [0.1, 2.0]
    assert turned(hands, (20, 64), channel=15) == [pytest.approx(0.1 + 1.9 * 64 / 127)]
    assert hands.hear(bytes((0xB0, 21, 5))) is None


def test_whole_numbers_are_rounded_and_the_same_value_changes_nothing(controls: Controls) -> None:
    hands = MidiHands(MidiMap(cc={ON_ANY: TARGETS["transpose"]}))
    changed = []
    for value in (64, 64, 65, 66):
        for address, arguments in hands.hear(bytes((0xB0, 20, value))) or ():
            changed.append(controls.apply(address, arguments).changed)
    assert controls.snapshot.dress.transpose == 1  # 66 of 127 between -24 and 24 is 0.94
    assert changed == [(), (), ("transpose",), ()]


def test_a_place_with_a_channel_goes_before_one_without() -> None:
    hands = MidiHands(MidiMap(cc={ON_ANY: TEMPERATURE, Place(1, 20): DENSITY}))
    assert hands.hear(bytes((0xB1, 20, 127))) == (("/fractal/plan/density", (47.0,)),)
    assert hands.hear(bytes((0xB2, 20, 127))) == (("/fractal/param/temperature", (2.0,)),)


def test_splits_latent_dimensions_and_slots_are_named_with_their_index() -> None:
    assert TARGETS["split_level/2"].address == "/fractal/split/2/level"
    assert TARGETS["latent/3"].address == "/fractal/latent/level0/3"
    keys = {Place(None, 60): BUTTONS["latent_store/5"], Place(None, 61): BUTTONS["latent_recall/5"]}
    hands = MidiHands(MidiMap(notes=keys))
    assert pressed(hands, (0x90, 60, 9), (0x80, 60, 0), (0x90, 61, 9)) == [
        (("/fractal/latent/store", (5.0,)),),
        (),
        (("/fractal/latent/recall", (5.0,)),),
    ]
    loop = MidiHands(MidiMap(notes={Place(None, 62): BUTTONS["freeze/8"], Place(None, 63): BUTTONS["infill/2"]}))
    assert pressed(loop, (0x90, 62, 9), (0x90, 63, 9)) == [
        (("/fractal/freeze", (8.0,)),),
        (("/fractal/infill", (2.0, 2.0)),),
    ]


# Fourteen bits.


def test_an_upper_half_alone_goes_through_the_whole_range() -> None:
    hands = MidiHands(MidiMap(cc14={Place(None, 1): TARGETS["latent/0"]}))
    assert turned(hands, (1, 0), (1, 127)) == [-4.0, 4.0]


def test_a_lower_half_refines_and_a_new_upper_half_begins_at_its_zero() -> None:
    """MIDI 1.0: on an MSB the receiver sets its LSB to zero; on an LSB alone the MSB stands."""
    hands = MidiHands(MidiMap(cc14={Place(None, 1): TARGETS["latent_gain"]}))
    turned(hands, (1, 64))
    values = turned(hands, (33, 127), (33, 5), (1, 65), (33, 1), (1, 127), (33, 127))
    expected = [64 * 128 + 127, 64 * 128 + 5, 65 * 128, 65 * 128 + 1, 127 * 128, 16383]
    assert values == pytest.approx([value / 16383 for value in expected])


def test_a_knob_that_sends_both_halves_each_time_moves_steadily() -> None:
    hands = MidiHands(MidiMap(cc14={Place(None, 1): TARGETS["latent_gain"]}))
    turned(hands, (1, 64), (33, 0))
    assert turned(hands, *(half for low in range(128) for half in ((1, 64), (33, low)))) == sorted(
        (64 * 128 + low) / 16383 for low in range(128)
    )


def test_a_lower_half_before_any_upper_one_says_nothing() -> None:
    hands = MidiHands(MidiMap(cc14={Place(None, 1): TARGETS["latent_gain"]}))
    assert hands.hear(bytes((0xB0, 33, 7))) == ()


def test_the_same_knob_on_two_channels_keeps_two_values() -> None:
    hands = MidiHands(MidiMap(cc14={Place(None, 1): TARGETS["latent_gain"]}))
    turned(hands, (1, 10), channel=0)
    turned(hands, (1, 100), channel=1)
    assert turned(hands, (33, 3), channel=0) == [pytest.approx((10 * 128 + 3) / 16383)]


# Keys, buttons, programs.


def test_a_key_triggers_when_it_goes_down_and_its_release_is_no_music() -> None:
    hands = MidiHands(MidiMap(notes={Place(9, 36): BUTTONS["panic"]}))
    press, release = (("/fractal/panic", (1.0,)),), (("/fractal/panic", (0.0,)),)
    for off in ((0x99, 36, 0), (0x89, 36, 64)):
        assert pressed(hands, (0x99, 36, 1), (0x99, 36, 1), off, off) == [press, (), release, ()]
    assert pressed(hands, (0x90, 36, 100), (0x80, 36, 0)) == [None, None], "another channel's key is music"


def test_a_button_of_a_controller_is_pressed_from_64_up_once() -> None:
    hands = MidiHands(MidiMap(cc={ON_ANY: TARGETS["reroll"]}))
    values = turned(hands, (20, 63), (20, 64), (20, 127), (20, 127), (20, 10), (20, 0), (20, 127))
    assert values == [1.0, 0.0, 1.0]


def test_a_press_that_is_repeated_quickly_with_releases_acts_each_time(controls: Controls) -> None:
    hands = MidiHands(MidiMap(notes={Place(None, 36): BUTTONS["reroll"]}))
    for at_ns in range(4):
        for message in ((0x90, 36, 99), (0x80, 36, 0)):
            for address, arguments in hands.hear(bytes(message)) or ():
                controls.apply(address, arguments, at_ns)
    assert controls.snapshot.rerolls == 4


def test_a_program_change_is_a_patch(controls: Controls) -> None:
    hands = MidiHands(MidiMap(programs={4: "nocturne"}))
    ((address, arguments),) = hands.hear(bytes((0xC3, 4))) or ()
    outcome = controls.apply(address, arguments)
    assert (outcome.action, outcome.name) == ("patch", "nocturne")
    assert hands.hear(bytes((0xC3, 5))) is None


@pytest.mark.parametrize(
    "message", [b"\xb0", b"\xb0\x14", b"\xc0", b"\x90\x24", b"\xe0\x00\x40", b"\xd0\x10", b"\xf3\x01"]
)
def test_what_is_cut_short_or_of_another_kind_is_left_alone(message: bytes) -> None:
    hands = MidiHands(MidiMap({ON_ANY: TEMPERATURE}, {}, {Place(None, 36): BUTTONS["panic"]}, {0: "plain"}))
    assert hands.hear(message) is None


def test_places_are_written_as_they_are_read() -> None:
    for text in ("0", "74", "1:0", "16:127"):
        assert str(place_named(text, 127)) == text
    for text in ("", "-1", "128", "0:1", "17:1", "a:1", "1:1:1", "1.5", "²"):
        with pytest.raises(ValueError, match="allowed: a number from 0 to 127"):
            place_named(text, 127)
