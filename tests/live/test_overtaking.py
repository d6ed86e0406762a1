"""A bar that is being made gives way to the next one when that has become another, and only then."""

from __future__ import annotations

from tests.live.evening import MS, SLICE_NS, Set, playing

TOOK_NS = 300 * MS


def to_line(evening: Set, left_ns: int) -> None:
    """On to where so much time is left to the next bar line."""
    assert evening.ns_to_next_bar is not None and evening.ns_to_next_bar >= left_ns
    evening.advance(evening.ns_to_next_bar - left_ns)


def settled() -> Set:
    """In bar 4, all ready; a bar takes 300 ms."""
    evening = playing(4.05, took_ns=lambda: TOOK_NS)
    to_line(evening, 1_000 * MS)
    assert evening.planner.in_flight is None and evening.planner.usual_ns == TOOK_NS
    evening.requests.clear()
    return evening


def test_a_change_while_the_model_is_busy_overtakes_what_is_stale_where_waiting_would_be_too_long() -> None:
    evening = settled()
    evening.touch("plan/density", 5)
    evening.advance(100 * MS)
    to_line(evening, 600 * MS)
    evening.touch("plan/density", 9)
    evening.advance(SLICE_NS)
    assert evening.asked() == [5, 6, 5], "bar 6 was under way"
    evening.bars(1)
    assert len(evening.heard()[5].notes) == 9


def test_a_change_that_can_wait_for_the_bar_under_way_lets_it_be_made() -> None:
    evening = settled()
    evening.touch("plan/density", 5)
    evening.advance(100 * MS)
    evening.touch("plan/density", 9)
    evening.advance(SLICE_NS)
    assert evening.asked() == [5], "880 ms are left: enough for both"
    evening.bars(1)
    assert len(evening.heard()[5].notes) == 9


def test_a_bar_that_knows_the_change_is_not_begun_again() -> None:
    evening = settled()
    to_line(evening, 600 * MS)
    evening.touch("plan/density", 9)
    evening.advance(200 * MS)
    assert evening.asked() == [5]


def test_a_change_too_late_for_the_next_bar_lets_the_model_go_on() -> None:
    evening = settled()
    to_line(evening, 500 * MS)
    evening.touch("plan/density", 9)
    evening.advance(200 * MS)
    under_way = evening.planner.in_flight
    evening.touch("plan/density", 5)
    evening.advance(80 * MS)
    assert evening.planner.in_flight is under_way
    evening.bars(1)
    assert len(evening.heard()[5].notes) == 9


def test_with_a_model_half_as_fast_as_the_music_a_fader_that_never_rests_costs_no_bar() -> None:
    evening = playing(4.05, took_ns=lambda: 1_000 * MS)
    for turn in range(400):
        evening.touch("plan/density", 3 + turn % 9)
        evening.advance(100 * MS)
    assert not any(begun.is_fallback for begun in evening.sounded)
