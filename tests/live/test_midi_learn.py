"""What is moved is recognised: seven bits or fourteen, a key, a program."""

from __future__ import annotations

import pytest

from fractal_live.live.midi_learn import LSB_WAIT_NS, Learned, Learner
from fractal_live.live.midi_map import TARGETS

KNOB, BUTTON = TARGETS["temperature"], TARGETS["panic"]


def test_a_knob_above_31_has_seven_bits_and_is_known_at_once() -> None:
    assert Learner(KNOB).hear(bytes((0xB1, 74, 3)), 0) == Learned("cc", "2:74")


def test_a_knob_whose_lower_bits_follow_has_fourteen() -> None:
    learner = Learner(KNOB)
    assert learner.hear(bytes((0xB0, 1, 64)), 0) is None
    assert learner.hear(bytes((0xB1, 33, 5)), 10) is None, "another channel's"
    assert learner.wait(LSB_WAIT_NS - 1) is None
    assert learner.hear(bytes((0xB0, 33, 5)), 10) == Learned("cc14", "1:1")


def test_a_knob_whose_lower_bits_do_not_come_has_seven() -> None:
    learner = Learner(KNOB)
    assert learner.wait(10**12) is None
    assert learner.hear(bytes((0xB0, 1, 64)), 5) is None
    assert learner.hear(bytes((0xB0, 1, 65)), LSB_WAIT_NS) is None
    assert learner.wait(LSB_WAIT_NS + 5) == Learned("cc", "1:1")


def test_a_button_is_learned_from_a_key_or_a_controller_and_a_knob_from_no_key() -> None:
    assert Learner(BUTTON).hear(bytes((0x99, 36, 100)), 0) == Learned("notes", "10:36")
    assert Learner(BUTTON).hear(bytes((0x99, 36, 0)), 0) is None
    assert Learner(BUTTON).hear(bytes((0xB0, 20, 127)), 0) == Learned("cc", "1:20")
    assert Learner(KNOB).hear(bytes((0x99, 36, 100)), 0) is None


def test_a_patch_is_learned_from_a_program_change_alone() -> None:
    learner = Learner(None)
    assert learner.hear(bytes((0x90, 36, 100)), 0) is None and learner.hear(bytes((0xB0, 20, 1)), 0) is None
    assert learner.hear(bytes((0xC3, 4)), 0) == Learned("programs", "5")


@pytest.mark.parametrize("message", [b"\xb0", b"\xb0\x14", b"\xc0", b"\xe0\x00\x40", b"\xb0\x7b\x00"])
def test_what_is_cut_short_or_no_controller_teaches_nothing(message: bytes) -> None:
    assert [Learner(target).hear(message, 0) for target in (KNOB, BUTTON, None)] == [None] * 3


def test_what_was_heard_is_said_in_words() -> None:
    said = [Learned("cc", "2:74"), Learned("cc14", "1:1"), Learned("notes", "36"), Learned("programs", "5")]
    assert [str(learned) for learned in said] == [
        "controller 74 on channel 2",
        "controller 1 and 33 on channel 1, 14 bits",
        "note 36",
        "program 5",
    ]
