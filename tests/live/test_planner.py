"""The planner between a fake model, a simulated clock and the real scheduler."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fractal_live.live.controls import Controls
from fractal_live.live.planner import Offer, Planner
from fractal_live.live.scheduler import BegunBar, Scheduler
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import COLUMN, HIGH, LOW, PLAN_BARS
from fractal_live.music.request import BarReply, BarRequest, Sampling

MS = 1_000_000
BAR_NS = 2_000 * MS  # 4/4 at 120 bpm
SLICE_NS = 20 * MS
DENSITY, TEMPO = COLUMN["density"], COLUMN["tempo"]


def imagined(request: BarRequest) -> np.ndarray:
    """A plan that differs for every bar it is imagined at, so that imagining it again is noticed."""
    rng = np.random.default_rng([request.seed, request.index])
    drawn = rng.uniform(LOW, HIGH, (PLAN_BARS, len(LOW))).astype(np.float32)
    return np.where(np.isnan(request.plan), drawn, request.plan)


def answer(request: BarRequest, took_ns: int = 100 * MS) -> BarReply:
    """The fake model: the same request, the same bar; as many onsets as its plan says."""
    plan = imagined(request)
    before = [bar.notes for bar in request.past[-2:]]
    rng = random.Random(f"{request.seed} {request.index} {request.sampling} {plan[0].tolist()} {before}")
    places = rng.sample([(step, pitch) for step in range(16) for pitch in (60, 64, 67)], round(float(plan[0, DENSITY])))
    notes = tuple(sorted(Note(120 * step, pitch, 100, rng.randint(1, 127)) for step, pitch in places))
    row = tuple(float(value) for value in plan[0])
    return BarReply(Bar(request.index, notes, plan=row, seed=request.seed), plan, request.version, took_ns)


def same(a: BarRequest, b: BarRequest) -> bool:
    """Equal but for the number: they get the same bar."""
    np.testing.assert_array_equal(a.plan, b.plan)
    blank = np.zeros(())
    return replace(a, plan=blank, version=0) == replace(b, plan=blank, version=0)


class Set:
    """An evening in miniature. `took_ns` says how long the model thinks about a request."""

    def __init__(self, took_ns: Callable[[], int] = lambda: 100 * MS, seed: int = 5) -> None:
        self.controls = Controls(seed=seed)
        self.planner = Planner()
        self.planner.controls_changed(self.controls.snapshot)
        self.scheduler = Scheduler()
        self.requests: list[BarRequest] = []
        self.sounded: list[BegunBar] = []
        self._took_ns = took_ns
        self._answers: list[tuple[int, BarRequest, BarReply]] = []
        self._now_ns = 0
        self._at_ns = 0  # the position

    @property
    def is_rolling(self) -> bool:
        return self.planner.is_rolling

    @property
    def bar_index(self) -> int:
        return FOUR_FOUR.bar_at(self.tick)[0]

    @property
    def tick(self) -> int:
        return self._at_ns * 1920 // BAR_NS

    @property
    def ns_to_next_bar(self) -> int | None:
        return BAR_NS - self._at_ns % BAR_NS if self.is_rolling else None

    def touch(self, address: str, *values: float) -> None:
        outcome = self.controls.apply(f"/fractal/{address}", values)
        assert outcome.error is None
        if outcome.changed:
            self._take(self.planner.controls_changed(self.controls.snapshot))

    def start(self) -> None:
        """From the top, as the stage tells it: the bar that begins comes before the news that it rolls."""
        self.locate(0)
        self._roll()

    def start_while_rolling(self) -> None:
        """At our own tempo the transport jumps to the top without standing still."""
        self.scheduler.locate(0)
        self._at_ns = 0
        self._roll()

    def locate(self, tick: int) -> None:
        """Moves a standing transport, as Song Position does."""
        self.scheduler.locate(tick)
        self._at_ns = tick * BAR_NS // 1920
        self._tell_position(False)

    def resume(self) -> None:
        self._roll()

    def stop(self) -> None:
        self.scheduler.silence()
        self._tell_position(False)

    def advance(self, ns: int) -> None:
        """Lets time pass, in slices as the daemon's loop has them."""
        end_ns = self._now_ns + ns
        while self._now_ns < end_ns:
            slice_ns = min(SLICE_NS, end_ns - self._now_ns)
            self._now_ns += slice_ns
            if self.is_rolling:
                self._at_ns += slice_ns
                self._play()
            while self._answers and self._answers[0][0] <= self._now_ns:
                _, request, reply = self._answers.pop(0)
                offer = self.planner.answered(reply)
                if offer is not None:
                    self.made(request, reply, offer)
                    self._take([offer])
            wish = self.planner.next_request(self.ns_to_next_bar)
            if wish is not None:
                self.asking(wish)
                self.requests.append(wish)
                took_ns = self._took_ns()
                busy_until_ns = max([self._now_ns, *(due_ns for due_ns, _, _ in self._answers)])
                self._answers.append((busy_until_ns + took_ns, wish, answer(wish, took_ns)))
            self.check()

    def bars(self, count: float) -> None:
        self.advance(round(count * BAR_NS))

    def asking(self, request: BarRequest) -> None:
        """A hook for laws about requests."""

    def made(self, request: BarRequest, reply: BarReply, offer: Offer) -> None:
        """A hook for laws about answers that were of use."""

    def taken(self, offer: Offer) -> None:
        """A hook for laws about what the stage is given."""

    def check(self) -> None:
        """A hook for laws that hold at every moment."""

    def _take(self, offers: list[Offer]) -> None:
        for offer in offers:
            self.taken(offer)
            self.scheduler.offer(offer.bar, offer.version, offer.fallback)

    def _roll(self) -> None:
        self._play()
        self._tell_position(True)

    def _tell_position(self, is_rolling: bool) -> None:
        self.planner.transport_moved(is_rolling, self.bar_index, 120.0)

    def _play(self) -> None:
        self.scheduler.due(self.tick)
        for begun in self.scheduler.take_begun():
            self.sounded.append(begun)
            self.planner.bar_began(begun.bar, begun.version, begun.is_fallback)
            self.controls.playhead_in(begun.bar.index)
            self._take(self.planner.controls_changed(self.controls.snapshot))

    def heard(self) -> list[Bar]:
        return [begun.bar for begun in self.sounded]

    def asked(self) -> list[int]:
        return [request.index for request in self.requests]


