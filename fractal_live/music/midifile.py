"""Standard MIDI files to Score and back, through mido.

Reading merges all tracks but drums into one voice; bars follow the file's time signatures.
Writing puts bar 0 at tick 0, with the tempo and the time signature of every bar.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mido

from fractal_live.music.meter import PPQN, Meter
from fractal_live.music.notes import Bar, Note, Score, without_overlaps

DRUM_CHANNEL = 9
DEFAULT_TEMPO_BPM = 120.0


class MidiFileError(ValueError):
    """A file that cannot be read as music; the message names it."""


def read_score(path: Path) -> Score:
    """The bars of a MIDI file, ticks converted to 480 per quarter. Raises MidiFileError, naming the
    file, when it cannot be parsed or holds no note."""
    try:
        midi = mido.MidiFile(path)
        if midi.ticks_per_beat <= 0:
            raise ValueError(f"its time division {midi.ticks_per_beat} is not in ticks per quarter")
        spans, tempos, meters = _read_events(midi)
    except (OSError, EOFError, ValueError, KeyError, IndexError, mido.KeySignatureError) as error:
        raise MidiFileError(f"{path}: not a readable MIDI file ({error})") from error
    if not spans:
        raise MidiFileError(f"{path}: no notes in this file")
    return Score(_bars_from(spans, tempos, meters))


def _read_events(midi: mido.MidiFile) -> tuple[list[Note], list[tuple[int, float]], list[tuple[int, Meter]]]:
    """Notes with onsets from the start of the file, tempo changes and meter changes, each in ticks."""
    spans: list[Note] = []
    tempos: list[tuple[int, float]] = []
    meters: list[tuple[int, Meter]] = []
    for track in midi.tracks:
        file_tick = last_tick = 0
        open_notes: dict[tuple[int, int], tuple[int, int]] = {}
        for message in track:
            file_tick += message.time
            tick = round(file_tick * PPQN / midi.ticks_per_beat)
            if message.type == "set_tempo" and message.tempo == 0:
                raise ValueError("a tempo of no microseconds per quarter")
            if message.type == "set_tempo":
                tempos.append((tick, mido.tempo2bpm(message.tempo)))
            elif message.type == "time_signature":
                meters.append((tick, Meter(message.numerator, message.denominator)))
            elif message.type in ("note_on", "note_off") and message.channel != DRUM_CHANNEL:
                voice = (message.channel, message.note)
                if voice in open_notes:
                    onset, velocity = open_notes.pop(voice)
                    spans.append(Note(onset, message.note, max(1, tick - onset), velocity))
                if message.type == "note_on" and message.velocity > 0:
                    open_notes[voice] = (tick, message.velocity)
            last_tick = tick
        for (_, pitch), (onset, velocity) in open_notes.items():  # never closed: they last to the track's end
            spans.append(Note(onset, pitch, max(1, last_tick - onset), velocity))
    return spans, sorted(tempos), sorted(meters, key=lambda change: change[0])


def _bars_from(spans: list[Note], tempos: list[tuple[int, float]], meters: list[tuple[int, Meter]]) -> tuple[Bar, ...]:
    notes = without_overlaps(spans)
    bars: list[Bar] = []
    start, place = 0, 0
    meter, tempo_bpm = Meter(), DEFAULT_TEMPO_BPM
    while place < len(notes):
        while meters and meters[0][0] <= start:
            meter = meters.pop(0)[1]
        while tempos and tempos[0][0] <= start:
            tempo_bpm = tempos.pop(0)[1]
        end = start + meter.ticks_per_bar
        own = []
        while place < len(notes) and notes[place].onset_tick < end:
            own.append(replace(notes[place], onset_tick=notes[place].onset_tick - start))
            place += 1
        bars.append(Bar(len(bars), tuple(own), meter, tempo_bpm))
        start = end
    return tuple(bars)


def notes_of_score(score: Score) -> tuple[Note, ...]:
    """All notes, onsets counted from the start of the score, no pitch overlapping itself."""
    start = 0
    notes = []
    for bar in score.bars:
        notes += [replace(note, onset_tick=note.onset_tick + start) for note in bar.notes]
        start += bar.meter.ticks_per_bar
    return without_overlaps(notes)


def write_score(score: Score, path: Path, track_name: str = "fractal-live") -> None:
    """Writes one track of notes behind a conductor track. The file lasts to the end of the last bar."""
    tempo_events: list[tuple[int, mido.MetaMessage]] = []
    start = 0
    meter: Meter | None = None
    tempo_bpm: float | None = None
    for bar in score.bars:
        if bar.meter != meter:
            meter = bar.meter
            signature = {"numerator": meter.numerator, "denominator": meter.denominator}
            tempo_events.append((start, mido.MetaMessage("time_signature", **signature)))
        if tempo_bpm is None or abs(bar.tempo_bpm - tempo_bpm) > 0.005:
            tempo_bpm = bar.tempo_bpm
            tempo_events.append((start, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo_bpm))))
        start += bar.meter.ticks_per_bar
    conductor = mido.MidiTrack()
    _append_timed(conductor, tempo_events, start)
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=track_name, time=0)])
    _append_timed(track, _note_events(notes_of_score(score)), start)
    mido.MidiFile(type=1, ticks_per_beat=PPQN, tracks=[conductor, track]).save(path)


def write_infilled(
    original: Path, path: Path, score: Score, is_new: tuple[bool, ...], low: int = 0, high: int = 127
) -> None:
    """Writes a MIDI file again with the notes of some bars replaced: of the original every message stays, in its
    track, but the notes of pitches `low` to `high` (no drums) that begin in a new bar; the score's notes of those
    bars and pitches come in a track of their own. `score` has the bars that `read_score` gave."""
    midi = mido.MidiFile(original)
    starts = [0]
    for bar in score.bars:
        starts.append(starts[-1] + bar.meter.ticks_per_bar)
    spans = [(starts[index], starts[index + 1]) for index, new in enumerate(is_new) if new]
    tracks = [_without(track, midi.ticks_per_beat, spans, low, high) for track in midi.tracks]
    notes = [
        replace(note, onset_tick=note.onset_tick + starts[index])
        for index, (bar, new) in enumerate(zip(score.bars, is_new, strict=True))
        for note in bar.notes
        if new and low <= note.pitch <= high
    ]
    events = [
        (round(tick * midi.ticks_per_beat / PPQN), message) for tick, message in _note_events(without_overlaps(notes))
    ]
    track = mido.MidiTrack([mido.MetaMessage("track_name", name="fractal-live", time=0)])
    _append_timed(track, events, max([tick for tick, _ in events], default=0))
    kind = 1 if midi.type == 0 else midi.type
    mido.MidiFile(type=kind, ticks_per_beat=midi.ticks_per_beat, tracks=[*tracks, track]).save(path)


def _without(
    track: mido.MidiTrack, ticks_per_beat: int, spans: list[tuple[int, int]], low: int, high: int
) -> mido.MidiTrack:
    """A track without the notes of these pitches that begin in the spans, all other messages where they were."""
    kept: list[tuple[int, mido.Message]] = []
    gone: set[tuple[int, int]] = set()
    file_tick = 0
    for message in track:
        file_tick += message.time
        if message.type in ("note_on", "note_off") and message.channel != DRUM_CHANNEL:
            voice = (message.channel, message.note)
            is_onset = message.type == "note_on" and message.velocity > 0
            tick = round(file_tick * PPQN / ticks_per_beat)
            if is_onset and low <= message.note <= high and any(start <= tick < end for start, end in spans):
                gone.add(voice)
                continue
            if not is_onset and voice in gone:
                gone.discard(voice)
                continue
            if is_onset:
                gone.discard(voice)
        kept.append((file_tick, message))
    fresh, now = mido.MidiTrack(), 0
    for tick, message in kept:
        fresh.append(message.copy(time=tick - now))
        now = tick
    return fresh


def _note_events(notes: tuple[Note, ...]) -> list[tuple[int, mido.Message]]:
    """Offs before ons at equal ticks, so that a restruck pitch is closed before it is opened."""
    events = [(note.onset_tick, 1, mido.Message("note_on", note=note.pitch, velocity=note.velocity)) for note in notes]
    events += [
        (note.onset_tick + note.duration_ticks, 0, mido.Message("note_off", note=note.pitch, velocity=0))
        for note in notes
    ]
    return [(tick, message) for tick, _, message in sorted(events, key=lambda event: event[:2])]


def _append_timed(track: mido.MidiTrack, events: list[tuple[int, mido.Message]], end_tick: int) -> None:
    now = 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, end_tick - now)))
