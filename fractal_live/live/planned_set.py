"""The bars of one set with the plan that was imagined for them: what was played, what is ready, and what of it the
stage may have but is to play no more.

Knows neither controls nor model; what is put where is the planner's business.
"""

from __future__ import annotations

from dataclasses import replace

from fractal_live.live.horizon import Horizon
from fractal_live.live.planned import NEVER_ASKED, OPENING_BARS, Planned, past_of
from fractal_live.music.notes import Bar
from fractal_live.music.plan import PLAN_BARS, PlanTable, unknown_plan
from fractal_live.music.request import MEMORY_BARS


class PlannedSet:
    """`bars` by index; `replaced`: what the stage may still play, as that it is not to is on the way; `forgotten`:
    bars that the stage is still to be told so of. `is_top`: it is not under way but waits for the next Start."""

    def __init__(self, is_top: bool = False) -> None:
        self.is_top = is_top
        self.bars: dict[int, Planned] = {}
        self.rows = Horizon()
        self.replaced: dict[int, Planned] = {}
        self.forgotten: set[int] = set()

    def put(self, planned: Planned) -> None:
        """A bar in the place of whatever was to come there."""
        index = planned.bar.index
        if index in self.bars:
            self.replaced[index] = self.bars[index]
        self.bars[index] = planned

    def began(self, planned: Planned) -> None:
        """A bar sounds; what is too old to be asked for again, or can be played no more, goes."""
        index = planned.bar.index
        self.bars[index] = planned
        for old in [place for place in self.bars if place < index - MEMORY_BARS and place not in OPENING_BARS]:
            del self.bars[old]
        self.rows.forget_before(index - MEMORY_BARS)
        self.replaced = {place: before for place, before in self.replaced.items() if place > index}

    def known(self, index: int, version: int) -> Planned | None:
        """A bar of that version, the newest or one just replaced."""
        for planned in (self.bars.get(index), self.replaced.get(index)):
            if planned is not None and planned.version == version:
                return planned
        return None

    def waiting(self) -> list[Planned]:
        """All that has not begun."""
        return [planned for planned in self.bars.values() if not planned.is_begun]

    def past(self, index: int, first: int) -> tuple[Bar, ...]:
        """The bars before `index`, oldest first; `first` is the next to begin."""
        return past_of(self.bars, index, first)

    def last_bars(self, last: int, count: int) -> tuple[Bar, ...]:
        """Up to `count` bars, the newest of them `last`, oldest first: as many as stand without a gap."""
        run: list[Bar] = []
        while len(run) < count and last - len(run) in self.bars:
            run.append(self.bars[last - len(run)].bar)
        return tuple(reversed(run))

    def lead_from(self, first: int) -> int:
        """How many bars from `first` on are ready without a gap."""
        lead = 0
        while first + lead in self.bars:
            lead += 1
        return lead

    def plan_from(self, first: int) -> PlanTable:
        """The plan (32, 6) from a bar on as it was imagined, or else as it was played; NaN where neither is so."""
        table = unknown_plan()
        for row in range(PLAN_BARS):
            imagined = self.rows.row(first + row)
            if imagined is not None:
                table[row] = imagined
            elif first + row in self.bars and self.bars[first + row].bar.plan:
                table[row] = self.bars[first + row].bar.plan
        return table

    def ask_all_anew(self) -> None:
        """What has not begun stays only until there is something newer."""
        for index, planned in self.bars.items():
            if not planned.is_begun:
                self.bars[index] = replace(planned, asked=NEVER_ASKED)

    def begin_anew(self, top: PlannedSet) -> None:
        """A new Start: the bars prepared for it take over. Where there is none yet the stage plays the opening of the
        last set, to be replaced like any other bar."""
        opening = {
            index: replace(self.bars[index], is_begun=False, asked=NEVER_ASKED)
            for index in OPENING_BARS
            if index in self.bars
        }
        self.replaced = {index: planned for index, planned in opening.items() if index in top.bars}
        kept = {**opening, **top.bars}
        self.forgotten |= self.bars.keys() - kept.keys()
        self.bars, self.rows = kept, top.rows

    def forget_from(self, index: int, played_to: int) -> None:
        """The position was moved here. What was played before it stays; of what lies ahead only bars that the stage
        has for it, the opening or those it had ready, and only until there are new ones."""
        is_ahead = index > played_to
        kept = {place: planned for place, planned in self.bars.items() if place < index and planned.is_begun}
        kept |= {
            place: replace(planned, is_begun=False, asked=NEVER_ASKED)
            for place, planned in self.bars.items()
            if place >= index and (place in OPENING_BARS or (is_ahead and not planned.is_begun))
        }
        self.replaced |= {place: planned for place, planned in self.bars.items() if place not in kept}
        self.forgotten |= self.bars.keys() - kept.keys()
        self.bars = kept
