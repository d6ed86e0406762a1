"""Bars that go round: the last ones, frozen, until the music is let go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fractal_live.music.notes import Bar
from fractal_live.music.request import InfillRequest, Sampling

LONGEST_LOOP = 32


@dataclass(frozen=True, slots=True)
class Loop:
    """`bars` (1 to 32), as they were made, play again from bar `first` on, round and round. `gap`: the first and the
    last of them, counted from 1, that are to be made anew."""

    bars: tuple[Bar, ...]
    first: int
    gap: tuple[int, int] | None = None

    def bar_at(self, index: int) -> Bar:
        """What plays in a bar; before `first` too, where the position was moved back."""
        return self.bars[(index - self.first) % len(self.bars)].moved_to(index)

    def mending(self, low: int, high: int, sampling: Sampling, seed: int, version: int) -> InfillRequest:
        """The request that makes bars `low` to `high`, counted from 1, anew among the others. Raises ValueError where
        the loop has no such bars."""
        if not 1 <= low <= high <= len(self.bars):
            raise ValueError(f"bars {low} to {high}: the loop has bars 1 to {len(self.bars)}")
        bars = tuple(bar.moved_to(place) for place, bar in enumerate(self.bars))
        missing = tuple(low <= place + 1 <= high for place in range(len(bars)))
        return InfillRequest(bars, missing, None, sampling, seed, version=version)

    def mended(self, bars: Sequence[Bar]) -> Loop:
        """The loop with other bars in the same places. Raises ValueError unless they are as many."""
        if len(bars) != len(self.bars):
            raise ValueError(f"{len(bars)} bars for a loop of {len(self.bars)}")
        return replace(self, bars=tuple(bars))
