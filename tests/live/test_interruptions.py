"""What of a bar was not heard, told from what the recording holds."""

from __future__ import annotations

from fractal_live.live.interruptions import Interruptions, Promise
from fractal_live.live.provenance import Interrupted

BAR = 1920
C, E = (0, 60), (0, 64)


def promised(*notes: tuple[int, int, tuple[int, int]]) -> tuple[Promise, ...]:
    return tuple(Promise(on, off, voice, 64) for on, off, voice in notes)


def heard(told: Interruptions, *notes: tuple[int, int, tuple[int, int]]) -> None:
    for on, off, voice in notes:
        told.struck(on, voice, 64)
        told.closed(off, voice)


def two_bars(*notes: tuple[int, int, tuple[int, int]]) -> Interruptions:
    """A bar of two notes of which these were heard, and the next one."""
    told = Interruptions()
    told.began(0, BAR, promised((0, 480, C), (960, 2400, E)))
    heard(told, *notes)
    told.began(BAR, 2 * BAR, ())
    return told


def test_of_a_bar_that_was_heard_as_it_was_made_nothing_is_said() -> None:
    assert two_bars((0, 480, C), (960, 2400, E)).take() == []


def test_a_note_that_ended_early_and_one_that_was_not_heard_are_told() -> None:
    assert two_bars((0, 100, C)).take() == [Interrupted(0, ((0, 100), (1, -1)))]


def test_a_note_that_ended_where_its_pitch_was_struck_again_was_not_cut() -> None:
    told = two_bars((0, 480, C), (960, 2000, E), (2000, 2100, E))
    assert told.take() == []
    assert told.pending(2 * BAR) == [Interrupted(1, (), ((2000, 0, 64, 64, 100),))]


def test_a_bar_is_judged_when_its_notes_have_ended_and_before_that_as_if_they_ended_now() -> None:
    told = two_bars((0, 480, C))
    told.struck(960, E, 64)
    assert told.take() == []
    assert told.pending(2000) == [Interrupted(0, ((1, 1040),))]
    told.closed(2400, E)
    assert told.take() == []


def test_notes_of_no_bar_are_told_whole() -> None:
    assert two_bars((0, 480, C), (960, 2400, E), (961, 970, C)).take() == [Interrupted(0, (), ((961, 0, 60, 64, 9),))]


def test_a_bar_of_which_nothing_was_heard_makes_room_for_the_next_at_its_line() -> None:
    told = Interruptions()
    told.began(0, BAR, promised((0, 480, C)))
    assert told.jumped() == [Interrupted(0, ((0, -1),))]
    told.began(0, BAR, promised((0, 480, C)))
    heard(told, (0, 480, C))
    assert told.pending(BAR) == []