def prepared(**options: Callable[[], int]) -> Set:
    """A set that stands at the top, its first bars ready."""
    evening = Set(**options)
    evening.bars(1)
    return evening


def playing(bars: float, **options: Callable[[], int]) -> Set:
    evening = prepared(**options)
    evening.start()
    evening.bars(bars)
    return evening


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
    request = planner.next_request(None)
    assert request is not None
    assert planner.next_request(None) is None
    planner.request_failed()
    again = planner.next_request(None)
    assert again is not None
    assert same(again, request)


def test_without_controls_nothing_is_asked() -> None:
    assert Planner().next_request(None) is None


def test_an_answer_to_nothing_or_to_another_request_is_ignored() -> None:
    planner = Planner()
    planner.controls_changed(Controls().snapshot)
    assert planner.answered(answer(BarRequest(0, version=1))) is None
    request = planner.next_request(None)
    assert request is not None
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
    request = planner.next_request(None)
    assert request is not None
    bar = Bar(0, (Note(0, 103, 10, 64), Note(0, 104, 10, 64), Note(0, 127, 10, 64)))
    offer = planner.answered(replace(answer(request), bar=bar))
    assert offer is not None
    assert [note.pitch for note in offer.bar.notes] == [116, 127]  # 104 and 116 are struck at once
    assert {note.pitch % 12 for note in offer.bar.notes} == {(103 + 24) % 12, (104 + 24) % 12}


# The plan slides.


