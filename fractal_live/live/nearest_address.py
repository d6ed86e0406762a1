"""What is said of an address that does not exist: the nearest one that does."""

from __future__ import annotations

import difflib

from fractal_live.live.control_table import CONTROLS

SUGGESTIONS = 64
SUGGESTION_PAUSE_NS = 50_000_000
LONGEST_SHOWN = 80
ADDRESSES = tuple(control.address for control in CONTROLS)


class NearestAddress:
    """Finding it takes a third of a millisecond, so a flood of nonsense gets few suggestions."""

    def __init__(self) -> None:
        self._suggestions: dict[str, str] = {}
        self._suggested_ns = 0

    def said_of(self, address: str, now_ns: int | None) -> str:
        """The text for the performer."""
        shown = address[:LONGEST_SHOWN]
        is_due = now_ns is not None and now_ns - self._suggested_ns >= SUGGESTION_PAUSE_NS
        if shown not in self._suggestions and (len(self._suggestions) < SUGGESTIONS or is_due):
            if len(self._suggestions) >= SUGGESTIONS:
                del self._suggestions[next(iter(self._suggestions))]
            self._suggested_ns = now_ns or 0
            near = difflib.get_close_matches(shown, ADDRESSES, n=1, cutoff=0.5)
            self._suggestions[shown] = f"; nearest: {near[0]}" if near else ""
        return f"{shown}: no such address{self._suggestions.get(shown, '')}"
