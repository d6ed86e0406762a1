"""Accidents of processes, of the network and of the disk, on the real program at a real JACK port: what is heard, what
is shown, what is counted."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import mido
import pytest

from tests.instrument import ROOT, Instrument, instrument, jack_midi_ports, wait_for
from tests.jack import Listener, jack_server
from tests.live.simulated_port import MS, SECOND
from tests.scenarios.accidents import accident

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(240)]
BAR_S = 4 * 60 / 150


class Show:
    """The instrument at a JACK port, an ear at the port, and a subscriber to what it says."""

    def __init__(self, running: Instrument, name: str = "fractal-live") -> None:
        self.running = running
        self.name = name
        self.out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ear = Listener(self.port())
        wait_for(lambda: self.ons_since(0) > 10, 90, "music")

    def port(self) -> str:
        wait_for(lambda: any(self.name in port for port in jack_midi_ports("output")), 60, "the port")
        return next(port for port in jack_midi_ports("output") if self.name in port)

    def listens_anew(self) -> None:
        self.ear.close()
        self.ear = Listener(self.port())

    def ons_since(self, since_ns: int) -> int:
        return sum(at_ns > since_ns and message[0] & 0xF0 == 0x90 for at_ns, message in list(self.ear.heard))

    def open_notes(self) -> set[int]:
        """The keys that sound; none was struck while it did.

        The same bytes again within a period are no second stroke: where a client missed its turn, the
        server hands out its last period once more.
        """
        sounding: dict[int, tuple[int, bytes]] = {}
        for at_ns, message in list(self.ear.heard):
            if message[0] & 0xF0 == 0x90:
                struck_ns, struck = sounding.get(message[1], (at_ns, message))
                assert struck == message and at_ns - struck_ns < 25 * MS, f"{message[1]} is struck while it sounds"
                sounding[message[1]] = (at_ns, message)
            elif message[0] & 0xF0 == 0x80:
                sounding.pop(message[1], None)
        return set(sounding)

    def goes_on(self, limit_s: float = 6.0) -> None:
        """Ten more notes from now on."""
        since_ns = time.monotonic_ns()
        wait_for(lambda: self.ons_since(since_ns) >= 10, limit_s, "the music to go on")

    def says(self, text: str, limit_s: float = 6.0) -> None:
        wait_for(lambda: text in self.log, limit_s, f"the log to say {text!r}")

    @property
    def log(self) -> str:
        return self.running.log.read_text(encoding="utf-8")

    def send(self, datagram: bytes) -> None:
        self.out.sendto(datagram, ("127.0.0.1", self.running.osc_port))

    def asked(self, limit_s: float = 2.0) -> dict[str, float]:
        """What it answers to a query: whole numbers and floats by address."""
        self.out.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.out.recv(65536)
        self.send(osc_message("/fractal/subscribe"))
        self.send(osc_message("/fractal/query"))
        answers: dict[str, float] = {}
        self.out.settimeout(limit_s)
        while "/fractal/out/state/tempo" not in answers:
            data = self.out.recv(65536)
            address = data[: data.index(0)].decode()
            letter, value = data[data.index(b",") + 1 :][:1], data[-4:]
            answers[address] = struct.unpack(">f" if letter == b"f" else ">i", value)[0] if letter in b"fi" else 0.0
        return answers

    def children(self) -> dict[str, int]:
        """The process ids of stage and model (of two the one that makes bars: the other is a spare, and younger)."""
        found: dict[str, int] = {}
        listed = Path(f"/proc/{self.running.process.pid}/task/{self.running.process.pid}/children").read_text()
        for pid in map(int, listed.split()):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"spawn_main" in command:
                is_model = "libtorch" in Path(f"/proc/{pid}/maps").read_text()
                found.setdefault("model" if is_model else "stage", pid)
        return found

    def has_spare(self) -> None:
        """Waits for the process that takes the model's place when it dies."""
        pid = self.running.process.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children")
        wait_for(lambda: len(listed.read_text().split()) >= 4, 30, "a spare model")  # and multiprocessing's tracker

    def close(self) -> None:
        self.ear.close()
        self.out.close()