def test_a_row_that_was_imagined_is_asked_for_again_unchanged_when_its_turn_comes() -> None:
    evening = playing(40)
    horizon: dict[int, np.ndarray] = {}
    for request in evening.requests:
        for row in range(PLAN_BARS):
            known = horizon.get(request.index + row)
            expected = np.full(len(LOW), np.nan) if known is None else known
            np.testing.assert_array_equal(request.plan[row], expected)
        for row, values in enumerate(imagined(request)):
            horizon.setdefault(request.index + row, values)


def test_the_sampling_may_change_without_a_new_plan() -> None:
    evening = playing(4.3)
    plan = evening.planner.plan()
    evening.touch("param/cfg", 2)
    evening.touch("reroll")
    np.testing.assert_array_equal(evening.planner.plan(), plan)


def test_a_density_is_in_every_coming_row_and_the_rest_is_imagined_anew() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("plan/density", 9)
    evening.bars(3)
    assert all((request.plan[:, DENSITY] == 9).all() for request in evening.requests)
    others = np.delete(evening.requests[0].plan, DENSITY, axis=1)
    assert np.isnan(others).all()
    assert [len(bar.notes) for bar in evening.heard()[5:8]] == [9, 9, 9]


def test_a_released_density_leaves_no_trace_in_the_coming_rows() -> None:
    evening = playing(4.3)
    evening.touch("plan/density", 9)
    evening.bars(2)
    evening.touch("plan/density")
    evening.requests.clear()
    evening.bars(0.5)
    assert np.isnan(evening.requests[0].plan).all()


def test_a_curve_begins_at_the_next_bar_and_moves_along() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("plan/density", 3, 5, 7, 9)
    evening.bars(4)
    assert [len(bar.notes) for bar in evening.heard()[5:9]] == [3, 5, 7, 9]
    np.testing.assert_array_equal(evening.requests[1].plan[:4, DENSITY], [5, 7, 9, imagined(evening.requests[0])[4, 0]])


def test_a_bar_that_was_committed_before_a_new_plan_is_shown_with_the_row_it_was_made_of() -> None:
    """Its row was forgotten with the old plan, and the dashboard showed nothing for the bar that played."""
    evening = playing(4.97)
    evening.touch("plan/register", 60)
    evening.bars(0.5)
    assert evening.planner.position == 5
    shown, row = evening.planner.plan()[0], evening.heard()[5].plan
    np.testing.assert_array_equal(np.delete(shown, COLUMN["register"]), np.delete(np.float32(row), COLUMN["register"]))


def test_a_new_cycle_changes_the_seed_and_a_reroll_too() -> None:
    evening = playing(4.3)
    seeds = [evening.requests[-1].seed]
    for address, values in (("generate", (77,)), ("reroll", ()), ("reroll", ()), ("generate", (77,))):
        evening.touch(address, *values)
        evening.bars(0.3)
        seeds.append(evening.requests[-1].seed)
    assert seeds[1] == seeds[4]
    assert len(set(seeds)) == 4


# The latent moves.


def latents(evening: Set) -> list[tuple[int, float]]:
    """What was asked for: bar and first dimension of its latent."""
    return [(request.index, round(request.latent[0], 9)) for request in evening.requests]


def test_a_changed_latent_replaces_what_has_not_begun_and_its_plan() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/level0", 1.5)
    evening.bars(0.5)
    assert latents(evening) == [(5, 1.5), (6, 1.5)]
    assert np.isnan(evening.requests[0].plan).all()


def test_every_bar_of_a_glide_is_asked_for_once_with_the_latent_of_its_place() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/glide", 4)
    evening.touch("latent/level0", 2)
    evening.bars(6)
    assert latents(evening) == [(5, 0.5), (6, 1), (7, 1.5), (8, 2), (9, 2), (10, 2), (11, 2), (12, 2)]


def test_a_new_target_on_the_way_starts_from_where_the_playing_bar_is() -> None:
    evening = playing(4.3)
    evening.touch("latent/glide", 4)
    evening.touch("latent/level0", 2)
    evening.bars(2)
    evening.requests.clear()
    evening.touch("latent/level0", -1)
    evening.bars(2)
    assert latents(evening) == [(7, 0.5), (8, 0), (9, -0.5), (10, -1)]


