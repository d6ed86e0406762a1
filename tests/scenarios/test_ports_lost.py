"""PORT-1 a port that vanishes and returns; PORT-2 a JACK server killed and started again; PORT-3 none at first.

The server is killed by its id and comes back under the same name. In each: what is heard, shown and counted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pythonosc.osc_message_builder import OscMessageBuilder

from fractal_live.music.notes import Bar, Note
from fractal_live.ports import jack_client, pipes
from fractal_live.ports.midi_in import set_lasting_callback
from tests import jack
from tests.instrument import Instrument, instrument, jack_midi_ports, wait_for
from tests.scenarios.test_stage import Daemon, offs, ons, sixteenths

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(240)]
needs_package = pytest.mark.skipif(not jack_client.is_installed(), reason="JACK-Client is not installed")
APIS = [pytest.param("jack-native", marks=needs_package), "jack"]
ANSWER_LIMIT_S = 0.5
RETURN_LIMIT_S = 5.0
GONE = "the JACK server has gone"


class Questioner:
    """Asks the daemon how it is, from a socket of its own."""

    def __init__(self, osc_port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._daemon = ("127.0.0.1", osc_port)
        self._socket.settimeout(5.0)

    def subscribe(self) -> None:
        self._send("/fractal/subscribe")

    def ask(self) -> float:
        """Seconds until the answer. Asked just after the daemon spoke by itself, as it does ten times a second, so
        that the next word is the answer."""
        self._await_state()
        asked_s = time.monotonic()
        self._send("/fractal/query")
        self._await_state()
        return time.monotonic() - asked_s

    def counted(self, name: str) -> int:
        """What the daemon says next of one of its counts."""
        address = f"/fractal/out/state/{name}".encode() + b"\0"
        while not (datagram := self._socket.recv(65536)).startswith(address):
            pass
        return struct.unpack(">i", datagram[-4:])[0]

    def close(self) -> None:
        self._socket.close()

    def _await_state(self) -> None:
        while not self._socket.recv(65536).startswith(b"/fractal/out/state/tempo"):  # the last of them
            pass

    def _send(self, address: str) -> None:
        self._socket.sendto(OscMessageBuilder(address).build().dgram, self._daemon)


def await_port(name: str, limit_s: float = 60.0) -> None:
    wait_for(lambda: name in jack_midi_ports("output"), limit_s, f"the port {name}")


def said(running: Instrument) -> str:
    return running.log.read_text(encoding="utf-8") if running.log.exists() else ""


@pytest.mark.parametrize("midi_api", APIS)
def test_port_2_a_killed_server_stops_neither_the_daemon_nor_the_music(
    tmp_path: Path, midi_api: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        jack.mortal_server(f"fractal-lost-{os.getpid()}") as server,
        instrument(tmp_path, "--sync", "internal", "--seed", "7", "--tempo", "140", "--midi-api", midi_api) as running,
        contextlib.closing(Questioner(running.osc_port)) as questioner,
    ):
        await_port("fractal-live:output")
        before = jack.Listener("fractal-live:output")
        wait_for(lambda: len(ons(before.messages)) > 20, 90, "music")
        questioner.subscribe()
        server.kill()
        killed_s = time.monotonic()
        answers_s = []
        while time.monotonic() - killed_s < 4:
            answers_s.append(questioner.ask())
            time.sleep(0.05)
        before.close()
        assert GONE in said(running)

        server.start()
        returned_s = time.monotonic()
        await_port("fractal-live:output", RETURN_LIMIT_S)
        back_s = time.monotonic() - returned_s
        after = jack.Listener("fractal-live:output")
        wait_for(lambda: len(ons(after.messages)) > 5, RETURN_LIMIT_S, "music again")
        heard_s = time.monotonic() - returned_s
        answers_s += [questioner.ask() for _ in range(10)]
        counted = questioner.counted("restarts") if midi_api == "jack" else questioner.counted("faults")
        assert running.leave() == 0
        time.sleep(0.1)  # what the server still carries
        after.close()
        with capsys.disabled():
            print(  # noqa: T201
                f"\n{midi_api}: ports back after {back_s:.2f} s, music after {heard_s:.2f} s, "
                f"longest answer {max(answers_s) * 1e3:.0f} ms of {len(answers_s)}"
            )
    assert max(answers_s) <= ANSWER_LIMIT_S
    assert said(running).count(GONE) == 1 == counted
    struck, closed = ons(after.messages), offs(after.messages)
    assert all(closed.count(pitch) >= struck.count(pitch) for pitch in set(struck))


@contextlib.contextmanager
def stage(setup: pipes.StageSetup) -> Iterator[Daemon]:
    daemon = Daemon(setup)
    try:
        yield daemon
    finally:
        daemon.leave()


@pytest.mark.parametrize("midi_api", ["auto", *APIS])
def test_port_3_a_server_that_comes_later_is_found(midi_api: str) -> None:
    """A backend asked for by name must be there at first; a stage that follows a dead one waits for it."""
    with jack.mortal_server(f"fractal-later-{os.getpid()}") as server:
        server.kill()
        setup = pipes.StageSetup("internal", midi_api=midi_api, is_restart=midi_api != "auto")
        with stage(setup) as daemon:
            first = daemon.hear(pipes.StageReady)
            assert (first.output_port, first.input_port) == ("", "")
            assert "answer" in first.advice
            for index in range(4):
                daemon.send(pipes.PlayBar(sixteenths(index), 1, sixteenths(index + 1)))
            daemon.send(pipes.TransportCommand("start"))
            server.start()
            ready = daemon.hear(pipes.StageReady, claim=lambda news: news.output_port)
            assert (ready.output_port, ready.input_port) == ("fractal-live:output", "fractal-live-in:input")
            synth = jack.Listener(ready.output_port)
            assert synth.await_that(lambda messages: len(ons(messages)) > 3)
            assert daemon.heard(pipes.Fault) == []
            synth.close()


@needs_package
def test_port_2_the_stage_itself_goes_on_and_opens_its_ports_again() -> None:
    with jack.mortal_server(f"fractal-again-{os.getpid()}") as server:
        with stage(pipes.StageSetup("internal", midi_api="jack-native")) as daemon:
            daemon.hear(pipes.StageReady)
            daemon.send(pipes.PlayBar(Bar(0, (Note(0, 60, 10**6, 80),)), 1, Bar(1)), pipes.TransportCommand("start"))
            synth = jack.Listener("fractal-live:output")
            daemon.hear(pipes.Sounded)
            for turn in range(2):
                server.kill()
                synth.close()
                daemon.hear(pipes.StageReady, claim=lambda news: not news.output_port)
                assert [GONE in fault.text for fault in daemon.heard(pipes.Fault)] == [True] * (turn + 1)
                assert daemon.process.is_alive()
                daemon.news.clear() if turn else None
                server.start()
                daemon.hear(pipes.StageReady, claim=lambda news: "now" in news.advice)
                synth = jack.Listener("fractal-live:output")
                if turn == 0:  # the note that sounded when it went is closed as soon as somebody hears it
                    assert synth.await_that(
                        lambda messages: b"\x80\x3c\x00" in messages and b"\xb0\x7b\x00" in messages
                    )
                    daemon.news = [news for news in daemon.news if isinstance(news, pipes.Fault)]
            assert daemon.heard(pipes.TransportState)[-1].is_rolling
            synth.close()


@pytest.mark.parametrize("midi_api", APIS)
def test_port_1_a_named_port_that_vanishes_and_returns_is_played_again(midi_api: str) -> None:
    with jack.mortal_server(f"fractal-named-{os.getpid()}"):
        synth = Synth()
        setup = pipes.StageSetup("internal", midi_api=midi_api, connect="soft synth", sends_clock=True)
        with stage(setup) as daemon:
            assert daemon.hear(pipes.StageReady).output_port == "Soft Synth:midi"
            daemon.send(pipes.PlayBar(Bar(0, (Note(0, 60, 10**6, 80),)), 1, Bar(1)), pipes.TransportCommand("start"))
            wait_for(lambda: ons(synth.messages) == [60], 5, "the note")
            synth.close()
            assert "Soft Synth:midi has gone" in daemon.hear(pipes.Fault).text, "said at once, not on its return"
            daemon.news = [news for news in daemon.news if not isinstance(news, pipes.Fault)]
            synth = Synth()
            assert "Soft Synth:midi is back" in daemon.hear(pipes.Fault).text
            wait_for(lambda: 60 in offs(synth.messages) and b"\xb0\x7b\x00" in synth.messages, 5, "the note's end")
            daemon.send(pipes.PlayBar(sixteenths(1), 1, sixteenths(2)), pipes.PlayBar(sixteenths(2), 1, Bar(3)))
            wait_for(lambda: len(ons(synth.messages)) > 3, 8, "music again")
            assert_told_where_we_are(synth.messages)
            assert daemon.hear(pipes.StageHealth, claim=lambda health: health.faults > 1).faults == 2
        synth.close()


def assert_told_where_we_are(messages: list[bytes]) -> None:
    """Song Position, Continue, and then clocks."""
    system = [message[0] for message in list(messages) if message[0] >= 0xF0]
    assert system.count(0xFB) == system.count(0xF2) == 1
    place = system.index(0xFB)
    assert system[place - 1] == 0xF2 and system[place + 1] == 0xF8 and 0xFC not in system[place:]


@needs_package
def test_who_plugs_into_our_port_in_the_middle_of_a_set_is_told_where_we_are() -> None:
    """After a server's death, or a stage's, followers are plugged in again when the port has long been open: they
    were sent clocks, and never learned that we roll."""
    with jack.mortal_server(f"fractal-follower-{os.getpid()}"):
        with stage(pipes.StageSetup("internal", midi_api="jack-native", sends_clock=True)) as daemon:
            daemon.hear(pipes.StageReady)
            daemon.send(pipes.TransportCommand("start"))
            daemon.hear(pipes.BarStarted)
            for _ in range(2):
                follower = jack.Listener("fractal-live:output")
                assert follower.await_that(lambda messages: messages.count(b"\xf8") > 24)
                assert_told_where_we_are([bytes(message) for message in follower.messages])
                follower.close()
                time.sleep(0.1)


@pytest.mark.parametrize("midi_api", APIS)
def test_port_1_what_a_dead_stage_left_sounding_is_closed_by_the_next(midi_api: str) -> None:
    with jack.mortal_server(f"fractal-left-{os.getpid()}"):
        synth = Synth()
        closing = (b"\x80\x3c\x00", b"\x80\x40\x00")
        setup = pipes.StageSetup(midi_api=midi_api, connect="soft synth", is_restart=True, closing=closing)
        with stage(setup) as daemon:
            daemon.hear(pipes.StageReady)
            wait_for(lambda: len(synth.messages) >= 2, 5, "the notes' end")
        assert tuple(synth.messages[:2]) == closing
        synth.close()


class Synth:
    """A virtual JACK input called `Soft Synth:midi`."""

    def __init__(self) -> None:
        import rtmidi

        self.messages: list[bytes] = []
        self._client = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="Soft Synth")
        self._client.ignore_types(timing=False)
        set_lasting_callback(self._client, lambda message, data=None: self.messages.append(bytes(message[0])))
        self._client.open_virtual_port("midi")

    def close(self) -> None:
        self._client.cancel_callback()
        time.sleep(0.05)  # a callback under way must return before JACK ends its thread
        self._client.close_port()
        self._client.delete()
