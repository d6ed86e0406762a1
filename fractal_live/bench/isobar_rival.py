"""isobar's timeline, the Python library for scheduled music, in a process of its own with nothing beside it."""

from __future__ import annotations

import importlib.util
import time
from multiprocessing.connection import Connection
from typing import Any

from fractal_live.bench import score
from fractal_live.bench.rivals import LEAD_IN_S, Play, Played, RivalReady, RivalSetup
from fractal_live.live.player import Output
from fractal_live.ports import pipes
from fractal_live.ports.midi_out import open_output
from fractal_live.ports.midi_system import PortError


def is_installed() -> bool:
    return importlib.util.find_spec("isobar") is not None


def main(connection: Connection) -> None:
    """Entry point: RivalSetup, then RivalReady, then Played for every Play, until the pipe closes."""
    try:
        setup: RivalSetup = connection.recv()
        try:
            output = open_output("fractal-rival", setup.midi_api, setup.connect)
        except PortError as trouble:
            connection.send(pipes.Fault(str(trouble)))
            return
        try:
            connection.send(RivalReady())
            while True:
                play: Play = connection.recv()
                connection.send(_perform(output, setup.tempo_bpm, play.seconds))
        finally:
            output.close()
    except (EOFError, OSError):
        return


class _Device:
    """An output device as isobar's timelines expect one, that stamps what it is given."""

    ticks_per_beat = None
    added_latency_seconds = 0.0

    def __init__(self, output: Output) -> None:
        self.struck: list[tuple[int, int]] = []  # (time.monotonic_ns, velocity)
        self.sent = 0
        self._output = output

    def note_on(self, note: int = 60, velocity: int = 64, channel: int = 0) -> None:
        self.struck.append((time.monotonic_ns(), velocity))
        self.sent += 1
        self._output.send([bytes((score.NOTE_ON | channel, note, velocity))])

    def note_off(self, note: int = 60, channel: int = 0) -> None:
        self.sent += 1
        self._output.send([bytes((score.NOTE_OFF | channel, note, 0))])

    def all_notes_off(self) -> None:
        """What still sounds at the end is closed by its own note-offs."""

    start = stop = tick = all_notes_off


def _perform(output: Output, tempo_bpm: float, seconds: float) -> Played:
    """isobar does not say when something was due: it is measured against its own earliest note."""
    import isobar

    steps = max(round(seconds * 1e9 / score.step_ns(tempo_bpm)), 1)
    device = _Device(output)
    timeline: Any = isobar.Timeline(tempo_bpm, output_device=device)
    timeline.stop_when_done = True
    timeline.schedule(
        {
            "note": isobar.PSequence([score.pitches(step) for step in range(steps)], 1),
            "amplitude": isobar.PSequence([score.velocity(step) for step in range(steps)], 1),
            "duration": 0.25,
            "gate": 0.5,
        }
    )
    time.sleep(LEAD_IN_S)
    timeline.run()
    return against_its_earliest(device.struck, device.sent, tempo_bpm)


def against_its_earliest(struck: list[tuple[int, int]], sent: int, tempo_bpm: float) -> Played:
    """Of (time, velocity) of every note: how late each was, if the earliest was on time."""
    step, seen, offsets = -1, None, []
    for at_ns, velocity in struck:
        if velocity != seen:
            step, seen = step + 1, velocity
        offsets.append(at_ns - round(step * score.step_ns(tempo_bpm)))
    start_ns = min(offsets, default=0)
    return Played(start_ns, tuple(offset - start_ns for offset in offsets), sent, 0)