def test_while_the_latent_moves_the_plan_is_imagined_anew_for_every_bar_and_then_once() -> None:
    """The rows ahead would have kept the latent the glide began with, and a glide would have been heard 31 bars
    late."""
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/glide", 3)
    evening.touch("latent/level0", 2)
    evening.bars(4)
    unknown = [int(np.isnan(request.plan).all(axis=1).sum()) for request in evening.requests]
    assert unknown == [32, 32, 32, 1, 1, 1]
    first = next(request for request in evening.requests if request.index == 7)
    after = next(request for request in evening.requests if request.index == 8)
    np.testing.assert_array_equal(after.plan[:-1], imagined(first)[1:])


def test_the_plan_that_comes_with_an_answer_for_an_older_latent_is_not_wanted() -> None:
    planner, controls = Planner(), Controls()
    planner.controls_changed(controls.snapshot)
    request = planner.next_request(None)
    assert request is not None
    controls.apply("/fractal/latent/level0", [2])
    planner.controls_changed(controls.snapshot)
    assert planner.answered(answer(request)) is not None
    assert np.isnan(planner.plan()[1:]).all()
    again = planner.next_request(None)
    assert again is not None
    assert (again.index, again.latent[0]) == (1, 2)  # what is missing comes first


def test_the_length_of_coming_glides_and_a_store_make_nothing_stale() -> None:
    evening = playing(3.3)
    evening.touch("latent/gain", 1)
    evening.bars(1.0)
    evening.requests.clear()
    evening.touch("latent/glide", 9)
    evening.touch("latent/store", 3)
    evening.touch("latent/recall", 3)
    evening.bars(0.4)
    assert evening.asked() == []


def test_a_latent_without_gain_makes_nothing_stale_and_leaves_the_plan() -> None:
    evening = playing(4.3)
    evening.touch("latent/gain", 0)
    evening.bars(0.5)
    evening.requests.clear()
    evening.touch("latent/walk", 0.5)
    evening.touch("latent/level0", 2)
    evening.bars(2)
    assert evening.asked() == [7, 8]
    assert [int(np.isnan(request.plan).all(axis=1).sum()) for request in evening.requests] == [1, 1]
    assert [request.latent for request in evening.requests] == [
        evening.controls.snapshot.latent_at(bar) for bar in (7, 8)
    ]


def test_a_recalled_point_is_approached_over_its_bars() -> None:
    evening = playing(4.3)
    evening.touch("latent/level0", 2)
    evening.touch("latent/store", 7)
    evening.touch("latent/level0", 0)
    evening.bars(1)
    evening.requests.clear()
    evening.touch("latent/recall", 7, 2)
    evening.bars(1)
    assert latents(evening) == [(6, 1), (7, 2), (8, 2)]
    evening.requests.clear()
    evening.touch("latent/store", 8)
    evening.touch("latent/level0", 0)
    evening.touch("latent/store", 9)
    evening.touch("latent/blend", 8, 9, 0.75)
    evening.bars(0.3)
    assert latents(evening) == [(7, 0.25), (8, 0.25)]  # slot 8 was kept half way, at 1


def test_a_walk_is_asked_for_bar_by_bar_and_a_bar_that_is_asked_again_has_the_same_latent() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch("latent/walk", 0.5)
    evening.bars(3)
    assert evening.asked() == [5, 6, 7, 8, 9]
    before = {request.index: request.latent for request in evening.requests}
    assert len(set(before.values())) == 5
    evening.requests.clear()
    evening.touch("param/temperature", 0.7)
    evening.touch("reroll")
    evening.bars(0.3)
    assert {request.index: request.latent for request in evening.requests} == {8: before[8], 9: before[9]}


