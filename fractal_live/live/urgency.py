"""Which bar to ask for first, by how long the model takes and how near the bar lines are."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator

from fractal_live.live.circumstances import Circumstances
from fractal_live.live.planned_set import PlannedSet
from fractal_live.live.playhead import Playhead

MARGIN_NS = 30_000_000
FIRST_GUESS_NS = 150_000_000


class Pace:
    """How long the model takes. `margin_ns`: so long before its line a bar must have arrived, or another is begun in
    its place."""

    def __init__(self) -> None:
        self.margin_ns = MARGIN_NS
        self.took_ns: deque[int] = deque(maxlen=64)

    @property
    def expected_ns(self) -> int:
        """The time a bar takes at worst, with a margin."""
        return max(self.took_ns, default=FIRST_GUESS_NS) + self.margin_ns

    @property
    def reach_ns(self) -> int:
        """What is nearer than this would as a rule come too late: it is not begun any more."""
        return self.usual_ns + self.margin_ns

    @property
    def usual_ns(self) -> int:
        """The time a bar takes as a rule: what is missing and nearer than this is given up."""
        return round(statistics.median(self.took_ns)) if self.took_ns else FIRST_GUESS_NS


class Urgency:
    """Orders what is wanted of the set under way and of the next Start."""

    def __init__(self, circumstances: Circumstances, playhead: Playhead, pace: Pace) -> None:
        self._circumstances = circumstances
        self._playhead = playhead
        self._pace = pace

    def wishes(self, under_way: PlannedSet, top: PlannedSet, ns_to_next_bar: int | None) -> Iterator[tuple[int, bool]]:
        """Bars to ask for, the most urgent first: (index, is it for the next Start). `ns_to_next_bar` is None when the
        transport stands."""
        circumstances = self._circumstances
        if circumstances.controls is None:
            return
        ahead = [
            (index, is_top)
            for index, is_top in self._playhead.bars_ahead(circumstances.controls.lead_bars)
            if not circumstances.hearing.is_call(index)
        ]
        if circumstances.loop is None:
            coming = [index for index, is_top in ahead if not is_top]
            yield from ((index, False) for index in self._wishes_ahead(under_way, coming, ns_to_next_bar))
        for index, is_top in ahead:
            if is_top and (index not in top.bars or circumstances.is_stale(top.bars[index], True)):
                yield index, True

    def _wishes_ahead(self, under_way: PlannedSet, coming: list[int], ns_to_next_bar: int | None) -> Iterator[int]:
        """What is missing comes first, but for a bar that would be late even so: then the first that would not,
        or a slow model would chase every bar line and reach none. What is stale and too near is committed: it stands
        ready as it is, so as long as the new one will rather be in time than not, it is tried."""
        circumstances, bars = self._circumstances, under_way.bars
        first, expected = self._playhead.first, self._pace.expected_ns
        missing = [index for index in coming if index not in bars]
        stale = [index for index in coming if index in bars and circumstances.is_stale(bars[index], False)]
        if ns_to_next_bar is not None:
            bar_ns = circumstances.bar_ns
            stale = [index for index in stale if ns_to_next_bar + (index - first) * bar_ns >= self._pace.reach_ns]
            reachable = first - min(0, (ns_to_next_bar - self._pace.usual_ns) // bar_ns)
            is_wanted = reachable not in bars and not circumstances.hearing.is_call(reachable)
            if missing and missing[-1] < reachable and is_wanted:
                missing.append(reachable)
            missing = [index for index in missing if index >= reachable]
            if stale and stale[0] == first and ns_to_next_bar < 3 * expected:
                yield first
        yield from missing
        yield from stale
