"""The planner asks for bars: in order and once, again when the controls change, and around those that come late."""

from dataclasses import replace

import pytest

from fractal_live.live.controls import Controls
from fractal_live.live.planner import Planner
from fractal_live.live.scheduler import BegunBar
from fractal_live.music.notes import Bar, Note
from fractal_live.music.request import BarRequest
from tests.live.evening import BAR_NS, MS, answer, playing, prepared, request_of, same

# The ordinary course.


def test_before_the_first_start_the_lead_is_made_and_no_more() -> None:
    evening = prepared()
    assert evening.asked() == [0, 1]
    assert evening.planner.lead_bars == 2
    evening.touch("param/lead_bars", 5)
    evening.bars(1)
    assert evening.asked() == [0, 1, 2, 3, 4]


def test_every_bar_is_asked_for_once_in_order_with_all_that_was_played_before_it() -> None:
    evening = playing(70)
    assert evening.asked() == list(range(73))
    assert evening.heard() == [answer(request).bar for request in evening.requests[:71]]
    for request in evening.requests:
        made = [answer(earlier).bar for earlier in evening.requests[: request.index]]
        assert request.past == tuple(made[-64:])


def test_nothing_is_asked_while_an_answer_is_awaited() -> None:
    planner = Planner()
    planner.controls_changed(Controls().snapshot)
    request = request_of(planner)
    assert planner.next_request(None) is None
    planner.request_failed()
    again = request_of(planner)
    assert same(again, request)


def test_without_controls_nothing_is_asked() -> None:
    assert Planner().next_request(None) is None


def test_an_answer_to_nothing_or_to_another_request_is_ignored() -> None:
    planner = Planner()
    planner.controls_changed(Controls().snapshot)
    assert planner.answered(answer(BarRequest(0, version=1))) is None
    request = request_of(planner)
    assert planner.answered(answer(replace(request, version=request.version + 1))) is None
    assert planner.in_flight is request
    assert planner.answered(answer(request)) is not None


def test_a_bar_that_was_given_to_a_new_stage_is_given_whole() -> None:
    evening = playing(3.5)
    offers = evening.planner.offers()
    assert [offer.bar.index for offer in offers] == [4, 5]
    assert [offer.bar for offer in offers] == [answer(request).bar for request in evening.requests[4:6]]


# Control changes.


def test_a_change_replaces_what_has_not_begun_the_nearest_first() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("param/temperature", 0.7)
    evening.bars(0.5)
    assert evening.asked() == [5, 6]
    assert {request.sampling.temperature for request in evening.requests} == {0.7}
    evening.bars(2)
    assert evening.heard()[5:7] == [answer(request).bar for request in evening.requests[:2]]


def test_what_is_missing_comes_before_what_is_stale() -> None:
    evening = playing(4.1)
    evening.requests.clear()
    evening.touch("param/lead_bars", 4)
    evening.touch("param/temperature", 0.7)
    evening.bars(0.5)
    assert evening.asked() == [7, 8, 5, 6]


def test_a_stale_bar_whose_line_comes_soon_is_before_what_is_missing() -> None:
    evening = playing(4.86)  # 280 ms before the line, a bar takes 100
    evening.requests.clear()
    evening.touch("param/lead_bars", 3)
    evening.touch("param/temperature", 0.7)
    evening.bars(0.13)
    assert evening.asked()[:2] == [5, 7]


def test_a_bar_too_near_its_line_is_committed() -> None:
    evening = playing(4.95)
    evening.requests.clear()
    evening.touch("param/temperature", 0.7)
    evening.bars(0.5)
    assert evening.asked()[:2] == [6, 7]
    evening.bars(1)
    assert [begun.bar.index for begun in evening.sounded] == list(range(7))
    assert not any(begun.is_fallback for begun in evening.sounded)


def test_the_old_bar_plays_if_its_replacement_is_late() -> None:
    """The insurance is kept until the new version is there."""
    times = iter([100 * MS] * 7)
    evening = playing(4.5, took_ns=lambda: next(times, 5 * BAR_NS))
    old = answer(evening.requests[5]).bar
    evening.touch("param/temperature", 0.7)
    assert evening.planner.lead_bars == 2
    evening.bars(0.6)
    assert evening.asked()[-1] == 5
    assert evening.sounded[-1] == BegunBar(old, evening.sounded[-1].version, False)


def test_what_was_asked_with_older_controls_is_of_use_until_it_is_asked_again() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("param/temperature", 0.7)
    evening.advance(40 * MS)
    evening.touch("param/temperature", 0.8)
    evening.bars(0.5)
    assert [(request.index, request.sampling.temperature) for request in evening.requests] == [
        (5, 0.7),
        (5, 0.8),
        (6, 0.8),
    ]