def test_the_same_controls_at_the_same_bars_make_the_same_piece() -> None:
    def evening(seed: int) -> list[Bar]:
        one = Set(seed=seed)
        one.bars(1)
        one.start()
        for address, values in (
            ("latent/walk", (0.6,)),
            ("latent/glide", (5,)),
            ("latent/level0", (1, -1, 2)),
            ("latent/store", (0,)),
            ("latent/level0", (-1, 2)),
            ("latent/recall", (0, 9)),
            ("harmony/chroma", (1.0,) * 24),
        ):
            one.touch(address, *values)
            one.bars(1.3)
        return one.heard()

    assert evening(5) == evening(5)
    assert evening(5) != evening(6)


def test_a_start_after_a_glide_begins_at_its_target_and_asks_for_nothing_twice() -> None:
    evening = playing(4.3)
    evening.touch("latent/glide", 3)
    evening.touch("latent/level0", 2)
    evening.bars(6)
    evening.stop()
    evening.requests.clear()
    evening.bars(1)
    evening.start()
    evening.bars(3.5)
    assert latents(evening) == [(index, 2) for index in range(6)]


def test_song_position_finds_the_bars_of_a_walk_as_they_were() -> None:
    evening = Set()
    evening.touch("latent/walk", 0.5)
    evening.bars(1)
    evening.start()
    evening.bars(20.5)
    known = evening.heard()
    evening.stop()
    evening.locate(7 * 1920)
    evening.bars(1)
    evening.resume()
    evening.bars(5)
    assert evening.heard()[21:] == known[7:13]


# Harmony and filters.


def test_a_held_harmony_is_asked_for_at_once_and_leaves_the_plan() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    chord = [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0.5]
    evening.touch("harmony/chroma", *chord)
    evening.bars(0.5)
    assert evening.asked() == [5, 6]
    for request in evening.requests:
        np.testing.assert_array_equal(request.chroma, np.array([chord, chord], dtype=np.float32))
        assert not np.isnan(request.plan[0]).any()
    evening.requests.clear()
    evening.touch("harmony/chroma")
    evening.bars(0.15)
    assert [(request.index, request.chroma) for request in evening.requests] == [(5, None), (6, None)]


def test_a_curve_of_harmonies_goes_to_the_half_bars_it_was_sent_for() -> None:
    evening = playing(4.3)
    evening.requests.clear()
    curve = np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 12)
    evening.touch("harmony/chroma", *curve.ravel().tolist())
    evening.bars(2)
    asked = {request.index: request.chroma for request in evening.requests}
    assert sorted(asked) == [5, 6, 7, 8]
    np.testing.assert_array_equal(asked[5], curve[:2])
    np.testing.assert_array_equal(asked[6], curve[2:])
    assert asked[7] is None and asked[8] is None


def test_in_another_meter_a_bar_has_a_harmony_for_each_of_its_half_bars() -> None:
    planner = Planner(Meter(7, 8))
    planner.controls_changed(Controls({"chroma": [1.0] * 12}).snapshot)
    request = planner.next_request(None)
    assert request is not None
    np.testing.assert_array_equal(request.chroma, np.ones((2, 12)))


@pytest.mark.parametrize(
    ("address", "value", "sampling"),
    [
        ("mask_k", 3, Sampling(mask_k=3)),
        ("mask_p", 0.5, Sampling(mask_p=0.5)),
        ("echo", 2.5, Sampling(echo=2.5)),
        ("cfg_schedule", 1, Sampling(cfg_schedule="linear")),
    ],
)
def test_filters_and_schedule_are_asked_for_at_once(address: str, value: float, sampling: Sampling) -> None:
    evening = playing(4.3)
    evening.requests.clear()
    evening.touch(f"param/{address}", value)
    evening.bars(0.5)
    assert [(request.index, request.sampling) for request in evening.requests] == [(5, sampling), (6, sampling)]


