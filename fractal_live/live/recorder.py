"""What sounded, as a standard MIDI file that is whole at every moment.

Events are encoded as they come, so that saving an evening costs no more than copying it. The recording
has its own time: where the transport jumps, it goes on at its next bar line. One thread feeds it; only
`write` may run in another, one call at a time.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fractal_live.live.interruptions import Interruptions, Promise
from fractal_live.live.provenance import packed
from fractal_live.music.meter import FOUR_FOUR, PPQN, Meter
from fractal_live.music.notes import Note

JUMP_BACK_TICKS = PPQN
"""A tick further back than this is a new start even when nobody said so; less is a late message."""
JUMP_AHEAD_TICKS = 1 << 24
SMALLEST_TEMPO_CHANGE_BPM = 0.01
LOWEST_TEMPO_BPM = 4.0
HIGHEST_TEMPO_BPM = 1000.0
LONGEST_TEXT = 200
TEXT, TRACK_NAME, MARKER, SEQUENCER_SPECIFIC = 0x01, 0x03, 0x06, 0x7F
LOG_NAME = "log"
LENGTHS = {0x80: 3, 0x90: 3, 0xB0: 3, 0xC0: 2, 0xE0: 3}
"""Bytes of the messages that are recorded: notes, control and program changes, pitch bend."""


class Recorder:
    """Takes what sounded and when; ticks are the transport's. `write_errors` and `last_error` tell about
    the disk; `ignored` counts messages that are no part of a recording."""

    def __init__(
        self, path: Path, meter: Meter = FOUR_FOUR, tempo_bpm: float = 120.0, title: str = "fractal-live"
    ) -> None:
        self.path = path
        self.write_errors = 0
        self.last_error = ""
        self.ignored = 0
        self.notes = 0
        self._conductor = _Track()
        self._track = _Track()
        self._track.add(0, _text(TRACK_NAME, title))
        self._log = _Track()  # what was done, and where the bars come from; where there is nothing of it, no track
        self._log.add(0, _text(TRACK_NAME, LOG_NAME))
        self._is_logging = False
        self._texts: dict[str, tuple[int, str]] = {}
        self._interruptions = Interruptions()
        self._last_bar = -1
        self._meter = meter
        self._tempo_bpm = tempo_bpm
        # Held back until the next tick, so that of several changes at one tick only the last is written.
        self._pending = {"tempo": (0, _tempo(tempo_bpm)), "meter": (0, _signature(meter))}
        self._open: set[tuple[int, int]] = set()
        self._offset = 0
        self._newest_tick = 0
        self._end = 0
        self._struck_to = 0  # after the last note-on
        self._next_save = 0

    def sounded(self, tick: int, message: bytes) -> None:
        """A message that was sent, due at `tick`: note on, note off, control or program change, or pitch bend."""
        if not message or len(message) != LENGTHS.get(message[0] & 0xF0) or max(message[1:]) > 127:
            self.ignored += 1
            return
        at = self._file_tick(tick)
        kind, voice = message[0] & 0xF0, (message[0] & 0x0F, message[1])
        is_on = kind == 0x90 and message[2] > 0
        if kind in (0x80, 0x90):
            # Every note on gets exactly one note off, whatever arrives.
            if voice in self._open:
                self._close(voice, at)
            if is_on:
                self._open.add(voice)
                self.notes += 1
        if is_on or kind in (0xB0, 0xC0, 0xE0):
            stands_at = self._track.add(at, message)
            if is_on:
                self._struck_to = stands_at + 1
                self._interruptions.struck(stands_at, voice, message[2])

    def tempo_at(self, tick: int, tempo_bpm: float) -> None:
        """The tempo from `tick` on; may be called at any rate, also to say that time has passed."""
        at = self._file_tick(tick)
        if not math.isfinite(tempo_bpm) or abs(tempo_bpm - self._tempo_bpm) < SMALLEST_TEMPO_CHANGE_BPM:
            return
        self._tempo_bpm = tempo_bpm
        self._change("tempo", at, _tempo(tempo_bpm))

    def mark(self, tick: int | None, text: str) -> None:
        """A marker such as the name of a patch or a control that was moved; None: at the end so far."""
        at = self._end if tick is None else self._file_tick(tick)
        self._flush_before(at)
        self._conductor.add(at, _text(MARKER, text))

    def note(self, tick: int | None, key: str, text: str) -> None:
        """A text in the log, at `tick` or at the end so far: what was moved, what went wrong. Of several with one
        `key` in a bar the last is kept."""
        self._texts[key] = (self._end if tick is None else max(0, tick + self._offset), text)

    def log(self, entry: bytes) -> None:
        """An entry about where bars come from (see `live.provenance`)."""
        self._is_logging = True
        self._log.add(self._end, _meta(SEQUENCER_SPECIFIC, entry))

    def bar_line(self, bar_index: int) -> int:
        """A bar begins: where its line is in the recording. All that was noted before it is written."""
        line = self._meter.tick_of_bar(bar_index)
        if bar_index <= self._last_bar:  # once more, or an earlier one, and nobody said so
            self.jumped_to(line)
        self._last_bar = bar_index
        at = max(0, line + self._offset)
        self._end = max(self._end, at)
        for tick, text in sorted(self._texts.values()):
            self._is_logging = True
            self._log.add(tick, _text(TEXT, text))
        self._texts.clear()
        for interrupted in self._interruptions.take():
            self.log(packed(interrupted))
        return at

    def line_before(self, tick: int) -> int:
        """Where the line of the bar that `tick` is in lies in the recording."""
        return max(0, self._meter.tick_of_bar(self._meter.bar_at(tick)[0]) + self._offset)

    def expect(self, line_tick: int, notes: Sequence[Note]) -> None:
        """What a bar that begins at this line of the recording is to sound like. What of it is not heard is logged."""
        promises = tuple(
            Promise(
                line_tick + note.onset_tick,
                line_tick + note.onset_tick + note.duration_ticks,
                (note.channel, note.pitch),
                note.velocity,
            )
            for note in notes
        )
        self._interruptions.began(line_tick, line_tick + self._meter.ticks_per_bar, promises)

    def jumped_to(self, tick: int) -> None:
        """The transport goes on at `tick`, wherever it was: what still sounds is closed, and the
        recording goes on in its next bar, as far behind the bar line as `tick` is in its own."""
        for voice in sorted(self._open):
            self._close(voice, self._end)
        for interrupted in self._interruptions.jumped():
            self.log(packed(interrupted))
        line = self._bar_line_from(max(self._end, self._struck_to))
        self._offset = line + self._meter.bar_at(tick)[1] - tick
        self._newest_tick = tick
        self._last_bar = -1

    @property
    def end_tick(self) -> int:
        """Length of the recording so far, in its own ticks, padded to the bar line."""
        return self._bar_line_from(self._end)

    def midi_bytes(self) -> bytes:
        """The whole file now: tempo map and notes, every note closed, padded to the bar line."""
        end = self.end_tick
        conductor = self._conductor.chunk(end, sorted(self._pending.values()))
        notes = self._track.chunk(end, [(end, _note_off(voice)) for voice in sorted(self._open)])
        log = [(tick, _text(TEXT, text)) for tick, text in sorted(self._texts.values())]
        log += [(end, _meta(SEQUENCER_SPECIFIC, packed(entry))) for entry in self._interruptions.pending(end)]
        tracks = [conductor, notes, self._log.chunk(end, log)] if log or self._is_logging else [conductor, notes]
        return b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), PPQN) + b"".join(tracks)

    def due(self) -> bytes | None:
        """The file, when a bar has gone by since it was last asked for and there is something to save."""
        if not self.notes or self._end < self._next_save:
            return None
        self._next_save = self._bar_line_from(self._end + 1)
        return self.midi_bytes()

    def write(self, data: bytes, is_final: bool = False) -> bool:
        """Puts `data` in place of the file in one step, so that a crash leaves the old one or the new
        one. Never raises: false when the disk refused, see `last_error`."""
        partial = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(data)
                if is_final:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(self.path)
        except (OSError, ValueError) as error:
            self.write_errors += 1
            self.last_error = f"recording {self.path.name} not saved: {getattr(error, 'strerror', None) or error}"
            with contextlib.suppress(OSError, ValueError):
                partial.unlink(missing_ok=True)
            return False
        return True

    def close(self) -> bool:
        """Saves for good; without a note there is no file. True when a file was written."""
        return self.notes > 0 and self.write(self.midi_bytes(), is_final=True)

    def _close(self, voice: tuple[int, int], at: int) -> None:
        self._open.discard(voice)
        self._interruptions.closed(self._track.add(at, _note_off(voice)), voice)

    def _file_tick(self, tick: int) -> int:
        if not -JUMP_BACK_TICKS <= tick - self._newest_tick <= JUMP_AHEAD_TICKS:
            self.jumped_to(tick)
        self._newest_tick = max(self._newest_tick, tick)
        file_tick = max(0, tick + self._offset)
        self._end = max(self._end, file_tick)
        return file_tick

    def _bar_line_from(self, file_tick: int) -> int:
        """The first bar line at or after a tick of the recording."""
        return -(-file_tick // self._meter.ticks_per_bar) * self._meter.ticks_per_bar

    def _change(self, kind: str, at: int, event: bytes) -> None:
        self._flush_before(at)
        self._pending[kind] = (at, event)

    def _flush_before(self, at: int) -> None:
        early = {kind: change for kind, change in self._pending.items() if change[0] < at}
        for kind, change in sorted(early.items(), key=lambda item: item[1]):
            self._conductor.add(*change)
            del self._pending[kind]


class _Track:
    """The encoded events of one track. An event that comes late is put at the last one's tick; each
    track for itself, since the transport's position runs ahead of notes that are sent with latency."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._last_tick = 0

    def add(self, tick: int, event: bytes) -> int:
        """Returns where it stands."""
        self._data += _variable(max(0, tick - self._last_tick)) + event
        self._last_tick = max(tick, self._last_tick)
        return self._last_tick

    def chunk(self, end_tick: int, closing: list[tuple[int, bytes]]) -> bytes:
        """The track as a file holds it, with `closing` events appended, lasting to `end_tick`."""
        data, now = bytearray(self._data), self._last_tick
        for tick, event in [*closing, (end_tick, b"\xff\x2f\0")]:
            data += _variable(max(0, tick - now)) + event
            now = max(tick, now)
        return b"MTrk" + struct.pack(">I", len(data)) + bytes(data)


