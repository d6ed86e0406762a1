"""Every accident that the instrument must survive, by id: what is heard, what is shown, what is counted.

Those of clocks and of slow models happen on a fake clock (`live.simulation`: the daemon and the player are the real
ones); those of processes and of the network to the real program at a real JACK port.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mido
import pytest

from fractal_live.baselines import door
from fractal_live.daemon import Daemon
from fractal_live.music.request import ModelFault, ModelSetup
from fractal_live.settings import Machine, Patch, RunSettings
from tests.instrument import ROOT, Instrument, instrument, jack_midi_ports, wait_for
from tests.jack import Listener, jack_server
from tests.live.simulated_leader import Leader
from tests.live.simulated_port import MS, SECOND
from tests.live.simulation import Evening, simulated

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(240)]

ACCIDENTS = {
    "model-killed": "model process killed -9 mid-bar",
    "stage-killed": "stage killed -9",
    "daemon-killed": "daemon killed -9 (the stage closes the notes)",
    "model-slow": "model slower than real time",
    "gpu-out-of-memory": "CUDA out of memory: the CPU",
    "clock-stops": "clock stops",
    "clock-doubles": "clock doubles",
    "clock-jumps-2x": "clock jumps 2x",
    "clock-jitters-10ms": "clock jitters 10 ms",
    "start-twice": "clock sends Start twice",
    "spp-while-rolling": "SPP while rolling",
    "port-lost": "port vanishes and returns",
    "jack-restarts": "JACK server restarts",
    "two-daemons": "two daemons at once",
    "port-name-taken": "port name taken",
    "osc-flood": "10 000 random datagrams per second",
    "osc-horrors": "an OSC bundle with a negative element size, 3000 deep, or dated next year",
    "latent-of-10000": "latent of 10 000 floats",
    "nan-inf-text": "NaN, inf, negative, text where a number should be",
    "patch-unknown-key": "patch file with an unknown key",
    "checkpoint-broken": "checkpoint of another shape, truncated, a pickle",
    "disk-full": "disk full while recording",
    "sigint-twice": "SIGINT twice",
    "asleep-a-minute": "machine asleep for a minute",
}
ELSEWHERE = {
    "gpu-out-of-memory": ("baselines/test_model_process.py", "test_a_full_gpu_is_left_for_the_cpu_and_said"),
    "port-lost": (
        "scenarios/test_ports_lost.py",
        "test_port_1_a_named_port_that_vanishes_and_returns_is_played_again",
    ),
    "jack-restarts": (
        "scenarios/test_ports_lost.py",
        "test_port_2_a_killed_server_stops_neither_the_daemon_nor_the_music",
    ),
}
HERE: dict[str, str] = {}


def accident(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks the test of an accident."""

    def marked(test: Callable[..., None]) -> Callable[..., None]:
        assert name in ACCIDENTS and name not in HERE
        HERE[name] = test.__name__
        return test

    return marked


def test_every_accident_has_its_test() -> None:
    assert not HERE.keys() & ELSEWHERE.keys()
    assert HERE.keys() | ELSEWHERE.keys() == ACCIDENTS.keys()
    for file, name in ELSEWHERE.values():
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{name} is not in {file}"


# On a fake clock.


def led(evening: Evening, seconds: float = 10.0, tempo_bpm: float = 120.0, jitter_ns: float = 0.0) -> Leader:
    """A set that follows a leader, in its middle."""
    evening.osc("plan/density", 8.0)
    leader = Leader(evening, tempo_bpm, jitter_ns)
    evening.seconds(10)
    evening.advance(leader.to_safe_ns)
    leader.start()
    evening.seconds(seconds)
    return leader


def ons(evening: Evening, since_ns: int) -> int:
    return sum(at_ns > since_ns and message[0] & 0xF0 == 0x90 for at_ns, message in evening.ear.heard)


def error_ms(leader: Leader) -> float:
    error_ns = leader.error_ns()
    assert error_ns is not None
    return abs(error_ns) / MS


@accident("clock-stops")
@pytest.mark.parametrize("clock_loss", ["hold", "stop"])
def test_a_clock_that_stops_is_held_or_stops_the_music_as_configured(tmp_path: Path, clock_loss: str) -> None:
    with simulated(tmp_path, sync="midi", machine=Machine(clock_loss=clock_loss)) as evening:
        leader = led(evening)
        leader.mute(True)
        lost_ns = evening.clock.now_ns
        evening.advance(2 * SECOND)
        heard = ons(evening, lost_ns + 300 * MS)
        if clock_loss == "hold":
            assert heard >= 5 and "not locked" in evening.shown()
            leader.mute(False)
            evening.advance(5 * SECOND)
            assert error_ms(leader) < 5, "in phase again"
            assert evening.player.transport.dropped_clocks > 50
        else:
            assert heard == 0 and not evening.ear.sounding
            assert "stopped" in evening.shown()
            assert not evening.player.transport.is_rolling


