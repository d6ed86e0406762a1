"""Note and Bar: the values that everything else passes on.

A bar owns the notes that begin inside it; a note may sound past the bar line.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from fractal_live.music.meter import FOUR_FOUR, TICKS_PER_STEP, Meter, step_at


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One complete note: onset in ticks from the start of its bar, duration in ticks (at least 1),
    pitch 0 to 127, velocity 1 to 127, MIDI channel 0 to 15 (the model knows one; a patch may split them).
    Sorts by onset, then pitch."""

    onset_tick: int
    pitch: int
    duration_ticks: int
    velocity: int
    channel: int = 0

    def __post_init__(self) -> None:
        if self.onset_tick < 0 or self.duration_ticks < 1:
            raise ValueError(f"note onset {self.onset_tick} must be >= 0, duration {self.duration_ticks} >= 1 ticks")
        if not 0 <= self.pitch <= 127 or not 1 <= self.velocity <= 127:
            raise ValueError(f"note pitch {self.pitch} must be 0 to 127, velocity {self.velocity} 1 to 127")
        if not 0 <= self.channel <= 15:
            raise ValueError(f"note channel {self.channel} must be 0 to 15")


@dataclass(frozen=True, slots=True)
class Bar:
    """The unit of generation and commitment.

    `notes` are sorted, their onsets lie inside the bar. `plan` is the row of level 0 the bar was
    unfolded from (see `plan.ATTRIBUTES` for the order; empty when it was not planned). `chroma` is
    its harmony, twelve numbers per half bar. `seed` and `checkpoint_id` say how to make it again.
    """

    index: int
    notes: tuple[Note, ...] = ()
    meter: Meter = FOUR_FOUR
    tempo_bpm: float = 120.0
    plan: tuple[float, ...] = ()
    chroma: tuple[tuple[float, ...], ...] = ()
    seed: int = 0
    checkpoint_id: str = ""
    _packed: bytes = field(default=b"", init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if list(self.notes) != sorted(self.notes):
            raise ValueError(f"the notes of bar {self.index} are not sorted by onset, then pitch")
        if self.notes and self.notes[-1].onset_tick >= self.meter.ticks_per_bar:
            raise ValueError(f"a note of bar {self.index} begins at or after its end ({self.meter})")

    def moved_to(self, index: int) -> Bar:
        return replace(self, index=index)

    def __hash__(self) -> int:
        """Bars of the same notes are few, and a bar of the past is looked up often."""
        return hash((self.index, len(self.notes), self.notes[-1:], self.tempo_bpm, self.seed))

    def __reduce__(self) -> tuple[Callable[[bytes], Bar], tuple[bytes]]:
        """A bar of the past goes through the same pipe some sixty times: it is packed once, and unpacked once."""
        if not self._packed:
            notes = [
                (note.onset_tick, note.pitch, note.duration_ticks, note.velocity, note.channel) for note in self.notes
            ]
            rest = (self.meter, self.tempo_bpm, self.plan, self.chroma, self.seed, self.checkpoint_id)
            object.__setattr__(self, "_packed", pickle.dumps((self.index, notes, *rest)))
        return _unpacked, (self._packed,)


@lru_cache(maxsize=96)  # what the model looks back, and as much again as is to come
def _unpacked(packed: bytes) -> Bar:
    index, notes, *rest = pickle.loads(packed)
    return Bar(index, tuple(Note(*note) for note in notes), *rest)


@dataclass(frozen=True, slots=True)
class Score:
    """Bars in order; bar i of the tuple has index i. What a MIDI file holds once it is read."""

    bars: tuple[Bar, ...] = field(default=())

    def __post_init__(self) -> None:
        if any(bar.index != place for place, bar in enumerate(self.bars)):
            raise ValueError("the bars of a score are numbered 0, 1, 2, ...")


def without_overlaps(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Sorted notes in which no pitch overlaps itself on its channel: of two at one onset the larger velocity and
    duration stay; an earlier one ends where the next of its pitch begins."""
    merged: dict[tuple[int, int, int], Note] = {}
    for note in notes:
        place = (note.onset_tick, note.pitch, note.channel)
        twin = merged.get(place)
        if twin is not None:
            note = replace(
                twin,
                duration_ticks=max(note.duration_ticks, twin.duration_ticks),
                velocity=max(note.velocity, twin.velocity),
            )
        merged[place] = note
    result: list[Note] = []
    next_onset: dict[tuple[int, int], int] = {}
    for note in sorted(merged.values(), reverse=True):
        voice = (note.channel, note.pitch)
        room = next_onset.get(voice, note.onset_tick + note.duration_ticks) - note.onset_tick
        next_onset[voice] = note.onset_tick
        result.append(replace(note, duration_ticks=min(note.duration_ticks, room)))
    return tuple(sorted(result))  # shortened, two channels' notes of one pitch and onset may have changed places


def _is_on_grid(notes: tuple[Note, ...]) -> bool:
    """Whether sorted notes lie on steps already, no pitch overlapping itself."""
    ends: dict[tuple[int, int], int] = {}
    for note in notes:
        end, voice = note.onset_tick + note.duration_ticks, (note.channel, note.pitch)
        if note.onset_tick % TICKS_PER_STEP or end % TICKS_PER_STEP or ends.get(voice, 0) > note.onset_tick:
            return False
        ends[voice] = end
    return True


def on_grid(bar: Bar) -> Bar:
    """The bar with onsets and durations rounded to steps. An onset that rounds to the bar's end
    is kept on its last step, so that no note is lost."""
    if _is_on_grid(bar.notes):
        return bar
    last = bar.meter.steps_per_bar - 1
    rounded = []
    for note in bar.notes:
        onset = min(step_at(note.onset_tick), last)
        end = max(onset + 1, step_at(note.onset_tick + note.duration_ticks))
        rounded.append(replace(note, onset_tick=onset * TICKS_PER_STEP, duration_ticks=(end - onset) * TICKS_PER_STEP))
    return replace(bar, notes=without_overlaps(rounded))
