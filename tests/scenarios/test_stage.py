"""The real stage process between a pipe and a JACK server without sound hardware.

Times are judged against MIDI clocks, with the two periods that a JACK connection may take on top.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fractal_live import stage
from fractal_live.music.notes import Bar, Note
from fractal_live.ports import jack_client, pipes
from tests import jack

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(60)]
MS = 1_000_000
CLOCK_NS = 20_833_333  # at 120 bpm
JACK_NS = 60 * MS  # two connections of two periods each, and a busy machine


@pytest.fixture(scope="module", params=["jack-native", "jack"])
def midi_api(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server, and the way to its ports."""
    if request.param == "jack-native" and not jack_client.is_installed():
        pytest.skip("JACK-Client is not installed")
    with jack.jack_server("fractal-test-stage"):
        yield request.param


def sixteenths(index: int, pitch: int = 60) -> Bar:
    """Sixteen notes; the last one sounds into the next bar."""
    durations = [110] * 15 + [300]
    return Bar(index, tuple(Note(120 * step, pitch + step, durations[step], 80) for step in range(16)))


def ons(messages: list[bytes]) -> list[int]:
    return [message[1] for message in messages if message[0] & 0xF0 == 0x90]


def offs(messages: list[bytes]) -> list[int]:
    return [message[1] for message in messages if message[0] & 0xF0 == 0x80]


def all_closed(messages: list[bytes]) -> bool:
    """Whether there were notes and none sounds. What is closed already may be closed again: JACK's own ports say a
    silence twice, and what they closed once more after a cycle that came too late."""
    told = told_once(messages)
    return len(ons(told)) > 0 and sorted(ons(told)) == sorted(offs(told))


def told_once(messages: list[bytes]) -> list[bytes]:
    """Notes alone, without what closes a note that does not sound."""
    sounding: set[bytes] = set()
    told = []
    for message in messages:
        kind, pitch = message[0] & 0xF0, message[1:2]
        if kind == 0x90:
            sounding.add(pitch)
        if kind == 0x90 or (kind == 0x80 and pitch in sounding):
            told.append(message)
        if kind == 0x80:
            sounding.discard(pitch)
    return told


class Daemon:
    """The daemon's end: sends, pings, and keeps what the stage says."""

    def __init__(self, setup: pipes.StageSetup) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=stage.main, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.news: list[Any] = []
        self._is_pinging = threading.Event()
        self._is_pinging.set()
        self._is_over = threading.Event()
        self.connection.send(setup)
        self._pinger = threading.Thread(target=self._ping, daemon=True)
        self._pinger.start()

    def send(self, *messages: object) -> None:
        for message in messages:
            self.connection.send(message)

    def hear(self, kind: type, limit_s: float = 10.0, claim: Callable[[Any], bool] = lambda news: True) -> Any:
        """The first message of a kind that fulfils the claim, waited for."""
        deadline_s = time.monotonic() + limit_s
        while True:
            self._read()
            for message in self.news:
                if isinstance(message, kind) and claim(message):
                    return message
            if time.monotonic() > deadline_s:
                raise AssertionError(f"no such {kind.__name__} within {limit_s} s: {self.news[-5:]}")
            time.sleep(0.01)

    def heard(self, kind: type) -> list[Any]:
        self._read()
        return [message for message in self.news if isinstance(message, kind)]

    def fall_silent(self) -> None:
        """Hang: no more pings."""
        self._is_pinging.clear()

    def leave(self) -> None:
        """Stop the stage, by force if it must be."""
        self._is_over.set()
        self._pinger.join()
        with contextlib.suppress(OSError):
            self.connection.send(pipes.Shutdown())
        self.process.join(5)
        is_late = self.process.is_alive()
        if is_late:
            self.process.kill()
            self.process.join()
        self.connection.close()
        assert not is_late, "the stage did not leave"

    def _ping(self) -> None:
        while not self._is_over.wait(0.2):
            if self._is_pinging.is_set():
                with contextlib.suppress(OSError):
                    self.connection.send(pipes.Ping())

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll():
                self.news.append(self.connection.recv())


class Rig:
    """Stage, DAW and synthesizer, plugged together."""

    def __init__(self, setup: pipes.StageSetup) -> None:
        self.daemon = Daemon(setup)
        self.ready = self.daemon.hear(pipes.StageReady)
        self.synth = jack.Listener(self.ready.output_port)
        self.daw = jack.Leader(self.ready.input_port)

    def roll(self, clocks: int) -> int:
        self.daw.send(0xFA)
        return self.daw.clocks(clocks)

    def close(self) -> None:
        try:
            self.daemon.leave()
        finally:
            self.synth.close()
            self.daw.close()


@contextlib.contextmanager
def rig(midi_api: str, **settings: Any) -> Iterator[Rig]:
    plugged = Rig(pipes.StageSetup(midi_api=midi_api, **settings))
    try:
        yield plugged
    finally:
        plugged.close()


