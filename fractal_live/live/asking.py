"""What the model is asked, one request at a time, and how the plan of an answer is read.

A bar is asked for with its past, the plan that is given and imagined, what was heard, the latent and the seed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fractal_live.live.circumstances import Circumstances
from fractal_live.live.listening import Influence
from fractal_live.live.planned_set import PlannedSet
from fractal_live.live.playhead import Playhead
from fractal_live.live.snapshot import ControlSnapshot
from fractal_live.live.thrift import Thrift
from fractal_live.live.urgency import Pace, Urgency
from fractal_live.music.plan import ATTRIBUTES, COLUMN, PlanTable
from fractal_live.music.request import MENDING, BarReply, BarRequest, InfillReply, InfillRequest

SEED_STRIDE = 1_000_003
DENSITY = COLUMN["density"]
SLOWEST_BPM, FASTEST_BPM = 40, 200
MENDED = replace(MENDING, iterations=6)  # a gap in a loop: the music waits for it, so in fewer rounds


class Asking:
    """`in_flight`: the request that is not answered yet. Of the newest bar that was asked for, `is_top` says whether it
    is for the next Start, and `heard` what of the heard it takes."""

    def __init__(self, circumstances: Circumstances, playhead: Playhead) -> None:
        self.in_flight: BarRequest | InfillRequest | None = None
        self.is_top = False
        self.heard: Influence = None
        self.pace = Pace()
        self.thrift = Thrift()
        self._circumstances = circumstances
        self._playhead = playhead
        self._urgency = Urgency(circumstances, playhead, self.pace)

    def next_request(
        self, under_way: PlannedSet, top: PlannedSet, ns_to_next_bar: int | None
    ) -> BarRequest | InfillRequest | None:
        """What to ask for now, a gap in the loop before all bars; None when all is ready or a request is under way
        that is not to be overtaken. `ns_to_next_bar` is the time left to the next bar line, None when the transport
        stands."""
        circumstances = self._circumstances
        controls, loop = circumstances.controls, circumstances.loop
        if controls is None:
            return None
        if self.in_flight is not None and not self._is_overtaken(self.in_flight, under_way, ns_to_next_bar):
            return None
        if loop is not None and loop.gap is not None:
            circumstances.asked += 1
            circumstances.loop = replace(loop, gap=None)
            seed = _seed(controls, circumstances.asked)
            self.in_flight = loop.mending(*loop.gap, MENDED, seed, circumstances.asked)
            return self.in_flight
        choice = next(self._urgency.wishes(under_way, top, ns_to_next_bar), None)
        if choice is None:
            return None
        index, self.is_top = choice
        circumstances.asked += 1
        self.heard = circumstances.heard_by(index, self.is_top)
        request = request_for(index, top if self.is_top else under_way, self._playhead.first, circumstances)
        sampling = self.thrift.spared(request.sampling)
        self.in_flight = replace(request, sampling=sampling, version=circumstances.asked)
        return self.in_flight

    def _is_overtaken(
        self, request: BarRequest | InfillRequest, under_way: PlannedSet, ns_to_next_bar: int | None
    ) -> bool:
        """Whether the next bar has become another one, and would be in time if it were begun now but not after what is
        under way. That can wait: there is time for one bar before the line, so for two before the line after it."""
        circumstances, pace, first = self._circumstances, self.pace, self._playhead.first
        planned = under_way.bars.get(first)
        if ns_to_next_bar is None or circumstances.loop is not None or not isinstance(request, BarRequest):
            return False
        if planned is None or circumstances.hearing.is_call(first) or not circumstances.is_stale(planned, False):
            return False
        if not pace.reach_ns <= ns_to_next_bar < pace.reach_ns + pace.usual_ns:
            return False
        if self.is_top or request.index != first:
            return True
        return not circumstances.is_up_to_date(request) or self.heard != circumstances.heard_by(first, False)

    def answered(self, reply: BarReply) -> BarRequest | None:
        """The request for a bar that this answers, which is over; None if it is not the one in flight."""
        request = self.in_flight
        if not isinstance(request, BarRequest) or reply.version != request.version:
            return None
        self.in_flight = None
        self.pace.took_ns.append(reply.took_ns)
        self.thrift.took(reply.took_ns, self._circumstances.bar_ns)
        return request

    def mended(self, reply: InfillReply) -> bool:
        """Whether this answers the request in flight, which is over then."""
        if not isinstance(self.in_flight, InfillRequest) or reply.version != self.in_flight.version:
            return False
        self.in_flight = None
        return True

    def jumped(self) -> None:
        """What is under way for the set goes on from bars that are not played: it is not wanted."""
        if not self.is_top:
            self.in_flight = None


def request_for(index: int, planned_set: PlannedSet, first: int, circumstances: Circumstances) -> BarRequest:
    """The request for a bar of the set, not yet numbered; `first` is the next bar to begin. The controls must be
    known."""
    controls = circumstances.controls
    assert controls is not None, "nothing is asked for before the controls are known"
    hearing, transpose = circumstances.hearing_for(planned_set.is_top), controls.dress.transpose
    given = hearing.plan_of(index, controls.plan_from(index))
    chroma = controls.chroma_of(index, circumstances.meter)
    imagined = planned_set.rows.known_from(index, controls.influence_at(index))
    plan = np.where(np.isnan(given), imagined, given)
    if controls.density_factor != 1 and not np.isnan(plan[0, DENSITY]):
        highest = ATTRIBUTES[DENSITY].high
        given[0, DENSITY] = plan[0, DENSITY] = np.clip(plan[0, DENSITY] * controls.density_factor, 0, highest)
    if circumstances.leader_sets_tempo:
        plan[:, COLUMN["tempo"]] = np.clip(round(circumstances.tempo_bpm), SLOWEST_BPM, FASTEST_BPM)
    return BarRequest(
        index,
        hearing.past_of(planned_set.past(index, first), transpose),
        plan,
        hearing.chroma_of(index, transpose) if chroma is None else chroma,
        controls.latent_at(index),
        controls.latent_gain,
        circumstances.meter,
        hearing.sampling_of(index, controls.sampling),
        _seed(controls, controls.rerolls),
        asked=given,
    )


def unscaled(plan: PlanTable, index: int, planned_set: PlannedSet, controls: ControlSnapshot | None) -> PlanTable:
    """The plan (32, 6) of the answer for a bar as it was imagined, whatever factor its first row was scaled by."""
    if controls is None or controls.density_factor == 1:
        return plan
    known = planned_set.rows.row(index)
    row = plan[0].copy()
    row[DENSITY] = plan[0, DENSITY] / controls.density_factor if known is None else known[DENSITY]
    return np.concatenate([row[None], plan[1:]])


def _seed(controls: ControlSnapshot, draw: int) -> int:
    return controls.cycle_seed * SEED_STRIDE + draw
