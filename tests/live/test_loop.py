"""Bars that go round: what sounds while they do, what the model is asked, and how it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fractal_live.live.loop import Loop
from fractal_live.music.notes import Bar, Note
from fractal_live.music.request import MENDING, BarRequest
from tests.live.evening import DENSITY, Set, playing


def notes_of(evening: Set, first: int, last: int) -> list[tuple[Note, ...]]:
    """What sounded in bars `first` to `last`, as it sounded last."""
    heard = {bar.index: bar.notes for bar in evening.heard()}
    return [heard[index] for index in range(first, last + 1)]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_last_bars_go_round_from_the_next_line_on_and_the_model_is_left_alone(count: int) -> None:
    evening = playing(6.5)
    asked = len(evening.requests)
    evening.freeze(count)
    evening.bars(8)
    frozen = notes_of(evening, 7 - count, 6)
    assert notes_of(evening, 7, 14) == (frozen * 8)[:8]
    assert len(evening.requests) == asked
    assert not any(begun.is_fallback for begun in evening.sounded)


def test_let_go_the_music_goes_on_from_what_was_heard() -> None:
    evening = playing(6.5)
    evening.freeze(2)
    evening.bars(5)
    asked = len(evening.requests)
    evening.freeze(0)
    evening.bars(4)
    first = evening.requests[asked]
    assert first.index == 12
    heard = {bar.index: bar.notes for bar in evening.heard()}
    assert [bar.notes for bar in first.past[-8:]] == [heard[index] for index in range(4, 12)]
    frozen = notes_of(evening, 5, 6)
    assert notes_of(evening, 12, 15) != (frozen * 2)
    assert not any(begun.is_fallback for begun in evening.sounded)


def test_a_gap_in_the_loop_is_made_anew_and_the_other_bars_stay() -> None:
    evening = playing(9.5)
    evening.freeze(4)
    evening.mend(2, 3)
    evening.bars(9)
    (gap,) = evening.gaps
    assert gap.is_missing == (False, True, True, False)
    assert [bar.notes for bar in gap.bars] == notes_of(evening, 6, 9)
    one, two, three, four = notes_of(evening, 14, 17)
    assert (one, four) == (gap.bars[0].notes, gap.bars[3].notes)
    assert len(two) == len(three) == 1 and two != gap.bars[1].notes
    assert len(evening.requests) == len([wish for wish in evening.requests if wish.index < 14])


def test_without_a_loop_a_gap_freezes_what_was_played() -> None:
    evening = playing(3.5)
    evening.mend(1, 2)
    evening.bars(1)
    assert evening.planner.loop is not None and len(evening.planner.loop.bars) == 4
    assert evening.gaps[0].is_missing == (True, True, False, False)


def test_a_gap_that_the_loop_does_not_have_is_refused_and_it_goes_on() -> None:
    evening = playing(3.5)
    evening.freeze(2)
    with pytest.raises(ValueError, match="bars 2 to 5: the loop has bars 1 to 2"):
        evening.mend(2, 5)
    evening.bars(2)
    assert evening.gaps == []


def test_a_gap_that_was_not_asked_for_yet_goes_with_its_loop() -> None:
    """It was asked of the next loop, which may have no such bars: then asking raised."""
    evening = playing(8.5)
    evening.freeze(8)
    evening.mend(5, 8)
    evening.freeze(2)
    evening.bars(2)
    assert evening.gaps == []
    assert notes_of(evening, 9, 10) == notes_of(evening, 7, 8)


def test_before_anything_was_played_there_is_nothing_to_freeze() -> None:
    evening = Set()
    evening.freeze(4)
    assert evening.planner.loop is None
    with pytest.raises(ValueError, match="nothing was played"):
        evening.mend(1, 1)


def test_a_new_start_is_not_in_the_loop() -> None:
    evening = playing(4.5)
    evening.freeze(1)
    evening.bars(2)
    evening.stop()
    evening.bars(1)
    evening.start()
    evening.bars(3)
    assert evening.planner.loop is None
    opening = [bar.notes for bar in evening.heard()][-3:]
    assert opening[0] != opening[1] or opening[1] != opening[2]


def test_the_model_may_be_lost_while_it_makes_a_gap() -> None:
    evening = playing(4.5)
    evening.freeze(2)
    evening.mend(1, 1)
    evening.advance(1)
    evening.planner.request_failed()
    evening.bars(2)
    assert not any(begun.is_fallback for begun in evening.sounded)


def test_a_loop_goes_round_from_its_first_bar_before_it_too() -> None:
    bars = tuple(Bar(index, (Note(0, 60 + index, 10, 80),)) for index in range(3))
    loop = Loop(bars, 7)
    assert [loop.bar_at(index).notes[0].pitch for index in range(5, 12)] == [61, 62, 60, 61, 62, 60, 61]
    assert loop.mended(tuple(replace(bar, notes=()) for bar in bars)).bar_at(8) == Bar(8)
    with pytest.raises(ValueError, match="2 bars for a loop of 3"):
        loop.mended(bars[:2])
    request = loop.mending(2, 2, MENDING, 5, 9)
    assert ([bar.index for bar in request.bars], request.is_missing) == ([0, 1, 2], (False, True, False))


def test_a_factor_of_the_density_scales_what_is_held_and_is_gone_when_it_is_one_again() -> None:
    evening = playing(2.5)
    evening.touch("plan/density", 12)
    evening.touch("plan/density_factor", 2)
    evening.bars(4)
    assert [len(bar) for bar in notes_of(evening, 5, 6)] == [24, 24]
    evening.touch("plan/density_factor", 0.5)
    evening.bars(4)
    assert [len(bar) for bar in notes_of(evening, 9, 10)] == [6, 6]
    evening.touch("plan/density_factor", 1)
    evening.bars(4)
    assert [len(bar) for bar in notes_of(evening, 13, 14)] == [12, 12]


def test_a_factor_scales_what_is_imagined_once_however_often_a_bar_is_asked_for() -> None:
    plain, scaled = playing(3.5), playing(3.5)
    scaled.touch("plan/density_factor", 0.5)
    for evening in (plain, scaled):
        for _ in range(3):
            evening.touch("reroll")
            evening.bars(0.05)
        evening.bars(3)

    def densities(evening: Set) -> dict[int, float]:
        newest: dict[int, BarRequest] = {wish.index: wish for wish in evening.requests}
        return {index: float(wish.plan[0, DENSITY]) for index, wish in newest.items() if index in (5, 6)}

    assert densities(plain).keys() == {5, 6}
    for index, density in densities(plain).items():
        assert densities(scaled)[index] == pytest.approx(density / 2)
