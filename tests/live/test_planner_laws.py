"""The laws of the planner, watched at every step of a whole evening."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fractal_live.live.planned import Offer
from fractal_live.music.plan import PLAN_BARS
from fractal_live.music.request import BarReply, BarRequest
from tests.live.evening import BAR_NS, DENSITY, MS, Set


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
            name: getattr(after, name) for name in ("dress", "lead_bars", "version", "latent_path")
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
            assert ns_to(index) >= self.planner.reach_ns, "what is too near is committed"
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
        begun = [begun for begun in self.sounded if begun.bar.index == offer.bar.index]
        if begun:  # for the sake of its fallback
            assert offer.version == begun[-1].version, "a bar that has begun never changes"
            assert [note.onset_tick for note in offer.bar.notes] == [note.onset_tick for note in begun[-1].bar.notes]

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