def test_start_sounds_within_a_clock_and_stop_silences_at_once(midi_api: str) -> None:
    with rig(midi_api) as here:
        for index in range(2):
            here.daemon.send(pipes.PlayBar(sixteenths(index), 1, sixteenths(index + 1, 30)))
        time.sleep(0.1)
        started_ns = here.roll(24 * 4 + 10)
        stopped_ns = here.daw.send(0xFC)
        assert here.synth.await_that(all_closed)
        first_ns = here.synth.heard[0][0]
        silent_ns = next(
            at_ns
            for place, (at_ns, _) in enumerate(here.synth.heard, 1)
            if all_closed(here.synth.messages[:place]) and len(ons(here.synth.messages[:place])) == 18
        )
        time.sleep(0.3)
        assert 0 < first_ns - started_ns < CLOCK_NS + JACK_NS
        assert silent_ns - stopped_ns < CLOCK_NS + JACK_NS
        assert ons(here.synth.messages) == [60 + step for step in range(16)] + [60, 61]
        assert sorted(here.synth.messages[-2:]) == [b"\xb0\x40\x00", b"\xb0\x7b\x00"]
        state = here.daemon.heard(pipes.TransportState)[-1]
        assert not state.is_rolling
        assert abs(state.tick - (1920 + 200)) <= 40
        assert [(begun.bar.index, begun.is_fallback) for begun in here.daemon.heard(pipes.BarStarted)] == [
            (0, False),
            (1, False),
        ]
        sounded = [message.message for message in here.daemon.heard(pipes.Sounded)]
        assert sounded == told_once(here.synth.messages)


def test_song_position_and_continue_go_on_from_there(midi_api: str) -> None:
    with rig(midi_api) as here:
        here.daemon.send(pipes.PlayBar(sixteenths(2, 40), 1, sixteenths(3)))
        here.daw.send(0xF2, 36, 0)  # sixteenth 36: bar 2, beat 2
        time.sleep(0.1)
        here.daw.send(0xFB)
        here.daw.clocks(11)  # a note that is due with the Stop itself may sound or not
        here.daw.send(0xFC)
        assert here.synth.await_that(all_closed)
        here.daw.send(0xFB)
        here.daw.clocks(11)
        here.daw.send(0xFC)
        assert here.synth.await_that(lambda messages: len(ons(messages)) >= 4 and all_closed(messages))
        assert ons(here.synth.messages) == [44, 45, 46, 47]


def test_a_missing_bar_is_played_by_the_fallback_and_counted(midi_api: str) -> None:
    with rig(midi_api, tempo_bpm=240, sync="internal") as here:
        here.daemon.send(pipes.PlayBar(sixteenths(0), 5, sixteenths(1, 30)), pipes.TransportCommand("start"))
        begun = here.daemon.hear(pipes.BarStarted, claim=lambda news: news.bar.index == 2)
        assert begun.is_fallback
        here.daemon.send(pipes.TransportCommand("stop"))
        assert here.synth.await_that(all_closed)
        assert ons(here.synth.messages)[:32] == [60 + step for step in range(16)] + [30 + step for step in range(16)]
        assert here.daemon.hear(pipes.StageHealth, claim=lambda health: health.underruns == 2)


def test_it_stops_by_itself_at_the_end_bar_with_everything_closed(midi_api: str) -> None:
    with rig(midi_api, tempo_bpm=240, sync="internal", end_bar=2) as here:
        for index in range(3):
            here.daemon.send(pipes.PlayBar(sixteenths(index), 1, sixteenths(index + 1, 30)))
        here.daemon.send(pipes.TransportCommand("start"))
        here.daemon.hear(pipes.TransportState, claim=lambda state: not state.is_rolling and state.tick == 3840)
        assert here.synth.await_that(all_closed)
        assert ons(here.synth.messages) == [60 + step for step in range(16)] * 2


def test_a_controller_reaches_the_daemon_and_the_clock_does_not(midi_api: str) -> None:
    with rig(midi_api) as here:
        here.daw.send(0xF8)
        here.daw.send(0xB0, 1, 77)
        assert here.daemon.hear(pipes.ControlInput).message == b"\xb0\x01\x4d"
        assert len(here.daemon.heard(pipes.ControlInput)) == 1


def hold_a_note(here: Rig) -> None:
    """Roll into a note that lasts for minutes."""
    here.daemon.send(pipes.PlayBar(Bar(0, (Note(0, 60, 10**6, 80),)), 1, Bar(1)), pipes.TransportCommand("start"))
    assert here.synth.await_that(lambda messages: ons(messages) == [60])


@pytest.mark.parametrize("death", ["pipe closes", "pings cease", "shutdown", "sigterm"])
def test_whatever_ends_the_stage_closes_the_notes_and_it_leaves(midi_api: str, death: str) -> None:
    with rig(midi_api, sync="internal") as here:
        hold_a_note(here)
        if death == "pipe closes":
            here.daemon.connection.close()
        elif death == "pings cease":
            here.daemon.fall_silent()
        elif death == "shutdown":
            here.daemon.send(pipes.Shutdown())
        else:
            os.kill(here.daemon.process.pid or 0, signal.SIGTERM)
        assert here.synth.await_that(all_closed, limit_s=3)
        here.daemon.process.join(5)
        assert here.daemon.process.exitcode == 0
        assert sorted(here.synth.messages[-2:]) == [b"\xb0\x40\x00", b"\xb0\x7b\x00"]


def test_ctrl_c_does_not_reach_the_stage(midi_api: str) -> None:
    with rig(midi_api, sync="internal") as here:
        hold_a_note(here)
        os.kill(here.daemon.process.pid or 0, signal.SIGINT)
        time.sleep(0.3)
        assert here.daemon.process.is_alive()
        assert offs(here.synth.messages) == []


def test_a_port_that_is_not_there_is_a_fault_that_names_those_there_are(midi_api: str) -> None:
    daemon = Daemon(pipes.StageSetup(midi_api=midi_api, connect="piano"))
    try:
        assert "piano" in daemon.hear(pipes.Fault).text
        daemon.process.join(5)
        assert daemon.process.exitcode == 0
    finally:
        daemon.leave()