def test_behind_a_leader_its_tempo_is_the_plans() -> None:
    planner = Planner(leader_sets_tempo=True)
    planner.controls_changed(Controls(plan={"tempo": 60}).snapshot)
    for tempo_bpm, told in ((126.4, 126), (20.0, 40), (300.0, 200)):
        planner.transport_moved(False, 0, tempo_bpm)
        request = planner.next_request(None)
        assert request is not None
        assert (request.plan[:, TEMPO] == told).all()
        planner.request_failed()


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
    """The stage repeats the fallback that it has; the planner recorded the one it would have made next."""
    times = iter([100 * MS] * 6 + [4 * BAR_NS])
    evening = playing(10, took_ns=lambda: next(times, 100 * MS))
    late = [begun.bar for begun in evening.sounded if begun.is_fallback]
    assert len(late) >= 2
    assert late[1] == late[0].moved_to(late[1].index)
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


# Start, Stop, Continue, Song Position.


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
        request = planner.next_request(BAR_NS)
        assert request is not None
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
    request = planner.next_request(BAR_NS)
    assert request is not None
    assert request.index == 5
    new = planner.answered(answer(request))
    assert new is not None
    assert new.bar != old.bar
    planner.bar_began(old.bar, old.version, False)
    request = planner.next_request(BAR_NS)
    assert request is not None
    assert request.past[5] == answer(evening.requests[5]).bar


# A whole evening.


class Watched(Set):
    """Checks the laws at every step. `horizon` are the rows that were imagined, each with its latent, and must be
    asked for again with the same latent."""

    def __init__(self, took_ns: Callable[[], int], is_quick: bool) -> None:
        self.is_quick = is_quick
        self.ready: set[int] = set()
        self.checked = 0
        self.horizon: dict[int, tuple[np.ndarray, object]] = {}
        self.changes = 0
        self.changes_known_to: dict[int, int] = {}
        super().__init__(took_ns)

    def touch(self, address: str, *values: float) -> None:
        before = self.controls.snapshot
        super().touch(address, *values)
        after = self.controls.snapshot
        beside: dict[str, Any] = {
            name: getattr(after, name) for name in ("transpose", "lead_bars", "version", "latent_path")
        }
        self.changes += replace(before, **beside) != after
        beside |= {"sampling": after.sampling, "rerolls": after.rerolls, "chroma": after.chroma}
        is_moved = any(before.latent_at(bar) != after.latent_at(bar) for bar in (0, self.planner.position + 1))
        if replace(before, **beside) != after or is_moved:
            self.horizon.clear()

    def asking(self, request: BarRequest) -> None:
        self.changes_known_to[request.version] = self.changes
        first = self.planner.position + 1
        coming = range(first, first + self.controls.snapshot.lead_bars)
        assert request.index >= first, "a bar that has begun never changes"
        assert request.index in coming or not self.is_quick, "no more than the lead"
        assert [bar.index for bar in request.past] == list(range(request.index))[-64:], "the past has no holes"
        self.check_plan(request)
        if self.ns_to_next_bar is not None:
            self.check_order(request.index, coming, self.ns_to_next_bar)

    def check_plan(self, request: BarRequest) -> None:
        given = self.controls.snapshot.plan_from(request.index)
        assert request.latent == self.controls.snapshot.latent_at(request.index)
        for row in range(PLAN_BARS):
            known, latent = self.horizon.get(request.index + row, (given[row], None))
            expected = np.where(np.isnan(given[row]) & (latent == request.latent), known, given[row])
            np.testing.assert_array_equal(request.plan[row], expected, "a row is imagined once")

    def check_order(self, index: int, coming: range, ns_left: int) -> None:
        def ns_to(line: int) -> int:
            return ns_left + (line - coming[0]) * BAR_NS

        missing = [line for line in coming if not self.scheduler.has_bar(line)]
        reachable = [line for line in missing if ns_to(line) >= self.planner.usual_ns]
        if self.scheduler.has_bar(index):
            assert ns_to(index) >= self.planner.expected_ns, "what is too near is committed"
            is_urgent = index == coming[0] and ns_left < 3 * self.planner.expected_ns
            assert is_urgent or not reachable, "what is missing comes first"
        elif reachable:
            assert index == reachable[0], "the nearest comes first"

    def made(self, request: BarRequest, reply: BarReply, offer: Offer) -> None:
        is_current = request.latent == self.controls.snapshot.latent_at(request.index)
        if self.changes_known_to[request.version] == self.changes and is_current:
            for place, values in enumerate(reply.plan, request.index):
                if place not in self.horizon or self.horizon[place][1] != request.latent:
                    self.horizon[place] = (values, request.latent)
        following = offer.bar.index + 1
        given = float(self.controls.snapshot.plan_from(following)[0, DENSITY])
        row = self.horizon.get(following)
        wanted = (np.inf if row is None else float(row[0][DENSITY])) if np.isnan(given) else given
        assert offer.fallback.index == following
        if any(bar.notes for bar in (*request.past, reply.bar)):
            assert bool(offer.fallback.notes) == (wanted >= 0.5), "silence only where the plan is silent"

    def taken(self, offer: Offer) -> None:
        assert offer.bar.index > self.planner.position, "a bar that has begun never changes"

    def check(self) -> None:
        first = self.planner.position + 1
        ready = {index for index in range(first, first + 20) if self.scheduler.has_bar(index)}
        assert {index for index in self.ready if index >= first} <= ready, "a ready bar is kept until it begins"
        assert set(range(first, first + self.planner.lead_bars)) <= ready, "the lead is at the stage"
        self.ready = ready
        for begun in self.sounded[self.checked :]:
            (kept,) = self.planner.bars_from(begun.bar.index, 1)
            if begun.is_fallback:  # it sounds as it was dressed when it was made
                assert [note.onset_tick for note in kept.notes] == [note.onset_tick for note in begun.bar.notes]
            else:
                assert kept == begun.bar, "what sounded is the past"
        self.checked = len(self.sounded)


