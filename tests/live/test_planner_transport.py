"""The planner at Start, Stop, Continue and Song Position."""

import pytest

from tests.live.evening import BAR_NS, answer, playing, prepared, request_of, same


def test_start_after_stop_plays_the_bars_prepared_for_it_which_are_those_of_the_first_start() -> None:
    evening = playing(6.5)
    first = evening.requests.copy()
    evening.stop()
    evening.requests.clear()
    evening.bars(1)
    assert evening.asked() == [0, 1]
    evening.start()
    evening.bars(4.5)
    assert all(same(again, once) for again, once in zip(evening.requests, first, strict=False))
    assert evening.asked() == [0, 1, 2, 3, 4, 5, 6]
    assert evening.heard()[7:] == evening.heard()[:5]


def test_continue_goes_on_with_the_old_bars() -> None:
    evening, straight = playing(6.5), playing(12)
    evening.stop()
    evening.bars(3)
    evening.resume()
    evening.bars(5.5)
    assert evening.heard() == straight.heard()


def test_continue_inside_the_first_bar_is_no_new_start() -> None:
    """The transport rolls in bar 0 again, but no bar begins: the set goes on."""
    evening, straight = playing(0.5), playing(4)
    evening.stop()
    evening.bars(1)
    evening.resume()
    evening.bars(3.5)
    assert evening.heard() == straight.heard()


def test_the_first_start_drops_nothing_whichever_news_comes_first() -> None:
    """The stage says that bar 0 has begun before it says that it rolls; the planner took this for a second Start
    and forgot all it had."""
    for is_bar_first in (True, False):
        evening = prepared()
        planner = evening.planner
        offer = planner.offers()[0]
        news = [
            lambda planner=planner, offer=offer: planner.bar_began(offer.bar, offer.version, False),
            lambda planner=planner: planner.transport_moved(True, 0, 120.0),
        ]
        for tell in news if is_bar_first else reversed(news):
            tell()
        assert planner.lead_bars == 1
        request = request_of(planner, BAR_NS)
        assert (request.index, len(request.past)) == (2, 2)


def test_a_start_before_its_bars_are_ready_plays_the_opening_of_the_last_set_and_remembers_it() -> None:
    evening = playing(6.5)
    opening = evening.heard()[:1]
    evening.stop()
    evening.touch("generate", 99)
    evening.start()
    evening.bars(4)
    assert evening.heard()[7:8] == opening
    assert {bar.seed for bar in evening.heard()[8:]} != {bar.seed for bar in opening}
    assert evening.requests[-1].past[:5] == tuple(evening.heard()[7:12])
    assert not any(begun.is_fallback for begun in evening.sounded)


def test_a_start_while_it_rolls_begins_anew() -> None:
    """Bars 2, 3, ... of the last set counted as ready, though the stage has dropped them: fallbacks to the end."""
    evening = playing(20.5)
    evening.start_while_rolling()
    evening.bars(10)
    assert [begun.bar.index for begun in evening.sounded[21:]] == list(range(11))
    assert not any(begun.is_fallback for begun in evening.sounded)
    assert evening.heard()[21] == evening.heard()[0]
    assert evening.requests[-1].past[:11] == tuple(evening.heard()[21:])


def test_a_prepared_opening_never_takes_the_place_of_a_bar_that_continue_would_play() -> None:
    """Stopped in bar 0, the stage has one place for bar 1: it belongs to the set that is under way."""
    evening = playing(0.5)
    evening.stop()
    evening.touch("param/temperature", 0.7)
    evening.bars(1)
    evening.resume()
    evening.bars(1)
    made_of = next(request for request in evening.requests if answer(request).bar == evening.heard()[1])
    assert (made_of.sampling.temperature, made_of.past) == (0.7, tuple(evening.heard()[:1]))


def test_with_a_long_lead_a_new_start_does_not_count_on_bars_that_the_stage_refused() -> None:
    """Of bars behind the playhead the stage takes only the first two."""
    evening = playing(20.5)
    evening.touch("param/lead_bars", 6)
    evening.stop()
    evening.bars(3)
    evening.start()
    evening.bars(10)
    assert not any(begun.is_fallback for begun in evening.sounded)


