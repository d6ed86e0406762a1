"""A recorded set made again: the same requests in the same order, with a past that is made again as well.

Entries of a recording go in, the notes of every bar that began come out. The model is whoever is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from fractal_live.live.dressing import Dress, Outfit, dressed
from fractal_live.live.fallback import fallback_for
from fractal_live.live.provenance import (
    FORMAT,
    MAGIC,
    NOT_HEARD,
    Began,
    Chain,
    Given,
    Interrupted,
    Mended,
    ModelBegan,
    Moved,
    Opening,
    ProvenanceError,
    Varied,
    Worn,
    digest_of,
    entry_of,
    numbers_of,
    unpacked,
)
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar
from fractal_live.music.request import BarReply, BarRequest, InfillRequest


@dataclass(frozen=True, slots=True, order=True)
class SetNote:
    """A note of a whole set, its ticks those of the recording. Cut by its own strike, it lasts 0 ticks."""

    on_tick: int
    channel: int
    pitch: int
    velocity: int
    duration_ticks: int


@dataclass(frozen=True, slots=True)
class Script:
    """What a recording tells of its making. `models` are those that played, in order."""

    opening: Opening
    models: tuple[ModelBegan, ...]
    steps: tuple[tuple[str, dict[str, object], bytes], ...]
    cuts: dict[int, Interrupted]

    @property
    def meter(self) -> Meter:
        return Meter(*self.opening.meter)

    @property
    def begun(self) -> int:
        """How many bars began."""
        return sum(kind == "began" for kind, _, _ in self.steps)


class Model(Protocol):
    """Who is asked."""

    def bar(self, request: BarRequest) -> BarReply: ...

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]: ...


@dataclass(frozen=True, slots=True)
class Again:
    """A bar that began, made again: what is heard of it. `is_same` says that the model's answer was the recorded one,
    as far as the recording can tell."""

    line_tick: int
    notes: tuple[SetNote, ...]
    is_same: bool
    is_fallback: bool
    is_cut: bool


def script_of(events: Iterable[bytes]) -> Script:
    """From the sequencer-specific events of a recording, in order; those of other makers are passed over. Raises
    ProvenanceError, which says why, if it cannot be played again."""
    raw = [unpacked(event) for event in events if event.startswith(MAGIC)]
    if not raw:
        raise ProvenanceError("nothing in it tells how its bars were made")
    if raw[0][0] != "opening":
        raise ProvenanceError("its beginning is missing")
    found = raw[0][1].get("format")
    if found != FORMAT:
        raise ProvenanceError(f"it has format {found}; this version plays format {FORMAT}")
    opening = entry_of("opening", raw[0][1])
    assert isinstance(opening, Opening)
    models: list[ModelBegan] = []
    cuts: dict[int, Interrupted] = {}
    for kind, head, _ in raw:
        if kind in ("model", "cut"):
            entry = entry_of(kind, head)
            if isinstance(entry, ModelBegan):
                models.append(entry)
            elif isinstance(entry, Interrupted):
                cuts[entry.begun] = entry
    steps = tuple(step for step in raw if step[0] not in ("opening", "model", "cut"))
    return Script(opening, tuple(models), steps, cuts)


def reenacted(script: Script, model: Model) -> Iterator[Again]:
    """Bar by bar, in the order in which they began. Raises ProvenanceError where the recording is damaged."""
    chain = Chain()
    bars: dict[int, Bar] = {}
    same: dict[int, bool] = {}
    ways: dict[int, tuple[Dress, Outfit]] = {}
    begun = 0
    for kind, head, arrays in script.steps:
        try:
            if kind == "made":
                made = chain.made(dict(head), arrays)
                request = replace(made.request, past=tuple(bars[number] for number in numbers_of(made.past)))
                reply = model.bar(request)
                chain.answered(request, reply.plan)
                bars[made.number] = reply.bar
                same[made.number] = digest_of(reply.bar) == made.digest
                continue
            entry = entry_of(kind, dict(head))
            if isinstance(entry, Varied):
                source = bars[entry.source]
                bars[entry.number] = fallback_for(entry.index, source.meter, (source,), entry.onsets)
                same[entry.number] = same[entry.source]
            elif isinstance(entry, Moved):
                bars[entry.number], same[entry.number] = bars[entry.source].moved_to(entry.index), same[entry.source]
            elif isinstance(entry, Mended):
                loop = tuple(bars[number] for number in numbers_of(entry.bars))
                is_missing = tuple(place in entry.missing for place in range(len(loop)))
                mended = model.infill(InfillRequest(loop, is_missing, None, entry.sampling, entry.seed))
                for step, (place, digest) in enumerate(zip(entry.missing, entry.digests, strict=True)):
                    bars[entry.number + step] = mended[place]
                    same[entry.number + step] = digest_of(mended[place]) == digest
            elif isinstance(entry, Given):
                bars[entry.number], same[entry.number] = entry.bar, True
            elif isinstance(entry, Worn):
                ways[entry.number] = (entry.dress, entry.outfit)
            elif isinstance(entry, Began):
                raw = bars[entry.number]
                bar = raw if entry.worn is None else dressed(raw, *ways[entry.worn])
                yield _again(entry, bar, script.cuts.get(begun), same[entry.number])
                begun += 1
        except KeyError as missing:
            raise ProvenanceError(f"entry {missing} is missing") from missing


def _again(began: Began, bar: Bar, interrupted: Interrupted | None, is_same: bool) -> Again:
    notes = bar.notes if began.notes is None else began.notes
    lasted = dict(interrupted.notes) if interrupted is not None else {}
    heard = [
        SetNote(
            began.line_tick + note.onset_tick,
            note.channel,
            note.pitch,
            note.velocity,
            lasted.get(place, note.duration_ticks),
        )
        for place, note in enumerate(notes)
        if lasted.get(place) != NOT_HEARD
    ]
    if interrupted is not None:
        heard += [SetNote(*other) for other in interrupted.others]
    return Again(began.line_tick, tuple(heard), is_same, began.is_fallback, interrupted is not None)


def struck_again(notes: Iterable[SetNote]) -> list[SetNote]:
    """The notes of a whole set as a port hears them: a pitch that is struck while it sounds ends there."""
    heard: list[SetNote] = []
    next_on: dict[tuple[int, int], int] = {}
    for note in sorted(notes, reverse=True):
        voice = (note.channel, note.pitch)
        room = next_on.get(voice, note.on_tick + note.duration_ticks) - note.on_tick
        next_on[voice] = note.on_tick
        heard.append(replace(note, duration_ticks=min(note.duration_ticks, room)))
    return heard[::-1]
