"""What to ask of the model next, and what to do with its answers.

Keeps the bars of the set (played, or ready and replaceable), the imagined plan that slides with them, and
one request in flight. Knows no pipes: it is told what happened and asked what to do. One thread.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fractal_live.live.dressing import PLAIN, Dress, Outfit, dressed
from fractal_live.live.fallback import fallback_for
from fractal_live.live.horizon import Horizon
from fractal_live.live.latent_path import Point
from fractal_live.live.listening import DEAF, REST, Hearing, Influence
from fractal_live.live.loop import LONGEST_LOOP, Loop
from fractal_live.live.planned import NEVER_ASKED, OPENING_BARS, Offer, Planned, density_at, past_of
from fractal_live.live.snapshot import ControlSnapshot, generation_of, imagination_of
from fractal_live.live.thrift import Thrift
from fractal_live.music.meter import FOUR_FOUR, PPQN, Meter
from fractal_live.music.notes import Bar
from fractal_live.music.plan import ATTRIBUTES, COLUMN, PLAN_BARS, PlanTable, unknown_plan
from fractal_live.music.request import MEMORY_BARS, MENDING, BarReply, BarRequest, InfillReply, InfillRequest

MARGIN_NS = 30_000_000
FIRST_GUESS_NS = 150_000_000
SEED_STRIDE = 1_000_003
DENSITY = COLUMN["density"]
MENDED = replace(MENDING, iterations=6)  # a gap in a loop: the music waits for it, so in fewer rounds


class Planner:
    """`position` is the bar that sounds (or, when stopped, the one a Continue would be in); -1 before the
    first Start. Bars of the next Start from the top are kept apart (`top`) while a set is under way. What the
    stage begins is the truth about Start and Continue: news of the transport may come before it or after."""

    def __init__(self, meter: Meter = FOUR_FOUR, leader_sets_tempo: bool = False, outfit: Outfit = PLAIN) -> None:
        self.meter = meter
        self.outfit = outfit
        self.leader_sets_tempo = leader_sets_tempo
        self.margin_ns = MARGIN_NS  # before its line a bar must have arrived, or another is begun in its place
        self.position = -1
        self.is_rolling = False
        self.hearing = DEAF  # what the performer plays; to be set before `rests` and `next_request`
        self.took_ns: deque[int] = deque(maxlen=64)
        self.in_flight: BarRequest | InfillRequest | None = None
        self.loop: Loop | None = None
        self._gap: tuple[int, int] | None = None  # bars of the loop that are to be made anew, counted from 1
        self._bars: dict[int, Planned] = {}
        self._top: dict[int, Planned] = {}
        self._replaced: dict[int, Planned] = {}  # what the stage may still play: that it is not to is on the way
        self._forgotten: set[int] = set()  # what the stage is still to be told so
        self._played_to = -1
        self._is_insured = True  # the fallbacks fit the plan as it is
        self._voiced: Bar | None = None  # the newest bar with notes that was begun
        self._rows, self._top_rows = Horizon(), Horizon()
        self._in_flight_is_top = False
        self._in_flight_heard: Influence = None
        self._asked = 0
        self._version = 0
        self._stale_below = 0  # requests with a smaller number knew older controls
        self._controls: ControlSnapshot | None = None
        self._tempo_bpm = 120.0
        self._thrift = Thrift()

    # What happened.

    def controls_changed(self, controls: ControlSnapshot) -> list[Offer]:
        """New control values. What has not begun and would be another bar now is stale from now on; bars that only
        need to be dressed anew (transposed, louder), and fallbacks, come back as offers at once."""
        before, self._controls = self._controls, controls
        if before is None or before == controls:
            return []
        if imagination_of(before, self._first) != imagination_of(controls, self._first):
            self._rows.forget_from(self._first)
            self._top_rows.forget_from(0)
            self._is_insured = False
        if before.density_factor != controls.density_factor:
            self._is_insured = False
        if generation_of(before) != generation_of(controls):
            self._stale_below = self._asked + 1
        if before.dress != controls.dress:
            return self.offers_to_restarted()
        return []

    def outfit_changed(self, outfit: Outfit) -> list[Offer]:
        """Other parts and channels from the next bar on: all that has not begun, dressed anew."""
        self.outfit = outfit
        return self.offers()

    def transport_moved(self, is_rolling: bool, bar_index: int, tempo_bpm: float) -> None:
        """The transport rolls or stands in a bar. Standing in another bar than before, it was moved."""
        self._tempo_bpm = tempo_bpm
        is_moved = not is_rolling and not self.is_rolling and bar_index != self.position
        if is_moved and bar_index > 0 and bar_index not in (self._played_to, self._played_to + 1):
            self._forget_from(bar_index)
        self.is_rolling = is_rolling
        if is_rolling:
            self.position = max(bar_index, self._played_to)
        else:
            self.position = bar_index if self._has_played or bar_index > 0 else -1

    def bar_began(self, bar: Bar, version: int, is_fallback: bool) -> list[Offer]:
        """The stage plays this bar (as it was dressed): from now on it is the past. Bar 0 after something was
        played is a new Start; another bar once more, and the position was moved back to it. A fallback comes back
        with the one to follow it, which it need not repeat."""
        if bar.index == 0 and self._has_played:
            self._begin_anew()
        elif bar.index < self._played_to:
            self._forget_from(bar.index + 1)
        begun = self._bars[bar.index] = replace(self._as_planned(bar, version, is_fallback), is_begun=True)
        self._voiced = begun.bar if begun.bar.notes else self._voiced
        self.position = self._played_to = bar.index
        for old in [index for index in self._bars if index < bar.index - MEMORY_BARS and index not in OPENING_BARS]:
            del self._bars[old]
        self._rows.forget_before(bar.index - MEMORY_BARS)
        self._replaced = {index: planned for index, planned in self._replaced.items() if index > bar.index}
        if self.loop is not None:
            return self._go_round()
        if not is_fallback:
            return []
        self._bars[bar.index] = self._insured(begun, self._bars, self._rows)
        return [self._offer(self._bars[bar.index])]

    def answered(self, reply: BarReply) -> Offer | None:
        """The model's answer; None if it came too late to be of use."""
        request, is_top = self.in_flight, self._in_flight_is_top
        if not isinstance(request, BarRequest) or reply.version != request.version:
            return None
        self.in_flight = None
        self.took_ns.append(reply.took_ns)
        self._thrift.took(reply.took_ns, self._bar_ns)
        index = reply.bar.index
        bars, rows = (self._top, self._top_rows) if is_top else (self._bars, self._rows)
        if not is_top and (index < self._first or self.loop is not None):
            return None
        latent = request.latent if request.latent_gain > 0 else None
        if request.version >= self._stale_below and latent == self._influence_at(index):
            rows.imagined(index, self._unscaled(reply.plan, index, rows), latent)
        self._version += 1
        fallback = self._fallback_after(index, reply.bar, bars, rows)
        planned = Planned(reply.bar, self._version, request.version, fallback, latent, self._in_flight_heard)
        if not is_top and index in bars:
            self._replaced[index] = bars[index]
        bars[index] = planned
        return self._offer(planned)

    def offers_to_restarted(self) -> list[Offer]:
        """For a stage that was started again: the bar that was playing, the opening for a Start that comes before
        its bars are ready, and all that has not begun."""
        kept = (self._bars.get(index) for index in sorted({*OPENING_BARS, self._played_to}))
        return [self._offer(planned) for planned in kept if planned is not None and planned.is_begun] + self.offers()

    def offers(self) -> list[Offer]:
        """All that has not begun."""
        return [self._offer(planned) for planned in (*self._waiting(self._bars), *self._waiting(self._top))]

    def insure(self) -> list[Offer]:
        """What plays where a bar is late is to fit the plan, if that has changed since the last call. What of it is
        new; a millisecond's work, not to be done for every datagram."""
        if self._is_insured:
            return []
        self._is_insured = True
        offers = []
        for bars, rows in ((self._bars, self._rows), (self._top, self._top_rows)):
            for index in sorted(bars):
                before = bars[index]
                if not before.is_begun or index == self._played_to:
                    bars[index] = self._insured(before, bars, rows)
                    if bars[index] != before:
                        offers.append(self._offer(bars[index]))
        return offers

    def take_forgotten(self) -> tuple[int, ...]:
        """Bars that the stage may have and is to play no more, since the last call."""
        forgotten = tuple(sorted(self._forgotten))
        self._forgotten.clear()
        return forgotten

    def request_failed(self) -> None:
        """The model could not answer, or was restarted: what is missing is asked for again."""
        self.in_flight = None

    # Bars that go round.

    def freeze(self, count: int) -> list[Offer]:
        """The last `count` bars (1 to 32; as many as there are) play again and again from the next on; 0: no longer.
        What is offered from now on is ready at once, and the model is left alone."""
        if count == 0:
            self.loop, self._gap = None, None
            for index, planned in self._bars.items():
                if not planned.is_begun:
                    self._bars[index] = replace(planned, asked=NEVER_ASKED)
            return []
        last = self._played_to
        run: list[Bar] = []
        while len(run) < min(count, LONGEST_LOOP) and last - len(run) in self._bars:
            run.append(self._bars[last - len(run)].bar)
        if not run:
            return []
        self.loop = Loop(tuple(reversed(run)), self._first)
        return self._go_round()

    def mend(self, low: int, high: int) -> list[Offer]:
        """Bars `low` to `high` of the loop, counted from 1, are to be made anew while it plays; without one, those of
        the last 32. Raises ValueError where it has no such bars."""
        offers = [] if self.loop is not None else self.freeze(LONGEST_LOOP)
        if self.loop is None:
            raise ValueError("nothing was played yet")
        self.loop.mending(low, high, MENDING, 0, 0)  # refuses
        self._gap = (low, high)
        return offers

    def mended(self, reply: InfillReply) -> list[Offer]:
        """The model's answer: the loop goes on with it from the next bar."""
        if not isinstance(self.in_flight, InfillRequest) or reply.version != self.in_flight.version:
            return []
        self.in_flight = None
        if self.loop is None or len(reply.bars) != len(self.loop.bars):
            return []
        self.loop = self.loop.mended(reply.bars)
        return self._go_round()

    def _go_round(self) -> list[Offer]:
        """The coming bars of the loop, in the place of whatever was to come."""
        assert self.loop is not None and self._controls is not None
        first, offers = self._first, []
        for index in range(first, first + self._controls.lead_bars):
            bar = self.loop.bar_at(index)
            known = self._bars.get(index)
            if known is None or known.bar != bar:
                if known is not None:
                    self._replaced[index] = known
                self._version += 1
                fallback = self.loop.bar_at(index + 1)
                self._bars[index] = Planned(bar, self._version, self._asked, fallback)
                offers.append(self._offer(self._bars[index]))
        return offers

    # What to do.

    def rests(self) -> list[Offer]:
        """Bars in which we listen and are silent, as far as they are not offered yet: they need no model."""
        offers: list[Offer] = []
        for index, is_top in self._bars_ahead():
            bars = self._top if is_top else self._bars
            planned = bars.get(index)
            is_rest = self.hearing.is_call(index) and (is_top or self.loop is None)
            if is_rest and (planned is None or self._is_stale(planned, is_top)):
                bar = Bar(index, (), self.meter, self._tempo_bpm)
                if planned is not None and not is_top:
                    self._replaced[index] = planned
                self._version += 1
                bars[index] = Planned(bar, self._version, self._asked, self._fallback_after(index, bar), heard=REST)
                offers.append(self._offer(bars[index]))
        return offers

    def next_request(self, ns_to_next_bar: int | None) -> BarRequest | InfillRequest | None:
        """The bar to ask for now, None when all is ready or one is under way. `ns_to_next_bar` is the time left
        to the next bar line, None when the transport stands."""
        if self.in_flight is not None or self._controls is None:
            return None
        if self.loop is not None and self._gap is not None:
            self._asked += 1
            (low, high), self._gap = self._gap, None
            seed = self._controls.cycle_seed * SEED_STRIDE + self._asked
            self.in_flight = self.loop.mending(low, high, MENDED, seed, self._asked)
            return self.in_flight
        choice = next(self._wishes(ns_to_next_bar), None)
        if choice is None:
            return None
        index, is_top = choice
        self._asked += 1
        self._in_flight_is_top = is_top
        self._in_flight_heard = self._hearing_for(is_top).influence_on(index)
        self.in_flight = self._request(index, is_top)
        return self.in_flight

    def plan(self) -> PlanTable:
        """The plan as it stands: (32, 6) from the playing bar on, NaN where nothing was imagined yet."""
        first = max(0, self.position)
        table = unknown_plan()
        for row in range(PLAN_BARS):
            imagined = self._rows.row(first + row)
            if imagined is not None:
                table[row] = imagined
            elif first + row in self._bars and self._bars[first + row].bar.plan:
                table[row] = self._bars[first + row].bar.plan
        if self._controls is not None:
            given = self._controls.plan_from(first)
            table = np.where(np.isnan(given), table, given).astype(np.float32)
        return table

    def bars_from(self, index: int, count: int) -> tuple[Bar, ...]:
        """Up to `count` bars from `index` on, as they sound."""
        found = (self._bars.get(place) for place in range(index, index + count))
        return tuple(self._dressed(planned.bar) for planned in found if planned is not None)

    @property
    def clothes(self) -> tuple[Dress, Outfit]:
        """What bars that are offered wear now."""
        return (Dress() if self._controls is None else self._controls.dress), self.outfit

    def raw(self, index: int) -> Bar:
        """A bar that has begun, as it was made."""
        return self._bars[index].bar

    @property
    def lead_bars(self) -> int:
        """Finished bars ahead of the playhead."""
        bars, first = (self._top, 0) if self._is_back_at_top else (self._bars, self._first)
        lead = 0
        while first + lead in bars:
            lead += 1
        return lead

    @property
    def is_spared(self) -> bool:
        """The model is slower than the music: bars are asked for with less."""
        return self._thrift.is_on

    @property
    def is_start_fresh(self) -> bool:
        """Whether the bar that a Start would begin with knows the present controls."""
        first = (self._top if self._has_played else self._bars).get(0)
        return first is not None and (first.is_begun or not self._is_stale(first, self._has_played))

    # Which bar next.

    def _wishes(self, ns_to_next_bar: int | None) -> Iterator[tuple[int, bool]]:
        """Bars to ask for, the most urgent first: (index, is it for the next Start)."""
        if not self._is_back_at_top:
            yield from ((index, False) for index in self._wishes_ahead(ns_to_next_bar))
        for index, is_top in self._bars_ahead():
            is_rest = self.hearing.is_call(index)
            if is_top and not is_rest and (index not in self._top or self._is_stale(self._top[index], True)):
                yield index, True

    def _bars_ahead(self) -> Iterator[tuple[int, bool]]:
        """The bars that are to be ready, those of the next Start last: (index, is it for the next Start)."""
        if self._controls is None:
            return
        if not self._is_back_at_top:
            yield from ((index, False) for index in range(self._first, self._first + self._controls.lead_bars))
        if not self.is_rolling and self._has_played:
            for index in OPENING_BARS[: self._controls.lead_bars]:
                if index <= self._played_to:  # else the stage keeps the bar of a Continue in its place
                    yield index, True

    def _wishes_ahead(self, ns_to_next_bar: int | None) -> Iterator[int]:
        """What is missing comes first, but for a bar that would be late even so: then the first that would not,
        or a slow model would chase every bar line and reach none. What is stale and too near is committed."""
        assert self._controls is not None
        if self.loop is not None:
            return
        first, expected = self._first, self.expected_ns
        coming = [index for index, is_top in self._bars_ahead() if not is_top and not self.hearing.is_call(index)]
        missing = [index for index in coming if index not in self._bars]
        stale = [index for index in coming if index in self._bars and self._is_stale(self._bars[index])]
        if ns_to_next_bar is not None:
            bar_ns = self._bar_ns
            stale = [index for index in stale if ns_to_next_bar + (index - first) * bar_ns >= expected]
            reachable = first - min(0, (ns_to_next_bar - self.usual_ns) // bar_ns)
            is_wanted = reachable not in self._bars and not self.hearing.is_call(reachable)
            if missing and missing[-1] < reachable and is_wanted:
                missing.append(reachable)
            missing = [index for index in missing if index >= reachable]
            if stale and stale[0] == first and ns_to_next_bar < 3 * expected:
                yield first
        yield from missing
        yield from stale

    @property
    def expected_ns(self) -> int:
        """The time a bar takes at worst, with a margin: what is nearer than this is committed."""
        return max(self.took_ns, default=FIRST_GUESS_NS) + self.margin_ns

    @property
    def usual_ns(self) -> int:
        """The time a bar takes as a rule: what is missing and nearer than this is given up."""
        return round(statistics.median(self.took_ns)) if self.took_ns else FIRST_GUESS_NS

    @property
    def _bar_ns(self) -> int:
        """How long a bar lasts."""
        return round(self.meter.ticks_per_bar * 60e9 / (PPQN * self._tempo_bpm))

    @property
    def _first(self) -> int:
        """The next bar to begin: when stopped exactly at its line, the one of the position."""
        if self.is_rolling:
            return max(self.position, self._played_to) + 1
        return max(self.position, self._played_to + 1)

    @property
    def _is_back_at_top(self) -> bool:
        """Stopped, and moved to the top: what comes is the next Start."""
        return not self.is_rolling and self.position == 0 and self._played_to > 0

    @property
    def _has_played(self) -> bool:
        return self._played_to >= 0

    def _is_stale(self, planned: Planned, is_top: bool = False) -> bool:
        if planned.is_begun:
            return False
        influence = self._hearing_for(is_top).influence_on(planned.bar.index)
        if planned.heard != influence and self.loop is None:
            return True
        return influence != REST and self._is_older(planned)

    def _is_older(self, planned: Planned) -> bool:
        """Whether it was asked for with other controls than the present ones."""
        return planned.asked < self._stale_below or planned.latent != self._influence_at(planned.bar.index)

    def _hearing_for(self, is_top: bool) -> Hearing:
        """In the next Start nothing has been heard yet."""
        return self.hearing.unheard if is_top else self.hearing

    def _influence_at(self, index: int) -> Point | None:
        return None if self._controls is None else self._controls.influence_at(index)

    def _begin_anew(self) -> None:
        """A new Start: a loop is over, and the bars prepared for it take over. Where there is none yet the stage plays
        the opening of the last set, to be replaced like any other bar. What is under way for that is not wanted."""
        self.loop, self._gap = None, None
        opening = {
            index: replace(self._bars[index], is_begun=False, asked=NEVER_ASKED)
            for index in OPENING_BARS
            if index in self._bars
        }
        self._replaced = {index: planned for index, planned in opening.items() if index in self._top}
        kept = {**opening, **self._top}
        self._forgotten |= self._bars.keys() - kept.keys()
        self._bars, self._rows = kept, self._top_rows
        self._top, self._top_rows = {}, Horizon()
        self._played_to = -1
        if self.in_flight is not None and not self._in_flight_is_top:
            self.in_flight = None
        self._in_flight_is_top = False

    def _forget_from(self, index: int) -> None:
        """The position was moved here. Of the set what was played before it stays; of what lies ahead only bars that
        the stage has for it, the opening or those it had ready, and only until there are new ones. What is under way
        goes on from bars that are not played."""
        is_ahead = index > self._played_to
        kept = {place: planned for place, planned in self._bars.items() if place < index and planned.is_begun}
        kept |= {
            place: replace(planned, is_begun=False, asked=NEVER_ASKED)
            for place, planned in self._bars.items()
            if place >= index and (place in OPENING_BARS or (is_ahead and not planned.is_begun))
        }
        self._replaced |= {place: planned for place, planned in self._bars.items() if place not in kept}
        self._forgotten |= self._bars.keys() - kept.keys()
        self._bars = kept
        self._played_to = min(self._played_to, index - 1)
        if not self._in_flight_is_top:
            self.in_flight = None

    def _as_planned(self, bar: Bar, version: int, is_fallback: bool) -> Planned:
        """What begins, before it was dressed: a fallback (which the stage repeats until a bar is there), the newest
        version, or one just replaced. What is not known (it was forgotten) is taken as it sounds."""
        if is_fallback:
            before = self._bars.get(bar.index - 1)
            raw = bar if before is None else before.fallback.moved_to(bar.index)
            return Planned(raw, version, self._asked, raw)
        for planned in (self._bars.get(bar.index), self._replaced.get(bar.index)):
            if planned is not None and planned.version == version:
                return planned
        return Planned(bar, version, self._asked, self._fallback_after(bar.index, bar))

    def _request(self, index: int, is_top: bool) -> BarRequest:
        controls = self._controls
        assert controls is not None
        bars, rows = (self._top, self._top_rows) if is_top else (self._bars, self._rows)
        hearing, transpose = self._hearing_for(is_top), controls.dress.transpose
        given = hearing.plan_of(index, controls.plan_from(index))
        chroma = controls.chroma_of(index, self.meter)
        imagined = rows.known_from(index, controls.influence_at(index))
        plan = np.where(np.isnan(given), imagined, given)
        if controls.density_factor != 1 and not np.isnan(plan[0, DENSITY]):
            highest = ATTRIBUTES[DENSITY].high
            given[0, DENSITY] = plan[0, DENSITY] = np.clip(plan[0, DENSITY] * controls.density_factor, 0, highest)
        if self.leader_sets_tempo:
            plan[:, COLUMN["tempo"]] = np.clip(round(self._tempo_bpm), 40, 200)
        return BarRequest(
            index,
            hearing.past_of(self._past(bars, index), transpose),
            plan,
            hearing.chroma_of(index, transpose) if chroma is None else chroma,
            controls.latent_at(index),
            controls.latent_gain,
            self.meter,
            self._thrift.spared(hearing.sampling_of(index, controls.sampling)),
            controls.cycle_seed * SEED_STRIDE + controls.rerolls,
            self._asked,
            given,
        )

    def _unscaled(self, plan: PlanTable, index: int, rows: Horizon) -> PlanTable:
        """The plan of an answer as it was imagined, whatever factor its first row was scaled by."""
        if self._controls is None or self._controls.density_factor == 1:
            return plan
        known = rows.row(index)
        row = plan[0].copy()
        row[DENSITY] = plan[0, DENSITY] / self._controls.density_factor if known is None else known[DENSITY]
        return np.concatenate([row[None], plan[1:]])

    # Bars as they are to sound.

    def _past(self, bars: dict[int, Planned], index: int) -> tuple[Bar, ...]:
        return past_of(bars, index, self._first)

    def _fallback_after(
        self,
        index: int,
        bar: Bar,
        bars: dict[int, Planned] | None = None,
        rows: Horizon | None = None,
    ) -> Bar:
        bars, rows = self._bars if bars is None else bars, self._rows if rows is None else rows
        return self._fallback_for(index + 1, (*self._past(bars, index), bar), rows)

    def _fallback_for(self, index: int, past: tuple[Bar, ...], rows: Horizon) -> Bar:
        if self.hearing.is_call(index):
            return Bar(index, (), self.meter, self._tempo_bpm)
        if self._voiced is not None and not any(bar.notes for bar in past):
            past = (self._voiced, *past)
        return fallback_for(index, self.meter, past, density_at(index, rows, self._controls))

    def _insured(self, planned: Planned, bars: dict[int, Planned], rows: Horizon) -> Planned:
        """With the fallback that fits the plan now. A stale bar without notes, where silence is not wished any more,
        insures nothing: what would play if it were missing takes its place."""
        index = planned.bar.index
        if not planned.bar.notes and self._is_stale(planned, bars is self._top):
            bar = self._fallback_for(index, self._past(bars, index), rows)
            if bar.notes:
                self._version += 1
                planned = replace(planned, bar=bar, version=self._version, asked=NEVER_ASKED)
        return replace(planned, fallback=self._fallback_after(index, planned.bar, bars, rows))

    @staticmethod
    def _waiting(bars: dict[int, Planned]) -> list[Planned]:
        return [planned for planned in bars.values() if not planned.is_begun]

    def _offer(self, planned: Planned) -> Offer:
        fallback = self._dressed(planned.fallback)
        return Offer(self._dressed(planned.bar), planned.version, fallback, self.outfit.programs)

    def _dressed(self, bar: Bar) -> Bar:
        controls = self._controls
        return bar if controls is None else dressed(bar, controls.dress, self.outfit)