@pytest.mark.parametrize("bar_index", [3, 19, 20, 21, 22, 40])
def test_song_position_finds_the_bar_there_made_in_time(bar_index: int) -> None:
    """The stage keeps no bars before the playhead, so those that were played are asked for again."""
    evening = playing(20.5)
    evening.stop()
    evening.locate(bar_index * 1920)
    evening.bars(1)
    evening.resume()
    evening.bars(5)
    assert [begun.bar.index for begun in evening.sounded[21:]] == list(range(bar_index, bar_index + 6))
    assert not any(begun.is_fallback for begun in evening.sounded)
    known = evening.heard()[:21]
    assert [bar for bar in evening.heard()[21:] if bar.index < 21] == known[bar_index : bar_index + 6]


def test_going_far_ahead_and_back_counts_on_no_bar_that_the_stage_has_dropped() -> None:
    evening = playing(20.5)
    evening.stop()
    evening.locate(40 * 1920)
    evening.resume()
    evening.bars(2.5)
    evening.stop()
    evening.locate(21 * 1920)
    evening.bars(1)
    evening.resume()
    evening.bars(4)
    assert [begun.bar.index for begun in evening.sounded[-5:]] == [21, 22, 23, 24, 25]
    assert not any(begun.is_fallback for begun in evening.sounded[-5:])


def test_bars_that_were_ready_and_jumped_over_are_no_past() -> None:
    evening = playing(20.5)
    evening.stop()
    evening.requests.clear()
    evening.locate(30 * 1920)
    evening.bars(0.5)
    at_30, at_31 = evening.requests[:2]
    assert (at_30.index, at_30.past) == (30, tuple(evening.heard()))
    assert (at_31.index, at_31.past) == (31, (*evening.heard(), answer(at_30).bar))


def test_after_a_long_set_an_early_start_is_still_the_opening_that_was_played() -> None:
    """A memory of 64 bars had lost it, so that what sounded was taken down as it was transposed."""
    evening = prepared()
    evening.touch("param/transpose", 12)
    evening.start()
    evening.bars(70.5)
    evening.stop()
    evening.start()
    evening.bars(0.4)
    assert evening.requests[-1].past[0] == answer(evening.requests[0]).bar


def test_song_position_zero_prepares_the_top_and_going_back_keeps_the_set() -> None:
    evening, straight = playing(6.5), playing(9)
    evening.stop()
    evening.locate(0)
    evening.bars(1)
    assert evening.planner.lead_bars == 2
    evening.locate(7 * 1920)
    evening.bars(1)
    evening.resume()
    evening.bars(2)
    assert evening.heard() == straight.heard()


def test_stopped_at_a_bar_line_a_new_cycle_is_heard_at_once() -> None:
    """One bar per bang: the bar at the line has not begun, so it is asked for again."""
    evening = playing(3.99)
    evening.stop()
    evening.locate(4 * 1920)
    evening.requests.clear()
    evening.touch("generate", 99)
    evening.bars(1)
    assert evening.asked()[:2] == [4, 5]
    evening.resume()
    assert evening.sounded[-1].bar == answer(evening.requests[0]).bar


def test_a_position_that_lags_behind_the_bar_that_began_moves_nothing() -> None:
    """With a latency set the stage plays ahead of the position it reports."""
    evening = playing(6)
    lead, bars = evening.planner.lead_bars, evening.planner.bars_from(0, 20)
    evening.planner.transport_moved(True, 5, 120.0)
    assert (evening.planner.position, evening.planner.lead_bars) == (6, lead)
    assert evening.planner.bars_from(0, 20) == bars


def test_the_version_that_sounded_is_the_past_even_if_a_newer_one_was_on_its_way() -> None:
    evening = playing(4.5)
    planner = evening.planner
    evening.touch("param/transpose", 7)
    old = next(offer for offer in planner.offers() if offer.bar.index == 5)
    evening.touch("param/temperature", 0.7)
    request = request_of(planner, BAR_NS)
    assert request.index == 5
    new = planner.answered(answer(request))
    assert new is not None
    assert new.bar != old.bar
    planner.bar_began(old.bar, old.version, False)
    request = request_of(planner, BAR_NS)
    assert request.past[5] == answer(evening.requests[5]).bar
