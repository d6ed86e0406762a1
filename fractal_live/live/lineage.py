"""Tells of every bar that begins where it came from, as entries for the recording.

Is told what the model made and how bars are dressed, and keeps no more of it than may still be asked for. What it
cannot trace it writes down note by note, so that the recording is complete whatever happened. One thread.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice

from fractal_live.live.dressing import Dress, Outfit, dressed
from fractal_live.live.fallback import fallback_for
from fractal_live.live.provenance import (
    Began,
    Chain,
    Given,
    Made,
    Mended,
    Moved,
    Varied,
    Worn,
    digest_of,
    packed,
    runs_of,
)
from fractal_live.music.notes import Bar
from fractal_live.music.plan import PlanTable
from fractal_live.music.request import BarReply, BarRequest, InfillReply, InfillRequest

KEPT_ANSWERS = 256  # of a few bars, some of them made again and again while a fader moves
BEHIND = 4  # bars; what was made for one so far behind the bar that begins will not begin any more
KEPT_NUMBERS = 192  # three times what the model looks back
KEPT_DRESSINGS = 64  # a fader that moves with every video frame, for a second
SOURCES_TRIED = 16


class Lineage:
    """Numbers the bars in the order in which they come into the recording."""

    def __init__(self) -> None:
        self._made: OrderedDict[Bar, tuple[BarRequest, PlanTable]] = OrderedDict()
        self._numbers: OrderedDict[Bar, int] = OrderedDict()
        self._mended: OrderedDict[Bar, tuple[InfillRequest, InfillReply]] = OrderedDict()
        self._dressings: deque[tuple[Dress, Outfit]] = deque(maxlen=KEPT_DRESSINGS)
        self._worn: OrderedDict[tuple[Dress, Outfit], int] = OrderedDict()
        self._ways = 0
        self._chain = Chain()
        self._count = 0

    def made(self, request: BarRequest, reply: BarReply) -> None:
        """The model's answer to a request, of use."""
        self._made[reply.bar] = (request, reply.plan)
        while len(self._made) > KEPT_ANSWERS:
            self._made.popitem(last=False)

    def mended(self, request: InfillRequest, reply: InfillReply) -> None:
        """The model's answer to a gap in a loop."""
        for bar, is_missing in zip(reply.bars, request.is_missing, strict=True):
            if is_missing:
                self._mended[bar] = (request, reply)
        while len(self._mended) > KEPT_ANSWERS:
            self._mended.popitem(last=False)

    def dresses(self, dress: Dress, outfit: Outfit) -> None:
        """From now on bars are dressed like this; some that were sent may still sound as before."""
        if not self._dressings or self._dressings[-1] != (dress, outfit):
            self._dressings.append((dress, outfit))

    def began(self, raw: Bar, sounding: Bar, line_tick: int, is_fallback: bool = False) -> list[bytes]:
        """A bar began at this bar line of the recording: as the model made it, and as it sounds. What the recording
        has to know of it, in order."""
        entries: list[bytes] = []
        number = self._number_of(raw, entries)
        worn, notes = None, None
        if raw.notes != sounding.notes:
            way = next((way for way in reversed(self._dressings) if dressed(raw, *way).notes == sounding.notes), None)
            worn = None if way is None else self._number_of_way(way, entries)
            notes = sounding.notes if way is None else None
        entries.append(packed(Began(number, line_tick, worn, notes, is_fallback)))
        self._forget(raw.index - BEHIND)
        return entries

    def _forget(self, index: int) -> None:
        """What was made for bars before this one."""
        for bar in [bar for bar in self._made if bar.index < index]:
            del self._made[bar]

    def _number_of_way(self, way: tuple[Dress, Outfit], entries: list[bytes]) -> int:
        if way not in self._worn:
            self._worn[way] = self._ways
            entries.append(packed(Worn(self._ways, *way)))
            self._ways += 1
            while len(self._worn) > KEPT_DRESSINGS:
                self._worn.popitem(last=False)
        return self._worn[way]

    def _number_of(self, bar: Bar, entries: list[bytes]) -> int:
        """Of a bar that is known already its number; else it is told of first, with all it stands on."""
        if bar in self._numbers:
            return self._numbers[bar]
        if bar in self._made:
            request, plan = self._made[bar]
            past = runs_of([self._number_of(before, entries) for before in request.past])
            number = self._next(bar)
            entries.append(self._chain.packed(Made(number, request, past, digest_of(bar))))
            self._chain.answered(request, plan)
            return number
        if bar in self._mended:
            self._tell_of_gap(*self._mended[bar], entries)
            return self._numbers[bar]
        entries.append(packed(self._traced(bar, entries)))
        return self._numbers[bar]

    def _tell_of_gap(self, request: InfillRequest, reply: InfillReply, entries: list[bytes]) -> None:
        bars = runs_of([self._number_of(bar, entries) for bar in request.bars])
        missing = tuple(place for place, is_missing in enumerate(request.is_missing) if is_missing)
        numbers = [self._next(reply.bars[place]) for place in missing]
        digests = tuple(digest_of(reply.bars[place]) for place in missing)
        entries.append(packed(Mended(numbers[0], bars, missing, request.sampling, request.seed, digests)))

    def _traced(self, bar: Bar, entries: list[bytes]) -> Moved | Varied | Given:
        """A bar that is not the model's own answer: one that goes round, a fallback, or nobody knows."""
        for kept in (self._numbers, self._made, self._mended):
            for known in list(reversed(kept)):
                if known.notes == bar.notes and known.moved_to(bar.index) == bar:
                    source = self._number_of(known, entries)
                    return Moved(self._next(bar), bar.index, source)
        varied = self._source_of(bar)
        number = self._next(bar)
        return Given(number, bar) if varied is None else Varied(number, bar.index, varied, len(bar.notes))

    def _next(self, bar: Bar) -> int:
        number = self._count
        self._count += 1
        self._numbers[bar] = number
        while len(self._numbers) > KEPT_NUMBERS:
            self._numbers.popitem(last=False)
        return number

    def _source_of(self, bar: Bar) -> int | None:
        """The bar that a fallback was made from: it has its plan and harmony."""
        alike = (
            (known, number)
            for known, number in reversed(self._numbers.items())
            if bar.notes and (known.plan, known.chroma, known.meter) == (bar.plan, bar.chroma, bar.meter)
        )
        for known, number in islice(alike, SOURCES_TRIED):
            if fallback_for(bar.index, bar.meter, (known,), len(bar.notes)) == bar:
                return number
        return None
