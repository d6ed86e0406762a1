"""A set in miniature: the planner between a fake model, a simulated clock and the real scheduler."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fractal_live.live.controls import Controls
from fractal_live.live.planned import Offer
from fractal_live.live.planner import Planner
from fractal_live.live.scheduler import BegunBar, Scheduler
from fractal_live.music.meter import FOUR_FOUR
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import COLUMN, HIGH, LOW, PLAN_BARS
from fractal_live.music.request import BarReply, BarRequest, InfillReply, InfillRequest

MS = 1_000_000
BAR_NS = 2_000 * MS  # 4/4 at 120 bpm
SLICE_NS = 20 * MS
WITHDRAWS_NS = 20 * MS
"""Until the model has given up a bar that a newer request overtook."""
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


def mended(request: InfillRequest, took_ns: int = 100 * MS) -> InfillReply:
    """The missing bars, each with one note that was not there."""
    note = Note(0, 30 + request.seed % 7, 60, 99)
    made = [
        replace(bar, notes=(note,)) if gone else bar for bar, gone in zip(request.bars, request.is_missing, strict=True)
    ]
    return InfillReply(tuple(made), request.version, took_ns)


class Fake:
    """The fake model as something that can be asked."""

    def bar(self, request: BarRequest, is_wanted: Callable[[], bool] = lambda: True) -> BarReply:
        return answer(request)

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
        return mended(request).bars


def same(a: BarRequest, b: BarRequest) -> bool:
    """Equal but for the number: they get the same bar."""
    np.testing.assert_array_equal(a.plan, b.plan)
    np.testing.assert_array_equal(a.asked, b.asked)
    blank = np.zeros(())
    return replace(a, plan=blank, asked=None, version=0) == replace(b, plan=blank, asked=None, version=0)


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
        self.gaps: list[InfillRequest] = []
        self._answers: list[tuple[int, BarRequest, BarReply]] = []
        self._mended: list[tuple[int, InfillReply]] = []
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

    def freeze(self, bars: int) -> None:
        self._take(self.planner.freeze(bars))

    def mend(self, low: int, high: int) -> None:
        self._take(self.planner.mend(low, high))

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
            if self._answers and self._answers[0][0] <= self._now_ns:
                _, request, reply = self._answers.pop()
                offer = self.planner.answered(reply)
                if offer is not None:
                    self.made(request, reply, offer)
                    self._take([offer])
            while self._mended and self._mended[0][0] <= self._now_ns:
                self._take(self.planner.mended(self._mended.pop(0)[1]))
            self._take(self.planner.insure())
            wish = self.planner.next_request(self.ns_to_next_bar)
            if isinstance(wish, InfillRequest):
                self.gaps.append(wish)
                self._mended.append((self._now_ns + self._took_ns(), mended(wish)))
            elif wish is not None:
                self.asking(wish)
                self.requests.append(wish)
                took_ns = self._took_ns()
                withdraws_ns = WITHDRAWS_NS if self._answers else 0
                self._answers = [(self._now_ns + withdraws_ns + took_ns, wish, answer(wish, took_ns))]
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
            self.scheduler.offer(offer.bar, offer.version, offer.fallback, offer.programs)

    def _roll(self) -> None:
        self._play()
        self._tell_position(True)

    def _tell_position(self, is_rolling: bool) -> None:
        self.planner.transport_moved(is_rolling, self.bar_index, 120.0)

    def _play(self) -> None:
        self.scheduler.due(self.tick)
        for begun in self.scheduler.take_begun():
            self.sounded.append(begun)
            self._take(self.planner.bar_began(begun.bar, begun.version, begun.is_fallback))
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


def request_of(planner: Planner, ns_to_next_bar: int | None = None) -> BarRequest:
    """What the planner asks for now; it must ask."""
    request = planner.next_request(ns_to_next_bar)
    assert isinstance(request, BarRequest)
    return request
