"""What of the bars that began was not heard: cut by a stop, a jump, a panic, or entered in their middle.

Compares what a bar promised with what the recording holds, note by note, in the recording's ticks. One thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from fractal_live.live.provenance import NOT_HEARD, Interrupted

Voice = tuple[int, int]
"""Channel and pitch."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A note that a bar will play: its ticks in the recording."""

    on_tick: int
    off_tick: int
    voice: Voice
    velocity: int


@dataclass(slots=True)
class _Heard:
    on_tick: int
    voice: Voice
    velocity: int
    off_tick: int | None = None


@dataclass(slots=True)
class _Bar:
    number: int
    line_tick: int
    end_tick: int
    promises: tuple[Promise, ...]
    heard: list[_Heard] = field(default_factory=list)


class Interruptions:
    """Bars are numbered in the order in which they began, from 0."""

    def __init__(self) -> None:
        self._bars: deque[_Bar] = deque()
        self._heard: deque[_Heard] = deque()
        self._open: dict[Voice, _Heard] = {}
        self._count = 0

    def began(self, line_tick: int, end_tick: int, promises: tuple[Promise, ...]) -> None:
        """A bar from `line_tick` to `end_tick` began, and is to sound like this."""
        self._bars.append(_Bar(self._count, line_tick, end_tick, promises))
        self._count += 1

    def jumped(self) -> list[Interrupted]:
        """The recording goes on in another bar: what is to be said of a bar of which nothing was heard, and which the
        next one may take the place of."""
        if not self._bars or any(note.on_tick >= self._bars[-1].line_tick for note in self._heard):
            return []
        return self._judged(self._bars.pop(), [])

    def struck(self, tick: int, voice: Voice, velocity: int) -> None:
        note = _Heard(tick, voice, velocity)
        self._heard.append(note)
        self._open[voice] = note

    def closed(self, tick: int, voice: Voice) -> None:
        note = self._open.pop(voice, None)
        if note is not None:
            note.off_tick = tick

    def take(self) -> list[Interrupted]:
        """What is to be said of bars that are over and whose notes have ended, since the last call."""
        found: list[Interrupted] = []
        while len(self._bars) > 1:
            bar = self._bars[0]
            if any(note.off_tick is None and note.on_tick < bar.end_tick for note in self._heard):
                break
            found += self._judged(self._bars.popleft(), self._heard)
            self._heard = deque(note for note in self._heard if note.on_tick >= bar.end_tick)
        return found

    def pending(self, end_tick: int) -> list[Interrupted]:
        """What would have to be said of the others if all notes ended now, at `end_tick`."""
        found: list[Interrupted] = []
        heard = list(self._heard)
        for bar in self._bars:
            found += self._judged(bar, heard, end_tick)
            heard = [note for note in heard if note.on_tick >= bar.end_tick]
        return found

    @staticmethod
    def _judged(bar: _Bar, heard: deque[_Heard] | list[_Heard], now_tick: int = 0) -> list[Interrupted]:
        """`heard` are the notes since the bar's line, and what is of no bar before it."""
        ends: dict[tuple[int, Voice, int], list[int]] = {}
        for note in heard:
            if note.on_tick < bar.end_tick:
                end = now_tick if note.off_tick is None else note.off_tick
                ends.setdefault((note.on_tick, note.voice, note.velocity), []).append(end)
        struck = {(note.voice, note.on_tick) for note in heard}
        cut = []
        for place, promise in enumerate(bar.promises):  # one that ended as its pitch was struck again is not cut
            found = ends.get((promise.on_tick, promise.voice, promise.velocity))
            if not found:
                cut.append((place, NOT_HEARD))
                continue
            end = found.pop(0)
            if end != promise.off_tick and not ((promise.voice, end) in struck and end > promise.on_tick):
                cut.append((place, end - promise.on_tick))
        others = tuple(
            (on, *voice, velocity, end - on) for (on, voice, velocity), found in ends.items() for end in found
        )
        return [Interrupted(bar.number, tuple(cut), others)] if cut or others else []
