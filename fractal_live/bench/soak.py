"""Plays for as long as one likes, as `run` would, with random controls, tempo moves, patches and accidents, and counts.

The daemon runs in a process of its own. Here are the performer, the clock leader and the audience: OSC in both
directions, and an input port that the instrument plays into where there is a MIDI system.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from fractal_live.bench import rehearsal
from fractal_live.bench.account import Account
from fractal_live.bench.clock_leader import Leader
from fractal_live.bench.companion import BenchError
from fractal_live.bench.faults import FAULTS, injure, schedule
from fractal_live.bench.machine import command_of, resident_mb
from fractal_live.bench.performer import TEMPO, Performer
from fractal_live.bench.rehearsal import Glimpse
from fractal_live.bench.witness import Witness
from fractal_live.ports import pipes
from fractal_live.ports.jack_midi import JackMidiIn
from fractal_live.ports.midi_in import MidiIn, open_input
from fractal_live.ports.midi_out import open_output
from fractal_live.ports.midi_system import PortError
from fractal_live.ports.osc_in import bound_socket, open_osc_in
from fractal_live.ports.osc_out import OscOut
from fractal_live.settings import Machine, Patch, RunSettings
from fractal_live.shipped_files import shipped_names

READY_S = 150.0
ROLLING_S = 15.0
LEAVE_S = 15.0
LAST_HEARD_S = 1.0
TURN_S = 0.02
GESTURE_EVERY_S = 1.5
TEMPO_EVERY_S = 15.0
MEMORY_EVERY_S = 2.0
GAPS_S = (0.5, 3.0)
CLOCKS_PER_BAR = 96
HOST = "127.0.0.1"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SoakSettings:
    """`sync` is auto (a MIDI clock of our own where there is a MIDI system, else internal), internal or midi;
    `midi_api` as in StageSetup. `fault_every_s` apart the accidents happen, each kind at least once."""

    checkpoint: Path
    minutes: float = 5.0
    sync: str = "auto"
    midi_api: str = "auto"
    tempo_bpm: float = 120.0
    faults: tuple[str, ...] = FAULTS
    fault_every_s: float = 60.0
    device: str = "auto"
    threads: int = 1
    seed: int = 1


def run_soak(settings: SoakSettings, tell: Progress = lambda text: None) -> dict[str, Any]:
    """The figures. Raises BenchError if the instrument does not begin to play."""
    with tempfile.TemporaryDirectory(prefix="fractal-live-soak-") as folder:
        return asyncio.run(_Soak(settings, tell, Path(folder)).run())


class _Soak:
    """One set. Everything happens on the event loop."""

    def __init__(self, settings: SoakSettings, tell: Progress, folder: Path) -> None:
        self.settings = settings
        self.account = Account()
        self.told = Witness()  # over OSC
        self.heard = Witness()  # at the port
        self._fault = ""
        self._clock_port = ""
        self._is_led = False
        self._clocks_led = 0
        self._tell = tell
        self._folder = folder
        self._performer = Performer(settings.seed, shipped_names("patches"))
        self._rng = random.Random(settings.seed + 1)
        self._ear: MidiIn | JackMidiIn | None = None
        self._ear_back_s = math.inf
        self._port = ""
        self._leader: Leader | None = None

    async def run(self) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            self._open_ports(stack)
            audience, _ = await open_osc_in(self._on_osc, HOST, 0)
            stack.callback(audience.close)
            port = audience.get_extra_info("sockname")[1]
            osc_port = _free_port()
            hand = OscOut([(HOST, osc_port)])
            stack.callback(hand.close)
            process, connection = stack.enter_context(_rehearsal(self._run_settings(osc_port, port)))
            loop = asyncio.get_running_loop()
            loop.add_reader(connection.fileno(), self._on_glimpse, connection, loop)
            stack.callback(loop.remove_reader, connection.fileno())
            try:
                await self._begin(process)
                played_s, is_alive = await self._play(process, hand)
                await self._finish(process, hand)
            finally:
                await asyncio.to_thread(_end, process, self.account.newest)
            self.account.is_whole = is_alive and process.exitcode == 0
            return {
                **self.account.figures(self.told, self.heard if self._port else None),
                "minutes": round(played_s / 60, 2),
                "bars_due": round(self._clocks_led / CLOCKS_PER_BAR, 1) if self._is_led else None,
                "sync": "midi" if self._is_led else "internal",
                "port": self._port or "no port",
            }

    # Before the set.

    def _open_ports(self, stack: contextlib.ExitStack) -> None:
        """An input that the instrument plays into and an output that leads it, where there can be some."""
        settings = self.settings
        try:
            ear = self._new_ear()
            stack.callback(self._close_ear)
            self._ear, self._port = ear, ear.name
            if ear.name and settings.sync != "internal":
                output = open_output("fractal-soak-clock", settings.midi_api)
                stack.callback(output.close)
                self._leader, self._is_led = Leader(output, settings.tempo_bpm), True
                self._clock_port = output.name
        except PortError as trouble:
            raise BenchError(str(trouble)) from trouble
        if settings.sync == "midi" and self._leader is None:
            raise BenchError("no MIDI system answers, so there is no clock to follow; use --sync internal")

    def _new_ear(self) -> MidiIn | JackMidiIn:
        return open_input("fractal-soak", lambda: None, self.settings.midi_api)

    def _close_ear(self) -> None:
        if self._ear is not None:
            self._ear.close()
            self._ear = None

    def _run_settings(self, osc_port: int, audience_port: int) -> RunSettings:
        settings = self.settings
        is_led, port = self._is_led, self._port
        machine = Machine(
            port_name="fractal-soaked",
            connect=port,
            clock_port=self._clock_port,
            midi_api=settings.midi_api if port else "none",
            osc_port=osc_port,
            device=settings.device,
            threads=settings.threads,
        )
        sync = "midi" if is_led else "internal"
        patch = Patch(title="soak", sync=sync, tempo_bpm=settings.tempo_bpm, osc_out=((HOST, audience_port),))
        return RunSettings(
            patch, machine, settings.checkpoint, sync, settings.seed, self._folder / "set.mid", shows_dashboard=False
        )

    async def _begin(self, process: SpawnProcess) -> None:
        self._tell("warming up")
        await self._until(lambda: self.account.newest is not None and self.account.newest.is_ready, READY_S, process)
        if self._leader is not None:
            self._leader.start(time.monotonic_ns())
        await self._until(lambda: self.told.bars > 0 or self.told.struck > 0, ROLLING_S, process)

    async def _until(self, claim: Callable[[], bool], limit_s: float, process: SpawnProcess) -> None:
        deadline_s = time.monotonic() + limit_s
        while not claim():
            if self._fault or not process.is_alive():
                raise BenchError(self._fault or "the daemon ended while it started")
            if time.monotonic() > deadline_s:
                raise BenchError(f"the instrument did not play within {limit_s:g} s: {self._newest_error()}")
            self._turn()
            await asyncio.sleep(TURN_S)

    def _newest_error(self) -> str:
        errors = self.account.newest.errors if self.account.newest is not None else ()
        return errors[-1] if errors else "it gave no reason"

    # The set.

    async def _play(self, process: SpawnProcess, hand: OscOut) -> tuple[float, bool]:
        """How long it was, in seconds, and whether the daemon was alive to its end."""
        seconds = self.settings.minutes * 60
        coming = schedule(self.settings.faults, seconds, self.settings.fault_every_s)
        start_s = now_s = time.monotonic()
        next_gesture_s = next_memory_s = start_s
        next_tempo_s = start_s + TEMPO_EVERY_S
        while now_s < start_s + seconds and process.is_alive():
            self._turn()
            if coming and now_s >= start_s + coming[0][0]:
                self._have_an_accident(coming.pop(0)[1], process)
            if now_s >= next_gesture_s:
                address, values = self._performer.gesture()
                hand.send(address, *values)
                self.account.gestures += 1
                next_gesture_s = now_s + GESTURE_EVERY_S * self._rng.uniform(0.2, 1.8)
            if now_s >= next_tempo_s:
                self._move_tempo(hand)
                next_tempo_s = now_s + TEMPO_EVERY_S * self._rng.uniform(0.5, 1.5)
            if now_s >= next_memory_s:
                self._weigh(now_s - start_s, process)
                next_memory_s = now_s + MEMORY_EVERY_S
                self._tell(f"{(now_s - start_s) / 60:.1f} of {self.settings.minutes:g} minutes, {self.told.bars} bars")
            await asyncio.sleep(TURN_S)
            now_s = time.monotonic()
        return now_s - start_s, process.is_alive()

    def _turn(self) -> None:
        """What has to be done all the time."""
        if self._leader is not None:
            self._leader.go_on(time.monotonic_ns())
        if time.monotonic() >= self._ear_back_s:
            self._ear, self._ear_back_s = self._new_ear(), math.inf
        self._listen_at_the_port()

    def _listen_at_the_port(self) -> None:
        while self._ear is not None and self._ear.received:
            at_ns, message = self._ear.received.popleft()
            if message[0] & 0xE0 == 0x80:  # note off and note on
                is_on = message[0] & 0xF0 == 0x90 and message[2] > 0
                self.heard.note(message[0] & 0x0F, message[1], is_on, at_ns)

    def _have_an_accident(self, fault: str, process: SpawnProcess) -> None:
        if fault == "clock":
            if self._leader is None:
                return
            self._leader.fall_silent(self._rng.uniform(*GAPS_S))
        elif fault == "port":
            if not self._port or self._ear is None:
                return
            self._listen_at_the_port()
            self._close_ear()
            self._ear_back_s = time.monotonic() + self._rng.uniform(*GAPS_S)
        elif self.account.newest is None or not injure(fault, self.account.newest, process.pid or 0):
            return
        self.account.had_accident(fault, time.monotonic())

    def _move_tempo(self, hand: OscOut) -> None:
        tempo_bpm = self._performer.tempo()
        if self._leader is not None:
            self._leader.tempo_bpm = tempo_bpm
        else:
            hand.send(TEMPO, tempo_bpm)

    def _weigh(self, at_s: float, process: SpawnProcess) -> None:
        newest = self.account.newest
        stage_mb = resident_mb(newest.stage_pid) if newest is not None and newest.stage_pid else None
        self.account.weighed(at_s, resident_mb(process.pid or 0), stage_mb)

    async def _finish(self, process: SpawnProcess, hand: OscOut) -> None:
        """Stop, then a Ctrl-C, then what is still on its way."""
        self._tell("stopping")
        if self._leader is not None:
            self._leader.stop()
            self._clocks_led, self._leader = self._leader.clocks, None
        else:
            hand.send("/fractal/transport/stop")
        await self._linger(LAST_HEARD_S)
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGINT)
            await asyncio.to_thread(process.join, LEAVE_S)
        await self._linger(LAST_HEARD_S)

    async def _linger(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._turn()
            await asyncio.sleep(TURN_S)

    # What comes in.

    def _on_osc(self, address: str, arguments: tuple[Any, ...], peer: tuple[str, int]) -> None:
        now_ns = time.monotonic_ns()
        if address == "/fractal/out/note":
            pitch, velocity, _, channel = (int(value) for value in arguments)
            self.told.note(channel - 1, pitch, velocity > 0, now_ns)
        elif address == "/fractal/out/bar":
            self.told.bar_began(int(arguments[0]), now_ns)
        elif address == "/fractal/out/plan/density":
            self.told.planned([float(value) for value in arguments])
        elif address == "/fractal/out/error":
            self.account.errors[str(arguments[0])] += 1

    def _on_glimpse(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            loop.remove_reader(connection.fileno())
            return
        if isinstance(message, Glimpse):
            self.account.glimpsed(message, time.monotonic())
        elif isinstance(message, pipes.Fault):
            self._fault = message.text


@contextlib.contextmanager
def _rehearsal(settings: RunSettings) -> Iterator[tuple[SpawnProcess, Connection]]:
    """The daemon's process and our end of its pipe. It has children, so it cannot be one of those that end with us by
    themselves: it leaves when the pipe closes, and is seen to here."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=pipes.enter, args=(rehearsal.ENTRY, theirs), name="fractal-live soak")
    process.start()
    theirs.close()
    try:
        ours.send(settings)
        yield process, ours
    finally:
        _end(process, None)
        ours.close()


def _end(process: SpawnProcess, newest: Glimpse | None) -> None:
    """In order if it can be had, and with its children in any case."""
    if process.is_alive():
        process.terminate()
        process.join(LEAVE_S)
    if process.is_alive():
        process.kill()
        process.join()
    for pid in (newest.model_pid, newest.stage_pid) if newest is not None else ():
        if pid and "multiprocessing" in command_of(pid):  # one that hangs does not notice that its pipe is broken
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with bound_socket(HOST, 0) as probe:
        return int(probe.getsockname()[1])
