"""What subscribers are told, message by message."""

from collections.abc import Iterator

import numpy as np
import pytest

from fractal_live.feedback import Feedback, tell_bar, tell_plan, tell_state
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import unknown_plan
from fractal_live.ports.osc_out import OscOut
from fractal_live.ports.pipes import Sounded, TransportState

FOUR, SEVEN = Meter(4, 4), Meter(7, 8)
LATENT = tuple(k / 16 for k in range(16))


class Ear(OscOut):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__([("127.0.0.1", 9)])
        self.told: list[tuple[object, ...]] = []

    def send(self, address: str, *values: object, to: object = None) -> None:
        self.told.append((address.removeprefix("/fractal/out/"), *values))

    def of(self, address: str) -> list[tuple[object, ...]]:
        return [values for told, *values in self.told if told == address]


@pytest.fixture
def ear() -> Iterator[Ear]:
    heard = Ear()
    yield heard
    heard.close()


def bar_of(index: int, *notes: Note, meter: Meter = FOUR, **given: object) -> Bar:
    return Bar(index, notes, meter, **given)  # type: ignore[arg-type]


def none(index: int, count: int) -> tuple[Bar, ...]:
    return ()


def test_a_note_is_told_with_its_length_in_beats_and_its_end_with_none(ear: Ear) -> None:
    feedback = Feedback(ear, FOUR)
    feedback.bar(
        bar_of(3, Note(0, 60, 240, 90, 1), Note(480, 60, 100, 80), Note(480, 60, 960, 80, 1)), unknown_plan(), LATENT
    )
    ear.told.clear()
    for tick, message in (
        (0, b"\x91\x3c\x5a"),
        (240, b"\x81\x3c\x00"),
        (480, b"\x91\x3c\x50"),
        (1440, b"\x91\x3c\x00"),
    ):
        feedback.note(Sounded(3 * 1920 + tick, message), none)
    feedback.note(Sounded(0, b"\xb0\x7b\x00"), none)
    feedback.note(Sounded(0, b"\xc0\x05"), none)
    assert ear.told == [
        ("note", 60, 90, 0.5, 2),
        ("note", 60, 0, 0.0, 2),
        ("note", 60, 80, 2.0, 2),
        ("note", 60, 0, 0.0, 2),
    ]


def test_the_length_of_a_note_before_its_bar_has_begun_is_asked_for(ear: Ear) -> None:
    feedback, asked = Feedback(ear, FOUR), []

    def bars(index: int, count: int) -> list[Bar]:
        asked.append((index, count))
        return [bar_of(index, Note(5, 64, 480, 70))]

    feedback.note(Sounded(1920, b"\x90\x40\x46"), bars)
    assert ear.told == [("note", 64, 70, 1.0, 1)] and asked == [(1, 1)]
    feedback.note(Sounded(1920, b"\x90\x43\x46"), bars)
    assert ear.told[1:] == [("note", 67, 70, 0.25, 1)] and asked == [(1, 1)]


def test_each_level_says_what_it_decided_in_the_bar(ear: Ear) -> None:
    notes = (Note(0, 60, 480, 90), Note(0, 64, 480, 90), Note(121, 67, 100, 90), Note(1900, 72, 100, 90))
    halves = ((1.0,) * 12, (0.5,) * 12)
    plan = (4.0, 120.0, 1.0, 2.0, float("nan"), 90.0)
    tell_bar(ear, bar_of(7, *notes, plan=plan, chroma=halves))
    assert ear.told == [
        ("bar", 7),
        ("chroma", *halves[0]),
        ("level/0", 4.0, 120.0, 1.0, 2.0, -1.0, 90.0),
        ("level/1", *halves[0], *halves[1]),
        ("level/2", 3.0, 0.0, 0.0, 1.0),
        ("level/3", 2.0, 1.0, *[0.0] * 13, 1.0),
    ]


def test_where_no_harmony_was_decided_the_one_that_sounds_is_told(ear: Ear) -> None:
    tell_bar(ear, bar_of(0, Note(0, 61, 480, 90)))
    assert ear.of("level/1") == [[0.0, 1.0, *[0.0] * 22]]


def test_the_last_beat_of_an_odd_bar_is_shorter(ear: Ear) -> None:
    tell_bar(ear, bar_of(0, Note(1440, 60, 100, 90), Note(1560, 62, 100, 90), meter=SEVEN))
    assert ear.of("level/2") == [[0.0, 0.0, 0.0, 2.0]]
    assert len(ear.of("level/3")[0]) == 14


def test_what_of_the_plan_is_not_imagined_is_told_as_minus_one(ear: Ear) -> None:
    plan = unknown_plan()
    plan[0] = np.arange(6)
    tell_plan(ear, plan, LATENT)
    assert ear.told[0] == ("plan/density", 0.0, *[-1.0] * 31)
    assert ear.told[-1] == ("latent", *LATENT) and len(ear.told) == 7


def test_the_position_is_told_with_its_next_line_and_the_second_half_with_its_harmony(ear: Ear) -> None:
    feedback = Feedback(ear, FOUR)
    halves = ((1.0,) * 12, (0.5,) * 12)
    feedback.bar(bar_of(1, chroma=halves), unknown_plan(), LATENT)
    ear.told.clear()
    lines = [feedback.position(1920 + tick) for tick in (0.0, 120.4, 959.9, 960.0, 1000.0, 1919.0)]
    assert lines == [1920 + line for line in (480, 480, 960, 1440, 1440, 1920)]
    assert ear.of("beat") == [
        [1, 0, 0.0],
        [1, 0, 0.25],
        [1, 1, 479 / 480],
        [1, 2, 0.0],
        [1, 2, 40 / 480],
        [1, 3, 479 / 480],
    ]
    assert ear.of("chroma") == [list(halves[1])]
    assert feedback.position(3840.0) == 3840 + 480
    assert len(ear.of("chroma")) == 1, "the bar has not begun yet"


def test_beats_of_an_odd_bar_end_at_its_line(ear: Ear) -> None:
    feedback = Feedback(ear, SEVEN)
    assert [feedback.position(float(tick)) for tick in (1440, 1679, 1680)] == [1680, 1680, 1680 + 480]


def test_an_asker_is_told_patch_device_controls_bar_and_plan(ear: Ear) -> None:
    feedback = Feedback(ear, FOUR)
    controls = {"/fractal/param/cfg": (1.5,), "/fractal/plan/density": ()}
    feedback.settings("nocturne", "cpu", controls, unknown_plan(), LATENT, to=None)
    assert ear.told[:4] == [
        ("patch", "nocturne"),
        ("state/device", "cpu"),
        ("control/param/cfg", 1.5),
        ("control/plan/density",),
    ]
    assert not ear.of("bar") and len(ear.of("latent")) == 1
    feedback.bar(bar_of(2), unknown_plan(), LATENT)
    ear.told.clear()
    feedback.settings("nocturne", "cpu", controls, unknown_plan(), LATENT, to=None)
    assert ear.of("bar") == [[2]]


def test_the_state_is_one_value_each(ear: Ear) -> None:
    tell_state(ear, TransportState(True, 0, 96.0, True, 0), 1_500_000, 3, {"underruns": 2, "restarts": 1})
    assert ear.told == [
        ("state/underruns", 2),
        ("state/restarts", 1),
        ("state/lead", 3),
        ("state/lateness_ms", 1.5),
        ("state/tempo", 96.0),
    ]
