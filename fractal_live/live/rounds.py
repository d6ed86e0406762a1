"""Bars that go round in a set: frozen, mended while they play, let go on. The model is left alone meanwhile."""

from __future__ import annotations

from dataclasses import replace

from fractal_live.live.circumstances import Circumstances
from fractal_live.live.loop import LONGEST_LOOP, Loop
from fractal_live.live.offering import Offering
from fractal_live.live.planned import Offer, Planned
from fractal_live.live.planned_set import PlannedSet
from fractal_live.live.playhead import Playhead
from fractal_live.music.notes import Bar
from fractal_live.music.request import MENDING


class Rounds:
    """Begins, changes and ends the loop of the circumstances. What comes back is to be offered at once."""

    def __init__(self, circumstances: Circumstances, playhead: Playhead, offering: Offering) -> None:
        self._circumstances = circumstances
        self._playhead = playhead
        self._offering = offering

    def freeze(self, under_way: PlannedSet, count: int) -> list[Offer]:
        """The last `count` bars (1 to 32; as many as there are) play again and again from the next on; 0: no
        longer."""
        if count == 0:
            self._circumstances.loop = None
            under_way.ask_all_anew()
            return []
        run = under_way.last_bars(self._playhead.played_to, min(count, LONGEST_LOOP))
        if not run:
            return []
        self._circumstances.loop = Loop(run, self._playhead.first)
        return self.go_round(under_way)

    def mend(self, under_way: PlannedSet, low: int, high: int) -> list[Offer]:
        """Bars `low` to `high` of the loop, counted from 1, are to be made anew while it plays; without one, those of
        the last 32. Raises ValueError where it has no such bars."""
        offers = [] if self._circumstances.loop is not None else self.freeze(under_way, LONGEST_LOOP)
        loop = self._circumstances.loop
        if loop is None:
            raise ValueError("nothing was played yet")
        loop.mending(low, high, MENDING, 0, 0)  # refuses
        self._circumstances.loop = replace(loop, gap=(low, high))
        return offers

    def mended(self, under_way: PlannedSet, bars: tuple[Bar, ...]) -> list[Offer]:
        """The loop goes on with these bars from the next on, unless there is none of as many."""
        loop = self._circumstances.loop
        if loop is None or len(bars) != len(loop.bars):
            return []
        self._circumstances.loop = loop.mended(bars)
        return self.go_round(under_way)

    def go_round(self, under_way: PlannedSet) -> list[Offer]:
        """The coming bars of the loop, in the place of whatever was to come; nothing where there is no loop."""
        loop, controls, first = self._circumstances.loop, self._circumstances.controls, self._playhead.first
        if loop is None:
            return []
        assert controls is not None, "nothing goes round before the controls are known"
        offers = []
        for index in range(first, first + controls.lead_bars):
            bar, known = loop.bar_at(index), under_way.bars.get(index)
            if known is None or known.bar != bar:
                version = self._offering.next_version()
                planned = Planned(bar, version, self._circumstances.asked, loop.bar_at(index + 1))
                under_way.put(planned)
                offers.append(self._offering.offer(planned))
        return offers