@accident("clock-doubles")
def test_clocks_that_come_twice_move_nothing(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening, jitter_ns=MS / 2)
        leader.doubled = 0.02
        evening.seconds(30)
        assert error_ms(leader) < 5
        assert "bpm locked" in evening.shown()
        assert abs(evening.player.transport.tempo_bpm - 120) < 2
        assert evening.counts["whole bars"] == evening.counts["bars"] - 1 > 10


@accident("clock-jumps-2x")
def test_a_tempo_that_jumps_to_its_double_is_followed_within_a_beat(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening, tempo_bpm=70)
        evening.advance(leader.to_safe_ns)
        before = evening.position
        leader.tempo(140)
        evening.advance(SECOND)
        assert abs(evening.player.transport.tempo_bpm - 140) < 3
        assert before < evening.position < before + 4 * 480, "the position goes on"
        evening.advance(4 * SECOND)
        assert error_ms(leader) < 5
        assert re.search(r"1(39\.[5-9]|40\.[0-4])\d* bpm locked", evening.shown())
        assert evening.counts["whole bars"] == evening.counts["bars"] - 1
        assert evening.counts["fallbacks"] == 0


@accident("clock-jitters-10ms")
def test_a_clock_that_jitters_by_ten_milliseconds_is_smoothed(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi", seed=4) as evening:
        leader = led(evening, seconds=20)
        leader.jitter_ns = 5 * MS  # the standard deviation of up to 10 ms to either side
        errors = []
        for _ in range(60):
            evening.advance(SECOND)
            error_ns = leader.error_ns()
            assert error_ns is not None
            errors.append(abs(error_ns) / MS)
        errors.sort()
        assert errors[30] < 5 and errors[-2] < 15, "less than the clock's own jitter"
        assert evening.counts["whole bars"] == evening.counts["bars"] - 1
        assert evening.counts["fallbacks"] == 0 and "underruns 0" in evening.shown()


@accident("start-twice")
def test_a_second_start_begins_anew_with_every_note_closed(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening, seconds=5)
        evening.advance(leader.to_safe_ns)
        leader.start()
        assert not evening.ear.sounding
        leader.start()
        restarted_ns = evening.clock.now_ns
        evening.advance(4 * SECOND)
        assert ons(evening, restarted_ns) >= 12
        assert error_ms(leader) < 2
        assert "playing  bar 2." in evening.shown() or "playing  bar 3." in evening.shown()
        assert evening.counts["bars"] >= 5 and evening.counts["fallbacks"] <= 1


@accident("spp-while-rolling")
def test_song_position_while_it_rolls_is_ignored_and_counted(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening)
        evening.advance(leader.to_safe_ns)
        before = evening.position
        leader.locate(400)
        assert evening.position == before
        evening.seconds(5)
        assert evening.player.transport.ignored_song_positions == 1
        assert error_ms(leader) < 2
        assert evening.counts["fallbacks"] == 0 and "underruns 0" in evening.shown()


@accident("model-slow")
def test_a_model_slower_than_real_time_is_spared_and_never_silent(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        evening.osc("plan/density", 8.0)
        evening.seconds(12)
        iterations: list[int] = []

        def slow(request: object) -> int:
            iterations.append(request.sampling.iterations)  # type: ignore[attr-defined]
            return 3 * SECOND

        evening.model = slow
        evening.seconds(60)
        counts = evening.counts
        assert counts["silent bars"] == 0, "the fallback plays"
        assert 5 < counts["fallbacks"] < 0.8 * counts["bars"], "and the model's bars where they are in time"
        assert iterations[0] == 4 and iterations[-1] == 1, "less is asked of it"
        assert evening.daemon.planner.is_spared
        underruns = evening.daemon.status.health.underruns
        assert underruns > 5 and f"underruns {underruns}" in evening.shown()
        evening.model = lambda request: 50 * MS
        evening.seconds(60)
        assert not evening.daemon.planner.is_spared and evening.daemon.planner.lead_bars == 2


@accident("asleep-a-minute")
@pytest.mark.parametrize("sync", ["internal", "midi"])
def test_a_machine_that_slept_for_a_minute_goes_on_at_the_present(tmp_path: Path, sync: str) -> None:
    """What was missed is not made up for in a burst."""
    with simulated(tmp_path, sync=sync) as evening:
        leader = led(evening) if sync == "midi" else None
        evening.seconds(15)
        asleep = evening.position
        asleep_ns = evening.clock.now_ns
        evening.sleep(60)
        evening.advance(100 * MS)
        assert ons(evening, asleep_ns) <= 40, "no burst of notes"
        evening.seconds(12)
        assert ons(evening, evening.clock.now_ns - 4 * SECOND) > 8, "and the music goes on"
        assert len(evening.ear.sounding) <= 20
        if leader is None:
            assert abs(evening.position - asleep - 72.1 * 960) < 960, "at the present"
            assert evening.player.scheduler.skipped_notes > 100
        assert evening.daemon.status.health.underruns > 10
        assert "playing" in evening.shown()
        evening.osc("transport/stop")
        evening.seconds(1)
        assert not evening.ear.sounding


@accident("latent-of-10000")
def test_a_latent_of_ten_thousand_floats_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        evening.seconds(10)
        before = evening.daemon.controls.snapshot
        evening.osc("latent/level0", *[0.5] * 10_000)
        evening.seconds(5)
        assert evening.daemon.controls.snapshot == before
        assert evening.daemon.controls.refused == 1
        assert "10000" in evening.shown() and "latent" in evening.shown()
        assert evening.counts["fallbacks"] == 0


@accident("nan-inf-text")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30, "loud", None])
def test_what_is_no_number_in_range_is_refused_or_clamped_and_said(tmp_path: Path, value: object) -> None:
    with simulated(tmp_path) as evening:
        evening.seconds(10)
        for address in ("param/temperature", "plan/density", "latent/level0", "param/velocity", "transport/tempo"):
            evening.osc(address, value)
        evening.seconds(10)
        controls = evening.daemon.controls
        assert 0.1 <= controls.snapshot.sampling.temperature <= 2 and 0.25 <= controls.snapshot.dress.velocity <= 2
        assert all(-4 <= dim <= 4 for dim in controls.snapshot.latent)
        assert 20 <= evening.player.transport.tempo_bpm <= 400
        assert evening.daemon.status.errors and any(text[:40] in evening.shown() for text in controls_errors(evening))
        assert evening.counts["bars"] > 1 and evening.counts["fallbacks"] == 0


