"""What plays where a bar is late, and that it fits the plan as it is."""

from __future__ import annotations

from dataclasses import replace

from fractal_live.live.circumstances import Circumstances
from fractal_live.live.fallback import fallback_for
from fractal_live.live.offering import Offering
from fractal_live.live.planned import NEVER_ASKED, Planned, density_at
from fractal_live.live.planned_set import PlannedSet
from fractal_live.live.playhead import Playhead
from fractal_live.music.notes import Bar


class Insurance:
    """Makes the fallbacks of a set. `is_fitting`: since they were made nothing has changed that they depend on."""

    def __init__(self, circumstances: Circumstances, playhead: Playhead, offering: Offering) -> None:
        self.is_fitting = True
        self._circumstances = circumstances
        self._playhead = playhead
        self._offering = offering
        self._voiced: Bar | None = None  # the newest bar with notes that was begun

    def began(self, bar: Bar) -> None:
        """A bar, as it was made, sounds: when all that is remembered was silent, this is varied."""
        self._voiced = bar if bar.notes else self._voiced

    def fallback_after(self, bar: Bar, planned_set: PlannedSet) -> Bar:
        """What plays after a bar of the set if the next is late."""
        past = planned_set.past(bar.index, self._playhead.first)
        return self._fallback_for(bar.index + 1, (*past, bar), planned_set)

    def insure(self, planned_set: PlannedSet) -> list[Planned]:
        """Gives the bar that plays and those that have not begun the fallbacks that fit the plan now; those that this
        changed."""
        changed, bars = [], planned_set.bars
        for index in sorted(bars):
            before = bars[index]
            if not before.is_begun or index == self._playhead.played_to:
                bars[index] = self.insured(before, planned_set)
                if bars[index] != before:
                    changed.append(bars[index])
        return changed

    def insured(self, planned: Planned, planned_set: PlannedSet) -> Planned:
        """With the fallback that fits the plan now. A stale bar without notes, where silence is not wished any more,
        insures nothing: what would play if it were missing takes its place."""
        index = planned.bar.index
        if not planned.bar.notes and self._circumstances.is_stale(planned, planned_set.is_top):
            bar = self._fallback_for(index, planned_set.past(index, self._playhead.first), planned_set)
            if bar.notes:
                version = self._offering.next_version()
                planned = replace(planned, bar=bar, version=version, asked=NEVER_ASKED)
        return replace(planned, fallback=self.fallback_after(planned.bar, planned_set))

    def _fallback_for(self, index: int, past: tuple[Bar, ...], planned_set: PlannedSet) -> Bar:
        circumstances = self._circumstances
        if circumstances.hearing.is_call(index):
            return circumstances.silent_bar(index)
        if self._voiced is not None and not any(bar.notes for bar in past):
            past = (self._voiced, *past)
        density = density_at(index, planned_set.rows, circumstances.controls)
        return fallback_for(index, circumstances.meter, past, density)