def recording_path(folder: Path, title: str, started: datetime) -> Path:
    """A file name that sorts by time and is free: date, time and what of the title a file name can hold."""
    name = re.sub(r"[^\w-]+", "-", title).strip("-")[:40] or "set"
    stem = f"{started:%Y-%m-%d_%H-%M-%S}_{name}"
    path, copy = folder / f"{stem}.mid", 2
    while path.exists():
        path, copy = folder / f"{stem}_{copy}.mid", copy + 1
    return path


def _variable(number: int) -> bytes:
    """A variable-length quantity (Standard MIDI Files 1.0): seven bits a byte, the last without bit 7."""
    septets = [number & 0x7F]
    while number := number >> 7:
        septets.append(number & 0x7F | 0x80)
    return bytes(reversed(septets))


def _note_off(voice: tuple[int, int]) -> bytes:
    channel, pitch = voice
    return bytes((0x80 | channel, pitch, 0))


def _tempo(tempo_bpm: float) -> bytes:
    microseconds = round(60_000_000 / min(max(tempo_bpm, LOWEST_TEMPO_BPM), HIGHEST_TEMPO_BPM))
    return b"\xff\x51\x03" + microseconds.to_bytes(3, "big")


def _signature(meter: Meter) -> bytes:
    clocks_per_click = 96 // meter.denominator
    return b"\xff\x58\x04" + bytes((meter.numerator, meter.denominator.bit_length() - 1, clocks_per_click, 8))


def _text(kind: int, text: str) -> bytes:
    return _meta(kind, text[:LONGEST_TEXT].encode("utf-8", "replace"))


def _meta(kind: int, data: bytes) -> bytes:
    return bytes((0xFF, kind)) + _variable(len(data)) + data
