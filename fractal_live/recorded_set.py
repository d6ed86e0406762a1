"""A recording as a file: what sounded, and how to make it again; and another file of what was made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mido

from fractal_live.live.provenance import ProvenanceError
from fractal_live.live.reenactment import Again, Script, SetNote, script_of, struck_again
from fractal_live.music.midifile import MidiFileError

NOTE_KINDS = ("note_on", "note_off")


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """`notes` are sorted. `tempos` are (tick, bpm), `programs` (tick, channel, program); `end_tick` is where the
    recording ends, at a bar line."""

    path: Path
    script: Script
    notes: tuple[SetNote, ...]
    tempos: tuple[tuple[int, float], ...]
    programs: tuple[tuple[int, int, int], ...]
    end_tick: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was made again beside the recording. `first_other` is the first bar that differs (from 1), with a
    sentence why it may; None: all are the same. `strays` are notes of the recording that no bar has."""

    bars: int
    same: int
    fallbacks: int
    cut: int
    first_other: tuple[int, str] | None


def read_set(path: Path) -> RecordedSet:
    """Raises MidiFileError, naming the file and what is wrong with it."""
    try:
        midi = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, KeyError, IndexError, mido.KeySignatureError) as error:
        raise MidiFileError(f"{path}: not a readable MIDI file ({error})") from error
    events: list[bytes] = []
    tempos: list[tuple[int, float]] = []
    programs: list[tuple[int, int, int]] = []
    notes: list[SetNote] = []
    end_tick = 0
    for track in midi.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "sequencer_specific":
                events.append(bytes(message.data))
            elif message.type == "set_tempo":
                tempos.append((tick, mido.tempo2bpm(message.tempo)))
            elif message.type == "program_change":
                programs.append((tick, message.channel, message.program))
        notes += _notes_of(track)
        end_tick = max(end_tick, tick)
    try:
        script = script_of(events)
    except ProvenanceError as error:
        raise MidiFileError(f"{path}: cannot be played again: {error}") from error
    return RecordedSet(path, script, tuple(sorted(notes)), tuple(tempos), tuple(programs), end_tick)


def compared(recorded: RecordedSet, again: Sequence[Again]) -> Comparison:
    """Bar by bar: the answer of the model, and what was heard of it."""
    made = struck_again(note for bar in again for note in bar.notes)
    lines = [bar.line_tick for bar in again]
    there, here = _by_bar(recorded.notes, lines), _by_bar(made, lines)
    is_same = [bar.is_same and there[place] == here[place] for place, bar in enumerate(again)]
    if sum(map(len, there)) != len(recorded.notes):
        raise MidiFileError(f"{recorded.path}: it begins with notes that no bar has")
    first = is_same.index(False) if False in is_same else None
    why = None if first is None else _difference(again[first], there[first], here[first])
    return Comparison(
        len(again),
        sum(is_same),
        sum(bar.is_fallback for bar in again),
        sum(bar.is_cut for bar in again),
        None if first is None or why is None else (first + 1, why),
    )


def write_again(recorded: RecordedSet, again: Sequence[Again], path: Path) -> None:
    """The recording with its notes made again: tempo map, texts and all else stay as they were."""
    midi = mido.MidiFile(recorded.path)
    made = struck_again(note for bar in again for note in bar.notes)
    events: list[tuple[int, int, mido.Message]] = []
    for note in made:
        voice = {"channel": note.channel, "note": note.pitch}
        events.append((note.on_tick, 1, mido.Message("note_on", velocity=note.velocity, **voice)))
        # One that ended as it was struck is closed after it, all others before what is struck there.
        late = 0 if note.duration_ticks else 2
        off = mido.Message("note_off", velocity=0, **voice)
        events.append((note.on_tick + note.duration_ticks, late, off))
    place = next(number for number, track in enumerate(midi.tracks) if _has_notes(track) or number == 1)
    midi.tracks = [
        _with_notes(track, events if number == place else []) if _has_notes(track) or number == place else track
        for number, track in enumerate(midi.tracks)
    ]
    midi.save(path)


def _notes_of(track: mido.MidiTrack) -> list[SetNote]:
    tick, notes = 0, []
    struck: dict[tuple[int, int], tuple[int, int]] = {}
    for message in track:
        tick += message.time
        if message.type not in NOTE_KINDS:
            continue
        voice = (message.channel, message.note)
        if voice in struck:
            on_tick, velocity = struck.pop(voice)
            notes.append(SetNote(on_tick, *voice, velocity, tick - on_tick))
        if message.type == "note_on" and message.velocity > 0:
            struck[voice] = (tick, message.velocity)
    return notes


def _by_bar(notes: Sequence[SetNote], lines: list[int]) -> list[list[SetNote]]:
    """The notes from each bar's line on, to the next bar's; of bars at one line the last has them."""
    bars: list[list[SetNote]] = [[] for _ in lines]
    place = -1
    for note in notes:
        while place + 1 < len(lines) and lines[place + 1] <= note.on_tick:
            place += 1
        if place >= 0:
            bars[place].append(note)
    return bars


def _difference(again: Again, there: list[SetNote], here: list[SetNote]) -> str:
    if not again.is_same:
        return "the model's answer is another one"
    return (
        f"{len(there)} notes were recorded, {len(here)} are made again, {len(set(there) & set(here))} of them the same"
    )


def _has_notes(track: mido.MidiTrack) -> bool:
    return any(message.type in NOTE_KINDS for message in track)


def _with_notes(track: mido.MidiTrack, notes: list[tuple[int, int, mido.Message]]) -> mido.MidiTrack:
    """The track with these notes instead of its own."""
    tick, events = 0, []
    for message in track:
        tick += message.time
        if message.type not in NOTE_KINDS:
            events.append((tick, 3 if message.type == "end_of_track" else -1, message))
    fresh, now = mido.MidiTrack(), 0
    for tick, _, message in sorted([*events, *notes], key=lambda event: event[:2]):
        fresh.append(message.copy(time=tick - now))
        now = tick
    return fresh