def test_a_longer_lead_and_a_transposition_make_nothing_stale() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("param/lead_bars", 3)
    evening.touch("param/transpose", 5)
    evening.bars(0.4)
    assert evening.asked() == [7]


def test_transposing_dresses_the_coming_bars_anew_and_leaves_the_past_as_the_model_made_it() -> None:
    evening = playing(2.5)
    evening.touch("param/transpose", -12)
    evening.touch("param/velocity", 0.5)
    evening.bars(3)
    made = [answer(request).bar for request in evening.requests]
    dressed = [
        tuple(replace(note, pitch=note.pitch - 12, velocity=max(1, round(note.velocity * 0.5))) for note in bar.notes)
        for bar in made[3:6]
    ]
    assert [bar.notes for bar in evening.heard()[3:6]] == dressed
    assert evening.heard()[:3] == made[:3]
    assert evening.requests[6].past == tuple(made[:6])
    assert evening.planner.bars_from(3, 2) == tuple(evening.heard()[3:5])


def test_a_pitch_that_leaves_the_range_of_midi_stays_in_it_by_octaves() -> None:
    planner = Planner()
    controls = Controls({"transpose": 24})
    planner.controls_changed(controls.snapshot)
    request = request_of(planner)
    bar = Bar(0, (Note(0, 103, 10, 64), Note(0, 104, 10, 64), Note(0, 127, 10, 64)))
    offer = planner.answered(replace(answer(request), bar=bar))
    assert offer is not None
    assert [note.pitch for note in offer.bar.notes] == [116, 127]  # 104 and 116 are struck at once
    assert {note.pitch % 12 for note in offer.bar.notes} == {(103 + 24) % 12, (104 + 24) % 12}


# Late bars.


def test_a_fallback_is_the_past_when_it_sounded() -> None:
    times = iter([100 * MS] * 5 + [3 * BAR_NS])
    evening = playing(9, took_ns=lambda: next(times, 100 * MS))
    is_fallback = [begun.is_fallback for begun in evening.sounded]
    assert is_fallback[:5] == [False] * 5
    assert True in is_fallback
    assert not any(is_fallback[-2:])
    assert evening.requests[-1].past[: len(evening.sounded)] == tuple(evening.heard())


def test_two_fallbacks_in_a_row_are_remembered_as_they_sounded() -> None:
    """Each is followed by one of its own; the planner recorded another than the stage had."""
    times = iter([100 * MS] * 6 + [4 * BAR_NS])
    evening = playing(10, took_ns=lambda: next(times, 100 * MS))
    assert sum(begun.is_fallback for begun in evening.sounded) >= 2
    assert evening.requests[-1].past[: len(evening.sounded)] == tuple(evening.heard())


def test_a_fallback_has_the_density_of_the_row_it_stands_for() -> None:
    evening = prepared()
    evening.touch("plan/density", 6)
    evening.bars(1)
    assert {len(offer.fallback.notes) for offer in evening.planner.offers()} == {6}


def test_an_answer_for_a_bar_that_has_begun_is_dropped() -> None:
    times = iter([100 * MS] * 3)
    evening = playing(2.2, took_ns=lambda: next(times, 2 * BAR_NS))
    assert evening.asked() == [0, 1, 2, 3]
    evening.bars(1)
    begun = evening.sounded[3]
    assert begun.is_fallback
    assert evening.planner.bars_from(3, 1) == (begun.bar,)
    evening.bars(0.2)
    assert evening.planner.bars_from(3, 1) == (begun.bar,)


@pytest.mark.parametrize(("bars_per_bar", "least"), [(1.2, 0.75), (2.3, 0.35), (5.5, 0.12)])
def test_a_model_slower_than_the_music_still_plays_what_it_can(bars_per_bar: float, least: float) -> None:
    """It was asked for the next bar at every line, answered too late each time, and was never heard again."""
    evening = playing(120, took_ns=lambda: round(bars_per_bar * BAR_NS))
    real = [begun for begun in evening.sounded[20:] if not begun.is_fallback]
    assert len(real) >= least * len(evening.sounded[20:])


def test_what_is_asked_beyond_a_bar_that_was_given_up_knows_the_fallback_in_its_place() -> None:
    evening = playing(60, took_ns=lambda: round(1.2 * BAR_NS))
    for request in evening.requests:
        assert [bar.index for bar in request.past] == list(range(request.index))[-64:]
    last = max(request.index for request in evening.requests if request.index < len(evening.sounded))
    asked = next(request for request in evening.requests if request.index == last)
    assert asked.past == tuple(evening.heard()[:last])
