"""Someone who listens to a whole set and knows what was planned: counts bars, silent bars and notes left open.

Told in order what was heard and when; knows no ports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WANTED_ONSETS = 1.0  # a bar planned with fewer may well be silent
EARLY_NS = 60_000_000
"""A note on the bar line is told before its bar: as soon as it has left for a JACK cycle, at most a period ahead of its
frame (21 ms at 1024 frames and 48 kHz, 46 at 2048 and 44.1). A sixteenth is longer at any tempo of a soak."""


@dataclass(frozen=True, slots=True)
class SilentBar:
    """A bar in which no note began though its plan wanted `wanted` of them, and when it was over."""

    index: int
    wanted: float
    over_ns: int


class Witness:
    """`bars` are over (skipped ones too), `silent` those of them whose plan wanted notes and in which none began."""

    def __init__(self) -> None:
        self.bars = 0
        self.struck = 0
        self.silent: list[SilentBar] = []
        self.unheard: set[int] = set()  # of the bars that are over, those that never began
        self._index: int | None = None
        self._densities: Sequence[float] = ()
        self._has_notes = False
        self._last_on_ns = 0
        self._open: set[tuple[int, int]] = set()

    @property
    def open_notes(self) -> int:
        """Notes that were struck and not closed."""
        return len(self._open)

    def bar_began(self, index: int, at_ns: int) -> None:
        """A bar told twice (by a stage that took over in its middle) is one bar."""
        if index == self._index:
            return
        if self._index is not None:
            self._over(self._index, 0, self._has_notes, at_ns)
            for ahead in range(1, index - self._index):  # nothing after a jump back
                self.unheard.add(self._index + ahead)
                self._over(self._index + ahead, ahead, False, at_ns)
        self._index, self._densities = index, ()
        self._has_notes = at_ns - self._last_on_ns < EARLY_NS

    def planned(self, densities: Sequence[float]) -> None:
        """Onsets wanted in the playing bar and those after it; negative is unknown."""
        self._densities = densities

    def note(self, channel: int, pitch: int, is_on: bool, at_ns: int) -> None:
        if is_on:
            self.struck += 1
            self._open.add((channel, pitch))
            self._has_notes = True
            self._last_on_ns = at_ns
        else:
            self._open.discard((channel, pitch))

    def _over(self, index: int, row: int, has_notes: bool, at_ns: int) -> None:
        self.bars += 1
        wanted = self._densities[row] if row < len(self._densities) else 0.0
        if wanted >= WANTED_ONSETS and not has_notes:
            self.silent.append(SilentBar(index, wanted, at_ns))