def controls_errors(evening: Evening) -> list[str]:
    return [text for text in evening.daemon.status.errors if text.startswith("/fractal/")]


# Before the show.


@accident("checkpoint-broken")
@pytest.mark.parametrize("how", ["another shape", "truncated", "a pickle"])
def test_a_broken_checkpoint_ends_the_run_before_it_began_and_says_which(
    tmp_path: Path, live_checkpoint: Path, how: str
) -> None:
    """Nothing is heard; the reason is the daemon's last word, with the file's name."""
    path = tmp_path / "broken.safetensors"
    data = live_checkpoint.read_bytes()
    ran = tmp_path / "ran"
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "a pickle":
        path.write_bytes(pickle.dumps(Evil(ran)))
    else:
        length = struct.unpack("<Q", data[:8])[0]
        head = data[8 : 8 + length].replace(b'"shape":[', b'"shape":[1,', 1)
        path.write_bytes(struct.pack("<Q", len(head)) + head + data[8 + length :])
    here, there = multiprocessing.Pipe()
    model = threading.Thread(target=in_thread, args=(there,))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "nice", lambda increment: 0)
        patched.setattr(door.signal, "signal", lambda number, handler: None)
        model.start()
        here.send(ModelSetup(str(path), "cpu", 1))
        fault = here.recv()
        model.join(20)
    here.close()
    assert isinstance(fault, ModelFault) and path.name in fault.text
    assert not ran.exists(), "nothing in a pickle is ever run"
    daemon = Daemon(RunSettings(Patch(), Machine(), path, "midi", 3, tmp_path / "set.mid"))
    daemon._on_model(fault)
    daemon.model._gone()
    daemon.osc_out.close()
    assert path.name in str(daemon._reason) and daemon._over.is_set()


@dataclass
class Evil:
    path: Path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def in_thread(connection: object) -> None:
    door.main(connection)  # type: ignore[arg-type]


@accident("patch-unknown-key")
def test_a_patch_with_an_unknown_key_is_refused_with_the_nearest_right_name(tmp_path: Path) -> None:
    patch = tmp_path / "own.toml"
    patch.write_text("tempo_bmp = 90\n", encoding="utf-8")
    began = subprocess.run(
        [sys.executable, "-m", "fractal_live.cli", "run", "--patch", str(patch), "--midi-api", "none"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert began.returncode == 2
    assert "own.toml" in began.stderr and "tempo_bpm" in began.stderr
    assert "Traceback" not in began.stderr
    assert not (tmp_path / "recordings").exists(), "nothing was played"


# The real program.


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
    show.asked()
    assert time.monotonic() - began_s < 1.0
    show.goes_on()
    assert "Traceback" not in show.log


@accident("two-daemons")
def test_a_second_daemon_says_what_is_taken_and_the_first_plays_on(show: Show, tmp_path: Path) -> None:
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


@accident("model-killed")
def test_a_killed_model_is_started_again_and_the_fallbacks_play_meanwhile(show: Show) -> None:
    show.has_spare()
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


@accident("stage-killed")
def test_a_killed_stage_is_started_again_and_goes_on_where_it_was(show: Show) -> None:
    os.kill(show.children()["stage"], signal.SIGKILL)
    show.says("the stage process ended; it is being started again")
    time.sleep(0.5)
    show.listens_anew()
    show.goes_on(15)
    assert "Traceback" not in show.log
    assert show.children().keys() == {"stage", "model"}


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
    with instrument(other, "--sync", "internal", "--tempo", "140", "--seed", "4", "--bars", "2") as second:
        wait_for(lambda: len(jack_midi_ports("output")) > len(ports), 60, "a second port")
        new = next(port for port in jack_midi_ports("output") if port not in ports)
        assert "fractal-live" in new
        heard = Listener(new)
        wait_for(lambda: any(message[0] & 0xF0 == 0x90 for message in heard.messages), 60, "music from the second")
        second.process.wait(30)
        heard.close()
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