def random_touch(evening: Set, rng: random.Random) -> None:
    kind = rng.randrange(14)
    if kind == 0:
        evening.touch("plan/density", rng.choice((0, 4, 11, 30)))
    elif kind == 1:
        evening.touch("plan/density")
    elif kind == 2:
        evening.touch("plan/register", *(rng.uniform(40, 90) for _ in range(rng.randint(2, 12))))
    elif kind == 3:
        evening.touch("latent/level0/3", rng.uniform(-2, 2))
    elif kind == 4:
        evening.touch("generate", rng.randint(2, 1000))
    elif kind == 5:
        evening.touch("reroll")
    elif kind == 6:
        evening.touch("param/lead_bars", rng.randint(1, 6))
    elif kind == 7:
        evening.touch("param/temperature", rng.uniform(0.2, 2))
    elif kind == 8:
        evening.touch("param/transpose", rng.choice((0, 0, 7, -5)))
    elif kind == 9:
        evening.touch("latent/glide", rng.choice((0, 0, 1, 5, 30)))
    elif kind == 10:
        evening.touch("latent/walk", rng.choice((0, 0, 0.4)))
    elif kind == 11:
        evening.touch("latent/store", 3)
    elif kind == 12:
        evening.touch("latent/store", 4)
        evening.touch("latent/recall", 4, rng.choice((0, 4)))
    else:
        evening.touch("harmony/chroma", *(rng.random() for _ in range(rng.choice((0, 12, 36)))))


@pytest.mark.slow
@pytest.mark.parametrize(("slowest_ns", "is_quick"), [(400 * MS, True), (6_000 * MS, False)], ids=["quick", "slow"])
def test_the_laws_hold_through_an_evening_of_changes(slowest_ns: int, is_quick: bool) -> None:
    rng = random.Random(21)
    evening = Watched(lambda: rng.randint(20 * MS, slowest_ns), is_quick)
    evening.bars(8)
    evening.start()
    while evening.planner.position < 300:
        evening.bars(rng.choice((0.02, 0.2, 0.9, 3)))
        random_touch(evening, rng)
    assert [begun.bar.index for begun in evening.sounded] == list(range(len(evening.sounded)))
    late = sum(begun.is_fallback for begun in evening.sounded)
    assert late == evening.scheduler.underruns
    assert late == 0 if is_quick else 0 < late < 0.9 * len(evening.sounded)
