"""Where the set is: the bar that sounds, what was played last, and which bars come next.

What the stage begins is the truth about Start and Continue: news of the transport may come before it or after.
"""

from __future__ import annotations

from collections.abc import Iterator

from fractal_live.live.planned import OPENING_BARS


class Playhead:
    """`position` is the bar that sounds (or, when stopped, the one a Continue would be in), -1 before the first Start;
    `played_to` the newest bar of the set that began, -1 if none has."""

    def __init__(self) -> None:
        self.position = -1
        self.played_to = -1
        self.is_rolling = False

    def is_moved_to(self, is_rolling: bool, bar_index: int) -> bool:
        """Whether news of the transport says that it was moved: it stands in another bar than before, which is not
        where the set goes on."""
        if is_rolling or self.is_rolling or bar_index == self.position:
            return False
        return bar_index > 0 and bar_index not in (self.played_to, self.played_to + 1)

    def transport_moved(self, is_rolling: bool, bar_index: int) -> None:
        """The transport rolls or stands in a bar."""
        self.is_rolling = is_rolling
        if is_rolling:
            self.position = max(bar_index, self.played_to)
        else:
            self.position = bar_index if self.has_played or bar_index > 0 else -1

    def began(self, bar_index: int) -> None:
        """A bar begins to sound."""
        self.position = self.played_to = bar_index

    @property
    def has_played(self) -> bool:
        """Whether a bar of the set has begun."""
        return self.played_to >= 0

    @property
    def first(self) -> int:
        """The next bar to begin: when stopped exactly at its line, the one of the position."""
        if self.is_rolling:
            return max(self.position, self.played_to) + 1
        return max(self.position, self.played_to + 1)

    @property
    def is_back_at_top(self) -> bool:
        """Stopped, and moved to the top: what comes is the next Start."""
        return not self.is_rolling and self.position == 0 and self.played_to > 0

    def bars_ahead(self, lead_bars: int) -> Iterator[tuple[int, bool]]:
        """The bars that are to be ready, those of the next Start last: (index, is it for the next Start)."""
        if not self.is_back_at_top:
            yield from ((index, False) for index in range(self.first, self.first + lead_bars))
        if not self.is_rolling and self.has_played:
            for index in OPENING_BARS[:lead_bars]:
                if index <= self.played_to:  # else the stage keeps the bar of a Continue in its place
                    yield index, True
