"""What to ask of the model next, and what to do with its answers.

Keeps the bars of the set (played, or ready and replaceable), the imagined plan that slides with them, and
one request in flight. Knows no pipes: it is told what happened and asked what to do. One thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from fractal_live.live.asking import DENSITY, Asking, unscaled
from fractal_live.live.circumstances import Circumstances, point_of
from fractal_live.live.dressing import PLAIN, Dress, Outfit
from fractal_live.live.insurance import Insurance
from fractal_live.live.listening import REST, Hearing
from fractal_live.live.loop import Loop
from fractal_live.live.offering import Offering
from fractal_live.live.planned import OPENING_BARS, Offer, Planned
from fractal_live.live.planned_set import PlannedSet
from fractal_live.live.playhead import Playhead
from fractal_live.live.rounds import Rounds
from fractal_live.live.snapshot import ControlSnapshot, generation_of, imagination_of
from fractal_live.live.urgency import MARGIN_NS
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar
from fractal_live.music.plan import ATTRIBUTES, PlanTable
from fractal_live.music.request import BarReply, BarRequest, InfillReply, InfillRequest

__all__ = ["MARGIN_NS", "Planner"]


class Planner:
    """The set under way, and apart from it, while one is, the bars of the next Start from the top. What the stage
    begins is the truth about Start and Continue: news of the transport may come before it or after."""

    def __init__(self, meter: Meter = FOUR_FOUR, leader_sets_tempo: bool = False, outfit: Outfit = PLAIN) -> None:
        self._circumstances = Circumstances(meter, leader_sets_tempo)
        self._playhead = Playhead()
        self._under_way = PlannedSet()
        self._top = PlannedSet(is_top=True)
        self._offering = Offering(self._circumstances, outfit)
        self._insurance = Insurance(self._circumstances, self._playhead, self._offering)
        self._rounds = Rounds(self._circumstances, self._playhead, self._offering)
        self._asking = Asking(self._circumstances, self._playhead)

    # What happened.

    def controls_changed(self, controls: ControlSnapshot) -> list[Offer]:
        """New control values. What has not begun and would be another bar now is stale from now on; bars that only
        need to be dressed anew (transposed, louder), and fallbacks, come back as offers at once."""
        before, self._circumstances.controls = self._circumstances.controls, controls
        if before is None or before == controls:
            return []
        first = self._playhead.first
        if imagination_of(before, first) != imagination_of(controls, first):
            self._under_way.rows.forget_from(first)
            self._top.rows.forget_from(0)
            self._insurance.is_fitting = False
        if before.density_factor != controls.density_factor:
            self._insurance.is_fitting = False
        if generation_of(before) != generation_of(controls):
            self._circumstances.stale_below = self._circumstances.asked + 1
        if before.dress != controls.dress:
            return self.offers_to_restarted()
        return []

    def outfit_changed(self, outfit: Outfit) -> list[Offer]:
        """Other parts and channels from the next bar on: all that has not begun, dressed anew."""
        self._offering.outfit = outfit
        return self.offers()

    def transport_moved(self, is_rolling: bool, bar_index: int, tempo_bpm: float) -> None:
        """The transport rolls or stands in a bar. Standing in another bar than before, it was moved."""
        self._circumstances.tempo_bpm = tempo_bpm
        if self._playhead.is_moved_to(is_rolling, bar_index):
            self._forget_from(bar_index)
        self._playhead.transport_moved(is_rolling, bar_index)

    def bar_began(self, bar: Bar, version: int, is_fallback: bool) -> list[Offer]:
        """The stage plays this bar (as it was dressed): from now on it is the past. Bar 0 after something was
        played is a new Start; another bar once more, and the position was moved back to it. A fallback comes back
        with the one to follow it, which it need not repeat."""
        if bar.index == 0 and self._playhead.has_played:
            self._begin_anew()
        elif bar.index < self._playhead.played_to:
            self._forget_from(bar.index + 1)
        begun = replace(self._as_planned(bar, version, is_fallback), is_begun=True)
        self._under_way.began(begun)
        self._insurance.began(begun.bar)
        self._playhead.began(bar.index)
        if self.loop is not None:
            return self._rounds.go_round(self._under_way)
        if not is_fallback:
            return []
        insured = self._under_way.bars[bar.index] = self._insurance.insured(begun, self._under_way)
        return [self._offer(insured)]

    def answered(self, reply: BarReply) -> Offer | None:
        """The model's answer; None if it came too late to be of use."""
        request, is_top = self._asking.answered(reply), self._asking.is_top
        if request is None:
            return None
        index, wanted = reply.bar.index, self._top if is_top else self._under_way
        if not is_top and (index < self._playhead.first or self.loop is not None):
            return None
        latent = point_of(request)
        if self._circumstances.is_up_to_date(request):
            plan = unscaled(reply.plan, index, wanted, self._circumstances.controls)
            wanted.rows.imagined(index, plan, latent)
        fallback = self._insurance.fallback_after(reply.bar, wanted)
        version = self._offering.next_version()
        planned = Planned(reply.bar, version, request.version, fallback, latent, self._asking.heard)
        wanted.put(planned)
        return self._offer(planned)

    def offers_to_restarted(self) -> list[Offer]:
        """For a stage that was started again: the bar that was playing, the opening for a Start that comes before
        its bars are ready, and all that has not begun."""
        kept = (self._under_way.bars.get(index) for index in sorted({*OPENING_BARS, self._playhead.played_to}))
        return [self._offer(planned) for planned in kept if planned is not None and planned.is_begun] + self.offers()

    def offers(self) -> list[Offer]:
        """All that has not begun."""
        return [self._offer(planned) for planned in (*self._under_way.waiting(), *self._top.waiting())]

    def insure(self) -> list[Offer]:
        """What plays where a bar is late is to fit the plan, if that has changed since the last call. What of it is
        new; a millisecond's work, not to be done for every datagram."""
        if self._insurance.is_fitting:
            return []
        self._insurance.is_fitting = True
        changed = [*self._insurance.insure(self._under_way), *self._insurance.insure(self._top)]
        return [self._offer(planned) for planned in changed]

    def take_forgotten(self) -> tuple[int, ...]:
        """Bars that the stage may have and is to play no more, since the last call."""
        forgotten = tuple(sorted(self._under_way.forgotten))
        self._under_way.forgotten.clear()
        return forgotten

    def request_failed(self) -> None:
        """The model could not answer, or was restarted: what is missing is asked for again."""
        self._asking.in_flight = None

    # Bars that go round.

    def freeze(self, count: int) -> list[Offer]:
        """The last `count` bars (1 to 32; as many as there are) play again and again from the next on; 0: no longer.
        What is offered from now on is ready at once, and the model is left alone."""
        return self._rounds.freeze(self._under_way, count)

    def mend(self, low: int, high: int) -> list[Offer]:
        """Bars `low` to `high` of the loop, counted from 1, are to be made anew while it plays; without one, those of
        the last 32. Raises ValueError where it has no such bars."""
        return self._rounds.mend(self._under_way, low, high)

    def mended(self, reply: InfillReply) -> list[Offer]:
        """The model's answer: the loop goes on with it from the next bar."""
        return self._rounds.mended(self._under_way, reply.bars) if self._asking.mended(reply) else []

    # What to do.

    def rests(self) -> list[Offer]:
        """Bars in which we listen and are silent, as far as they are not offered yet: they need no model."""
        controls = self._circumstances.controls
        offers: list[Offer] = []
        for index, is_top in () if controls is None else self._playhead.bars_ahead(controls.lead_bars):
            wanted = self._top if is_top else self._under_way
            planned = wanted.bars.get(index)
            is_rest = self.hearing.is_call(index) and (is_top or self.loop is None)
            if is_rest and (planned is None or self._circumstances.is_stale(planned, is_top)):
                bar = self._circumstances.silent_bar(index)
                fallback = self._insurance.fallback_after(bar, self._under_way)
                version = self._offering.next_version()
                wanted.put(Planned(bar, version, self._circumstances.asked, fallback, heard=REST))
                offers.append(self._offer(wanted.bars[index]))
        return offers

    def next_request(self, ns_to_next_bar: int | None) -> BarRequest | InfillRequest | None:
        """The bar to ask for now, None when all is ready or one is under way. `ns_to_next_bar` is the time left
        to the next bar line, None when the transport stands."""
        return self._asking.next_request(self._under_way, self._top, ns_to_next_bar)

    # How things stand.

    def plan(self) -> PlanTable:
        """The plan as it stands: (32, 6) from the playing bar on, NaN where nothing was imagined yet. A bar that has
        begun is shown as it was made, those to come as they are asked for."""
        first, controls = max(0, self.position), self._circumstances.controls
        table = self._under_way.plan_from(first)
        if controls is not None:
            given = controls.plan_from(first)
            table = np.where(np.isnan(given), table, given).astype(np.float32)
            table[:, DENSITY] = np.clip(table[:, DENSITY] * controls.density_factor, None, ATTRIBUTES[DENSITY].high)
        playing = self._under_way.bars.get(first)
        if playing is not None and playing.is_begun and playing.bar.plan:
            table[0] = playing.bar.plan
        return table

    def bars_from(self, index: int, count: int) -> tuple[Bar, ...]:
        """Up to `count` bars from `index` on, as they sound."""
        found = (self._under_way.bars.get(place) for place in range(index, index + count))
        return tuple(self._offering.dressed(planned.bar) for planned in found if planned is not None)

    def raw(self, index: int) -> Bar:
        """A bar that has begun, as it was made."""
        return self._under_way.bars[index].bar

    @property
    def clothes(self) -> tuple[Dress, Outfit]:
        """What bars that are offered wear now."""
        return self._offering.clothes

    @property
    def outfit(self) -> Outfit:
        """The parts and channels that are worn now."""
        return self._offering.outfit

    @property
    def in_flight(self) -> BarRequest | InfillRequest | None:
        """The request that is not answered yet."""
        return self._asking.in_flight

    @property
    def position(self) -> int:
        """The bar that sounds (or, when stopped, the one a Continue would be in); -1 before the first Start."""
        return self._playhead.position

    @property
    def is_rolling(self) -> bool:
        """Whether the transport rolls."""
        return self._playhead.is_rolling

    @property
    def loop(self) -> Loop | None:
        """The bars that go round, None while the music goes on."""
        return self._circumstances.loop

    @property
    def hearing(self) -> Hearing:
        """What the performer plays; to be set before `rests` and `next_request`."""
        return self._circumstances.hearing

    @hearing.setter
    def hearing(self, hearing: Hearing) -> None:
        self._circumstances.hearing = hearing

    @property
    def margin_ns(self) -> int:
        """So long before its line a bar must have arrived, or another is begun in its place."""
        return self._asking.pace.margin_ns

    @margin_ns.setter
    def margin_ns(self, margin_ns: int) -> None:
        self._asking.pace.margin_ns = margin_ns

    @property
    def took_ns(self) -> deque[int]:
        """How long the newest bars took to make."""
        return self._asking.pace.took_ns

    @property
    def expected_ns(self) -> int:
        """The time a bar takes at worst, with a margin."""
        return self._asking.pace.expected_ns

    @property
    def reach_ns(self) -> int:
        """What is nearer than this would as a rule come too late: it is not begun any more."""
        return self._asking.pace.reach_ns

    @property
    def usual_ns(self) -> int:
        """The time a bar takes as a rule: what is missing and nearer than this is given up."""
        return self._asking.pace.usual_ns

    @property
    def lead_bars(self) -> int:
        """Finished bars ahead of the playhead."""
        if self._playhead.is_back_at_top:
            return self._top.lead_from(0)
        return self._under_way.lead_from(self._playhead.first)

    @property
    def is_spared(self) -> bool:
        """The model is slower than the music: bars are asked for with less."""
        return self._asking.thrift.is_on

    @property
    def is_start_fresh(self) -> bool:
        """Whether the bar that a Start would begin with knows the present controls."""
        has_played = self._playhead.has_played
        first = (self._top if has_played else self._under_way).bars.get(0)
        return first is not None and (first.is_begun or not self._circumstances.is_stale(first, has_played))

    # Jumps.

    def _begin_anew(self) -> None:
        """A new Start: a loop is over, and what is under way for the last set is not wanted."""
        self._circumstances.loop = None
        self._under_way.begin_anew(self._top)
        self._top = PlannedSet(is_top=True)
        self._playhead.played_to = -1
        self._asking.jumped()
        self._asking.is_top = False

    def _forget_from(self, index: int) -> None:
        """The position was moved here. What is under way goes on from bars that are not played."""
        self._under_way.forget_from(index, self._playhead.played_to)
        self._playhead.played_to = min(self._playhead.played_to, index - 1)
        self._asking.jumped()

    def _as_planned(self, bar: Bar, version: int, is_fallback: bool) -> Planned:
        """What begins, before it was dressed: a fallback (which the stage repeats until a bar is there), the newest
        version, or one just replaced. What is not known (it was forgotten) is taken as it sounds."""
        if is_fallback:
            before = self._under_way.bars.get(bar.index - 1)
            raw = bar if before is None else before.fallback.moved_to(bar.index)
            return Planned(raw, version, self._circumstances.asked, raw)
        known = self._under_way.known(bar.index, version)
        if known is not None:
            return known
        fallback = self._insurance.fallback_after(bar, self._under_way)
        return Planned(bar, version, self._circumstances.asked, fallback)

    def _offer(self, planned: Planned) -> Offer:
        return self._offering.offer(planned)
