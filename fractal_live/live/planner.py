"""What to ask of the model next, and what to do with its answers.

Keeps the bars of the set (played, or ready and replaceable), the imagined plan that slides with them, and
one request in flight. Knows no pipes: it is told what happened and asked what to do. One thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fractal_live.live.fallback import fallback_for
from fractal_live.live.snapshot import ControlSnapshot
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note, without_overlaps
from fractal_live.music.plan import COLUMN, PLAN_BARS, PlanTable, unknown_plan
from fractal_live.music.request import BarReply, BarRequest

MEMORY_BARS = 64
MARGIN_NS = 30_000_000
FIRST_GUESS_NS = 150_000_000
SEED_STRIDE = 1_000_003


@dataclass(frozen=True, slots=True)
class Planned:
    """A bar as the model made it, before transposition and the like; `asked` is the request's number;
    `is_begun` says that it has sounded, or sounds."""

    bar: Bar
    version: int
    asked: int
    fallback: Bar
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """For the stage: this bar, and what plays after it if the next is late, as they are to sound."""

    bar: Bar
    version: int
    fallback: Bar


class Planner:
    """`position` is the bar that sounds (or, when stopped, the one a Continue would be in); -1 before the
    first Start. Bars of the next Start from the top are kept apart (`top`) while a set is under way."""

    def __init__(self, meter: Meter = FOUR_FOUR, leader_sets_tempo: bool = False) -> None:
        self.meter = meter
        self.leader_sets_tempo = leader_sets_tempo
        self.position = -1
        self.is_rolling = False
        self.took_ns: deque[int] = deque(maxlen=64)
        self.in_flight: BarRequest | None = None
        self._bars: dict[int, Planned] = {}
        self._top: dict[int, Planned] = {}
        self._rows: dict[int, np.ndarray] = {}  # bar index to its imagined plan row
        self._top_rows: dict[int, np.ndarray] = {}
        self._in_flight_is_top = False
        self._asked = 0
        self._version = 0
        self._stale_below = 0  # requests with a smaller number knew older controls
        self._controls: ControlSnapshot | None = None
        self._tempo_bpm = 120.0

    # What happened.

    def controls_changed(self, controls: ControlSnapshot) -> list[Offer]:
        """New control values. Whatever has not begun is stale from now on; bars that only need to be dressed
        anew (transposed, louder) come back as offers at once."""
        before, self._controls = self._controls, controls
        if before is None or before == controls:
            return []
        if _imagination(before) != _imagination(controls):
            self._rows = {index: row for index, row in self._rows.items() if index <= self.position}
            self._top_rows.clear()
        if _generation(before) != _generation(controls):
            self._stale_below = self._asked + 1
        if (before.transpose, before.velocity) != (controls.transpose, controls.velocity):
            return self.offers()
        return []

    def transport_moved(self, is_rolling: bool, bar_index: int, tempo_bpm: float) -> None:
        """The transport rolls or stands in a bar. Rolling in bar 0 after something was played is a new Start."""
        self._tempo_bpm = tempo_bpm
        is_new_start = is_rolling and not self.is_rolling and bar_index == 0
        if is_new_start and any(planned.is_begun for planned in self._bars.values()):
            self._bars, self._rows = self._top, self._top_rows
            self._top, self._top_rows = {}, {}
            self._stale_flight()
        self.is_rolling = is_rolling
        self.position = bar_index if is_rolling or self._has_played() or bar_index > 0 else -1

    def bar_began(self, bar: Bar, version: int, is_fallback: bool) -> None:
        """The stage plays this bar (as it was dressed): from now on it is the past."""
        planned = self._bars.get(bar.index)
        if is_fallback:
            before = self._bars.get(bar.index - 1)
            raw = (before.fallback if before is not None else bar).moved_to(bar.index)
            self._bars[bar.index] = Planned(raw, version, self._asked, self._fallback_after(bar.index, raw), True)
        elif planned is not None:
            self._bars[bar.index] = replace(planned, is_begun=True)
        self.position = bar.index
        for old in [index for index in self._bars if index < bar.index - MEMORY_BARS]:
            del self._bars[old]
            self._rows.pop(old, None)

    def answered(self, reply: BarReply) -> Offer | None:
        """The model's answer; None if it came too late to be of use."""
        request, is_top = self.in_flight, self._in_flight_is_top
        if request is None or reply.version != request.version:
            return None
        self.in_flight = None
        self.took_ns.append(reply.took_ns)
        index = reply.bar.index
        bars, rows = (self._top, self._top_rows) if is_top else (self._bars, self._rows)
        if not is_top and index in bars and bars[index].is_begun:
            return None
        is_current = request.version >= self._stale_below
        if is_current:
            for place, row in enumerate(reply.plan):
                rows.setdefault(index + place, row)
        self._version += 1
        planned = Planned(reply.bar, self._version, request.version, self._fallback_after(index, reply.bar, bars, rows))
        bars[index] = planned
        return self._offer(planned)

    def offers(self) -> list[Offer]:
        """All that has not begun, for a stage that was started again."""
        return [self._offer(planned) for planned in (*self._waiting(self._bars), *self._waiting(self._top))]

    def request_failed(self) -> None:
        """The model could not answer, or was restarted: what is missing is asked for again."""
        self.in_flight = None

    # What to do.

    def next_request(self, ns_to_next_bar: int | None) -> BarRequest | None:
        """The bar to ask for now, None when all is ready or one is under way. `ns_to_next_bar` is the time left
        to the next bar line, None when the transport stands."""
        if self.in_flight is not None or self._controls is None:
            return None
        choice = next(self._wishes(ns_to_next_bar), None)
        if choice is None:
            return None
        index, is_top = choice
        self._asked += 1
        self._in_flight_is_top = is_top
        self.in_flight = self._request(index, is_top)
        return self.in_flight

    def plan(self) -> PlanTable:
        """The plan as it stands: (32, 6) from the playing bar on, NaN where nothing was imagined yet."""
        first = max(0, self.position)
        table = unknown_plan()
        for row in range(PLAN_BARS):
            if first + row in self._rows:
                table[row] = self._rows[first + row]
        if self._controls is not None:
            given = self._controls.plan_from(first)
            table = np.where(np.isnan(given), table, given).astype(np.float32)
        return table

    def bars_from(self, index: int, count: int) -> tuple[Bar, ...]:
        """Up to `count` bars from `index` on, as they sound."""
        found = (self._bars.get(place) for place in range(index, index + count))
        return tuple(self._dressed(planned.bar) for planned in found if planned is not None)

    @property
    def lead_bars(self) -> int:
        """Finished bars ahead of the playhead."""
        lead = 0
        while self.position + 1 + lead in self._bars:
            lead += 1
        return lead

    # Which bar next.

    def _wishes(self, ns_to_next_bar: int | None) -> Iterator[tuple[int, bool]]:
        """Bars to ask for, the most urgent first: (index, is it for the next Start)."""
        assert self._controls is not None
        first = self.position + 1
        coming = range(first, first + self._controls.lead_bars)
        missing = [index for index in coming if index not in self._bars]
        stale = [index for index in coming if index in self._bars and self._is_stale(self._bars[index])]
        expected = self.expected_ns
        if stale and stale[0] == first and ns_to_next_bar is not None and ns_to_next_bar < expected:
            stale = stale[1:]  # that line is too near: its bar is committed
        if missing and missing[0] == first:
            yield first, False
        if stale and stale[0] == first and ns_to_next_bar is not None and ns_to_next_bar < 3 * expected:
            yield first, False
        yield from ((index, False) for index in missing)
        yield from ((index, False) for index in stale)
        if not self.is_rolling and self._has_played():
            for index in range(self._controls.lead_bars):
                if index not in self._top or self._is_stale(self._top[index]):
                    yield index, True

    @property
    def expected_ns(self) -> int:
        """The time a bar takes at worst, with a margin: what is nearer than this is committed."""
        return max(self.took_ns, default=FIRST_GUESS_NS) + MARGIN_NS

    def _is_stale(self, planned: Planned) -> bool:
        return not planned.is_begun and planned.asked < self._stale_below

    def _has_played(self) -> bool:
        return any(planned.is_begun for planned in self._bars.values())

    def _stale_flight(self) -> None:
        """What is under way was asked for another beginning: its answer is not wanted."""
        if self.in_flight is not None and not self._in_flight_is_top:
            self.in_flight = None
        self._in_flight_is_top = False

    def _request(self, index: int, is_top: bool) -> BarRequest:
        controls = self._controls
        assert controls is not None
        bars, rows = (self._top, self._top_rows) if is_top else (self._bars, self._rows)
        given = controls.plan_from(index)
        plan = given.copy()
        for row in range(PLAN_BARS):
            imagined = rows.get(index + row)
            if imagined is not None:
                plan[row] = np.where(np.isnan(given[row]), imagined, given[row])
        if self.leader_sets_tempo:
            plan[:, COLUMN["tempo"]] = np.clip(round(self._tempo_bpm), 40, 200)
        return BarRequest(
            index,
            self._past(bars, index),
            plan,
            None,
            controls.latent,
            controls.latent_gain,
            self.meter,
            controls.sampling,
            controls.cycle_seed * SEED_STRIDE + controls.rerolls,
            self._asked,
        )

    # Bars as they are to sound.

    def _past(self, bars: dict[int, Planned], index: int) -> tuple[Bar, ...]:
        """The unbroken run of bars before `index`, oldest first."""
        run: list[Bar] = []
        while len(run) < MEMORY_BARS and index - 1 - len(run) in bars:
            run.append(bars[index - 1 - len(run)].bar)
        return tuple(reversed(run))

    def _fallback_after(
        self,
        index: int,
        bar: Bar,
        bars: dict[int, Planned] | None = None,
        rows: dict[int, np.ndarray] | None = None,
    ) -> Bar:
        bars, rows = self._bars if bars is None else bars, self._rows if rows is None else rows
        row = rows.get(index + 1)
        density = None if row is None else float(row[COLUMN["density"]])
        if self._controls is not None:
            given = float(self._controls.plan_from(index + 1)[0, COLUMN["density"]])
            density = density if np.isnan(given) else given
        return fallback_for(index + 1, self.meter, (*self._past(bars, index), bar), density)

    @staticmethod
    def _waiting(bars: dict[int, Planned]) -> list[Planned]:
        return [planned for planned in bars.values() if not planned.is_begun]

    def _offer(self, planned: Planned) -> Offer:
        return Offer(self._dressed(planned.bar), planned.version, self._dressed(planned.fallback))

    def _dressed(self, bar: Bar) -> Bar:
        """The bar transposed and scaled as the controls say; a pitch that would leave the range of MIDI stays in
        it by octaves."""
        controls = self._controls
        if controls is None or (controls.transpose == 0 and controls.velocity == 1):
            return bar
        notes = [
            Note(
                note.onset_tick,
                _in_range(note.pitch + controls.transpose),
                note.duration_ticks,
                min(127, max(1, round(note.velocity * controls.velocity))),
            )
            for note in bar.notes
        ]
        return replace(bar, notes=without_overlaps(notes))


def _in_range(pitch: int) -> int:
    while pitch < 0:
        pitch += 12
    while pitch > 127:
        pitch -= 12
    return pitch


def _imagination(controls: ControlSnapshot) -> tuple[object, ...]:
    """What the imagined plan depends on."""
    return (controls.plan, controls.latent, controls.latent_gain, controls.cycle_seed)


def _generation(controls: ControlSnapshot) -> tuple[object, ...]:
    """What the bars depend on."""
    return (*_imagination(controls), controls.rerolls, controls.sampling)
