"""A whole set on real parts: JACK ports, a clock master, OSC from another program.

Positions are judged by the master's own clocks, heard through the same server, so that the server's
period (10.7 ms) is the only inaccuracy of the measurement.
"""

from __future__ import annotations

import bisect
import os
import time
from pathlib import Path

import mido
import numpy as np
import pytest

from tests.instrument import clock_master, instrument, jack_midi_ports, jack_transport, need, wait_for
from tests.jack import PERIOD_FRAMES, Listener, jack_server

TEMPO_BPM = 150
TICKS_PER_CLOCK = 20
CLOCKS_PER_BAR = 96
CLOCKS_PER_STEP = 6
PERIOD_NS = PERIOD_FRAMES * 1e9 / 48000
CLOCK_NS = 60e9 / TEMPO_BPM / 24

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(240)]


def the_port(kind: str, name: str) -> str:
    """The one JACK MIDI port whose name contains this; waits until it is there."""
    wait_for(lambda: any(name in port for port in jack_midi_ports(kind)), 60, f"the {kind} port {name}")
    return next(port for port in jack_midi_ports(kind) if name in port)


def note_ons(heard: list[tuple[int, bytes]]) -> list[tuple[int, int]]:
    return [(at_ns, message[1]) for at_ns, message in heard if message[0] & 0xF0 == 0x90]


def open_notes(heard: list[tuple[int, bytes]]) -> dict[int, int]:
    """What sounds; fails at once on a pitch struck while it does. One may be closed twice: its cycle was late."""
    sounding: dict[int, int] = {}
    for _, message in heard:
        if message[0] & 0xF0 == 0x90:
            sounding[message[1]] = sounding.get(message[1], 0) + 1
            assert sounding[message[1]] == 1, f"pitch {message[1]} was struck while it sounded"
        elif message[0] & 0xF0 == 0x80:
            sounding[message[1]] = 0
    return {pitch: count for pitch, count in sounding.items() if count}


def clock_positions(ons: list[tuple[int, int]], clocks: list[int]) -> np.ndarray:
    """Where each onset lies, in the master's clocks since tick 0: on a line through the 24 clocks around it,
    because each clock alone was heard up to a period late."""
    times = np.array(clocks, dtype=np.float64)
    positions = []
    for at_ns, _ in ons:
        middle = int(np.searchsorted(times, at_ns))
        low = min(max(0, middle - 12), len(times) - 24)
        index = np.arange(low, low + 24)
        slope, start = np.polyfit(index - low, times[index] - times[low], 1)
        positions.append(low + (at_ns - times[low] - start) / slope)
    return np.array(positions)


def test_a_set_follows_the_master_obeys_the_performer_and_leaves_nothing_sounding(tmp_path: Path) -> None:
    need("jack_midi_clock", "jack_transport", "oscsend")
    with (
        jack_server(f"fractal-set-{os.getpid()}"),
        instrument(tmp_path, "--sync", "midi", "--seed", "7") as running,
    ):
        inward, outward = the_port("input", "fractal-live"), the_port("output", "fractal-live")
        played = Listener(outward)
        running.osc("/fractal/plan/density", "f", "8")
        with clock_master(inward, TEMPO_BPM):
            master = Listener(the_port("output", "jack_midi_clock"))
            wait_for(lambda: "ready" in running.log.read_text(), 90, "the first bars")

            def clocks() -> list[int]:
                started = [at_ns for at_ns, message in master.heard if message == b"\xfa"]
                return [at_ns for at_ns, message in master.heard if message == b"\xf8" and at_ns >= started[0]]

            def bar_is(index: int) -> bool:
                return len(clocks()) >= index * CLOCKS_PER_BAR

            jack_transport("locate 0", "play")
            wait_for(lambda: master.heard and any(m == b"\xfa" for _, m in master.heard), 5, "Start")
            wait_for(lambda: bar_is(6), 30, "bar 6")
            running.osc("/fractal/plan/density", "f", "30")
            wait_for(lambda: bar_is(12), 30, "bar 12")
            running.osc("/fractal/param/temperature", "f", "0.7")
            running.osc("/fractal/param/cfg", "f", "2.0")
            running.osc("/fractal/plan/density")
            running.osc("/fractal/latent/level0", "fff", "1.5", "0", "2.0")
            running.osc("/fractal/generate", "i", "99")
            wait_for(lambda: bar_is(14), 30, "bar 14")
            running.osc("/fractal/panic")
            wait_for(lambda: bar_is(16), 30, "bar 16")
            jack_transport("stop")
            wait_for(lambda: any(message == b"\xfc" for _, message in master.heard), 5, "Stop")
            stopped_ns = next(at_ns for at_ns, message in master.heard if message == b"\xfc")
            wait_for(lambda: not open_notes(list(played.heard)), 2, "all notes to be closed")
            time.sleep(0.5)  # silence is only heard by listening
            master.close()
        assert running.leave() == 0
        wait_for(lambda: "fractal-live" not in " ".join(jack_midi_ports("output")), 5, "the port to be gone")
        played.close()

    heard = list(played.heard)
    ons, beats = note_ons(heard), clocks()
    positions = clock_positions(ons, beats)
    assert round(positions[0] / CLOCKS_PER_STEP) == 0, "the first note is that of the first step"
    off_grid = np.abs(positions - np.round(positions / CLOCKS_PER_STEP) * CLOCKS_PER_STEP) * CLOCK_NS
    assert np.median(off_grid) <= PERIOD_NS
    assert np.percentile(off_grid, 95) <= CLOCKS_PER_STEP / 2 * CLOCK_NS / 2, "each in its own sixteenth, by far"

    bars = np.floor((np.round(positions / CLOCKS_PER_STEP) * CLOCKS_PER_STEP) / CLOCKS_PER_BAR).astype(int)
    onsets = np.bincount(bars, minlength=16)
    assert list(onsets[:6]) == [8] * 6, "a density of 8 is eight onsets in every bar"
    assert np.all(onsets[8:12] >= 24), f"after the fader went to 30 there is more: {onsets.tolist()}"
    assert onsets[12:16].min() > 0, "it never went silent"

    assert not open_notes(heard)
    late = [at_ns for at_ns, _ in ons if at_ns > stopped_ns + 2 * PERIOD_NS]
    assert not late, "nothing is struck after Stop"
    controls = [message for _, message in heard if message[0] & 0xF0 == 0xB0]
    assert bytes((0xB0, 123, 0)) in controls and bytes((0xB0, 64, 0)) in controls

    recorded = mido.MidiFile(running.recording)
    struck = [event for track in recorded.tracks for event in track if event.type == "note_on" and event.velocity]
    assert len(struck) == len(ons)
    assert bisect.bisect(beats, stopped_ns) > 15 * CLOCKS_PER_BAR


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_leaving_in_the_middle_of_a_bar_closes_every_note(tmp_path: Path, how: str) -> None:
    import signal

    with (
        jack_server(f"fractal-leave-{how}-{os.getpid()}"),
        instrument(tmp_path, "--sync", "internal", "--seed", "3", "--tempo", "140") as running,
    ):
        listener = Listener(the_port("output", "fractal-live"))
        wait_for(lambda: len(note_ons(list(listener.heard))) > 20, 90, "music")
        wait_for(lambda: open_notes(list(listener.heard)), 10, "a sounding note")
        running.ask(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
        assert running.process.wait(15) == 0
        time.sleep(0.1)  # what the server still carries
        listener.close()
    assert not open_notes(list(listener.heard))