def osc_message(address: str, tags: bytes = b",", content: bytes = b"") -> bytes:
    return b"".join(text + b"\0" * (4 - len(text) % 4) for text in (address.encode(), tags)) + content


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One for all, because a process knows one server at a time."""
    with jack_server(f"fractal-accidents-{os.getpid()}") as name:
        yield name


@pytest.fixture(scope="module")
def show(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    """One run of the program for all accidents that it must survive."""
    folder = tmp_path_factory.mktemp("show")
    options = ("--sync", "internal", "--tempo", "150", "--seed", "3", "--picture", str(folder / "last.svg"))
    with instrument(folder, *options) as running:
        playing = Show(running)
        playing.send(osc_message("/fractal/plan/density", b",f", struct.pack(">f", 12)))
        playing.send(osc_message("/fractal/param/lead_bars", b",i", struct.pack(">i", 1)))  # so that faults are heard
        yield playing
        playing.close()


@accident("osc-flood")
def test_ten_thousand_random_datagrams_a_second_delay_nothing(show: Show) -> None:
    rng = random.Random(8)
    noise = [rng.randbytes(rng.randint(1, 120)) for _ in range(500)]
    noise += [b"/" + part for part in noise[:200]] + [b"#bundle\0" + part for part in noise[:200]]
    began_ns = time.monotonic_ns()
    sent = 0
    while (elapsed_ns := time.monotonic_ns() - began_ns) < 3 * SECOND:
        while sent < elapsed_ns // 100_000:
            show.send(noise[sent % len(noise)])
            sent += 1
        time.sleep(0.002)
    assert sent > 25_000
    heard = [at_ns for at_ns, message in list(show.ear.heard) if at_ns > began_ns and message[0] & 0xF0 == 0x90]
    assert len(heard) >= 12, "the music goes on meanwhile"
    assert max(b - a for a, b in pairwise(heard)) < 1.5 * SECOND
    assert show.asked()["/fractal/out/state/tempo"] == pytest.approx(150)
    assert "handler" not in show.log and "Traceback" not in show.log


@accident("osc-horrors")
def test_bundles_from_hell_neither_hang_nor_raise(show: Show) -> None:
    refused = show.asked()["/fractal/out/state/osc_refused"]
    now = b"\0\0\0\0\0\0\0\1"
    inner = osc_message("/fractal/param/temperature", b",f", struct.pack(">f", 0.7))
    deep = inner
    while len(deep) < 60_000:
        deep = b"#bundle\0" + now + struct.pack(">i", len(deep)) + deep
    next_year = struct.pack(">II", int(time.time()) + 2_208_988_800 + 31_536_000, 0)
    show.send(b"#bundle\0" + now + struct.pack(">ii", -4, 0))
    show.send(deep)
    show.send(b"#bundle\0" + next_year + struct.pack(">i", len(inner)) + inner)  # now is when it is obeyed
    show.send(osc_message("/fractal/" + "*" * 16 + "x"))
    began_s = time.monotonic()
    assert show.asked()["/fractal/out/state/osc_refused"] > refused
    assert time.monotonic() - began_s < 1.0
    show.goes_on()
    assert "Traceback" not in show.log


@accident("two-daemons")
def test_a_second_daemon_says_what_is_taken_and_the_first_plays_on(show: Show, tmp_path: Path) -> None:
    restarts = show.asked()["/fractal/out/state/restarts"]
    command = [sys.executable, "-m", "fractal_live.cli", "run", "--no-dashboard", "--sync", "internal"]
    second = subprocess.run(
        [*command, "--osc-port", str(show.running.osc_port)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert second.returncode == 1
    assert str(show.running.osc_port) in second.stderr and "--osc-port" in second.stderr
    assert "Traceback" not in second.stderr
    show.goes_on()
    assert show.asked()["/fractal/out/state/restarts"] == restarts


@accident("model-killed")
def test_a_killed_model_is_started_again_and_the_fallbacks_play_meanwhile(show: Show) -> None:
    show.has_spare()
    restarts = show.asked()["/fractal/out/state/restarts"]
    returned = show.log.count("a model is there again")
    killed = show.children()["model"]
    os.kill(killed, signal.SIGKILL)
    show.says("the model process ended; it is being started again")
    show.goes_on()
    wait_for(lambda: show.log.count("a model is there again") > returned, 30, "the next model")
    assert show.children()["model"] != killed
    show.goes_on()
    counted = show.asked()["/fractal/out/state/underruns"]
    show.goes_on()
    assert show.asked()["/fractal/out/state/underruns"] <= counted + 1, "its bars play"
    assert show.asked()["/fractal/out/state/restarts"] == restarts + 1


@accident("stage-killed")
def test_a_killed_stage_is_started_again_and_goes_on_where_it_was(show: Show) -> None:
    before, before_s = show.asked(), time.monotonic()
    os.kill(show.children()["stage"], signal.SIGKILL)
    show.says("the stage process ended; it is being started again")
    time.sleep(0.5)
    show.listens_anew()
    show.goes_on(15)
    after, bars = show.asked(), (time.monotonic() - before_s) / BAR_S
    assert after["/fractal/out/bar"] - before["/fractal/out/bar"] == pytest.approx(bars, abs=1.5), "as if it had lived"
    assert after["/fractal/out/state/restarts"] == before["/fractal/out/state/restarts"] + 1
    assert after["/fractal/out/state/underruns"] >= before["/fractal/out/state/underruns"], "its own are not forgotten"
    assert "Traceback" not in show.log
    assert show.children().keys() == {"stage", "model"}


def test_a_stage_that_hangs_is_ended_and_another_goes_on(show: Show) -> None:
    before, ended = show.asked(), show.log.count("the stage process ended")
    hung = show.children()["stage"]
    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: show.log.count("the stage process ended") > ended, 6, "it to be noticed")
    time.sleep(0.5)
    show.listens_anew()
    show.goes_on(15)
    assert show.children()["stage"] != hung
    assert show.asked()["/fractal/out/state/restarts"] == before["/fractal/out/state/restarts"] + 1


def test_processes_that_stood_still_for_seconds_go_on(show: Show) -> None:
    """The real half of asleep-a-minute: here the clock goes on, and nobody is killed for having been silent."""
    before = show.children()
    everyone = [show.running.process.pid, *before.values()]
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    stopped_ns = time.monotonic_ns()
    for pid in everyone:
        os.kill(pid, signal.SIGCONT)
    show.goes_on(10)
    assert show.children() == before, "nobody was started again"
    assert sum(at_ns < stopped_ns + 100 * MS for at_ns, _ in show.ear.heard if at_ns > stopped_ns) < 60, "no burst"
    show.open_notes()


@accident("port-name-taken")
def test_a_taken_port_name_still_opens_a_port_and_says_its_name(show: Show, tmp_path: Path) -> None:
    """Two may play at once, on ports of two names."""
    ports = jack_midi_ports("output")
    other = tmp_path / "other"
    other.mkdir()
    picture = tmp_path / "last.svg"
    options = ("--sync", "internal", "--tempo", "140", "--seed", "4", "--bars", "2", "--picture", str(picture))
    with instrument(other, *options) as second:
        wait_for(lambda: len(jack_midi_ports("output")) > len(ports), 60, "a second port")
        new = next(port for port in jack_midi_ports("output") if port not in ports)
        assert "fractal-live" in new
        heard = Listener(new)
        wait_for(lambda: any(message[0] & 0xF0 == 0x90 for message in heard.messages), 60, "music from the second")
        second.process.wait(30)
        heard.close()
    assert new.partition(":")[0] in picture.read_text(encoding="utf-8").replace("&#160;", " ")
    show.listens_anew()  # while clients come and go a server may lose what is under way
    show.goes_on()


@accident("disk-full")
def test_a_full_disk_is_said_and_the_music_goes_on(show: Show) -> None:
    pid, path = show.running.process.pid, show.running.recording
    wait_for(path.exists, 10, "the recording so far")
    limit = len(show.log) + 1000
    full = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    wait_for(lambda: path.stat().st_size > limit, 60, "a recording longer than the log")
    kept = path.read_bytes()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, full[1]))
    show.says("recording set.mid not saved: File too large", 10)
    show.goes_on()
    assert path.read_bytes()[:4] == b"MThd" and len(path.read_bytes()) >= len(kept), "the last good one stays"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, full)


def test_after_all_of_it_the_show_ends_in_order_with_everything_counted(show: Show) -> None:
    """The last frame and the last line tell of what was refused; the recording is whole."""
    show.goes_on()
    assert show.running.leave() == 0
    time.sleep(0.1)
    assert not show.open_notes()
    picture = (show.running.recording.parent / "last.svg").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]*>", "", picture).replace("&#160;", " ")
    refused = re.search(r"(\d+) refused", text)
    assert refused is not None and int(refused[1]) > 10_000
    said = (show.running.recording.parent / "stderr.txt").read_text(encoding="utf-8")
    assert re.search(r"recorded \d+ notes in .*underruns \d+", said) and "Traceback" not in said
    kinds = [message.type for track in mido.MidiFile(show.running.recording).tracks for message in track]
    assert kinds.count("note_on") == kinds.count("note_off") > 100


@contextlib.contextmanager
def short_show(folder: Path) -> Iterator[Show]:
    """A run of its own, for what ends it."""
    with instrument(
        folder, "--sync", "internal", "--tempo", "150", "--seed", "4", "--port", "fractal-short"
    ) as running:
        playing = Show(running, "fractal-short")
        try:
            yield playing
        finally:
            playing.close()


@accident("daemon-killed")
def test_a_killed_daemon_leaves_nothing_sounding_and_a_recording(server: str, tmp_path: Path) -> None:
    with short_show(tmp_path) as show:
        wait_for(show.running.recording.exists, 20, "the recording so far")
        show.running.ask(signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        wait_for(lambda: not show.open_notes(), 3, "the notes to be closed")
        time.sleep(1.2)
        assert show.ons_since(killed_ns + SECOND) == 0
        assert show.running.process.wait(5) == -signal.SIGKILL
        assert mido.MidiFile(show.running.recording).length > 0, "it loses at most a bar"


@accident("sigint-twice")
def test_a_second_interrupt_leaves_at_once_with_nothing_sounding(server: str, tmp_path: Path) -> None:
    with short_show(tmp_path) as show:
        show.running.ask(signal.SIGINT)
        time.sleep(0.03)  # leaving in order takes longer: what was sent last must reach the port
        began_s = time.monotonic()
        show.running.ask(signal.SIGINT)
        assert show.running.process.wait(5) == 130, "the second forces"
        assert time.monotonic() - began_s < 1
        wait_for(lambda: not show.open_notes(), 3, "the notes to be closed")
        wait_for(lambda: not any(show.name in port for port in jack_midi_ports("output")), 5, "the port to go")
