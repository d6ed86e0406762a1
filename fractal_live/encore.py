"""A recorded set played again into the port: the stage as in a show, its bars made again by the same model while it
plays, its tempo map the recording's. No planner, no controls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from fractal_live.live.reenactment import Again, SetNote
from fractal_live.live.timeline import NS_PER_MINUTE
from fractal_live.music.meter import PPQN, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.ports import pipes
from fractal_live.processes import Child
from fractal_live.recorded_set import RecordedSet
from fractal_live.settings import Machine

log = logging.getLogger(__name__)

STAGE_ENTRY = "fractal_live.stage"
LEAD_BARS = 8  # bars that wait at the stage
READY_BARS = 2
TURN_S = 0.01
PING_S = 0.2
SHUTDOWN_S = 3.0


class EncoreError(RuntimeError):
    """It cannot be played, or not to its end; the message says why."""


class Encore:
    """`await play()`. `made` gives the bars in the order in which they began; it runs in a thread of its own."""

    def __init__(
        self,
        recorded: RecordedSet,
        made: Iterator[Again],
        machine: Machine,
        soundfont: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self.late_bars = 0
        self.other_bars = 0
        self._recorded = recorded
        self._made = made
        self._machine = machine
        self._soundfont = soundfont
        self._say = say
        self._meter: Meter = recorded.script.meter
        self._bars = recorded.end_tick // self._meter.ticks_per_bar
        self._pages: deque[Bar] = deque()  # made, not sent; the maker appends, the loop takes
        self._is_all_made = False
        self._maker_error: Exception | None = None
        self._room = threading.Semaphore(LEAD_BARS)
        self._sent = 0
        self._begun = -1
        self._tempos = deque(recorded.tempos)
        self._transport = pipes.TransportState(False, 0, self._tempo_at_start(), False, time.monotonic_ns())
        self._is_ready = False
        self._is_started = False
        self._trouble = ""
        self._over = asyncio.Event()
        self._stage: Child | None = None

    async def play(self) -> None:
        """To the end, or until asked to leave; nothing is left sounding. Raises EncoreError."""
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            with contextlib.suppress(NotImplementedError, AttributeError):  # Windows: Ctrl-C is KeyboardInterrupt
                loop.add_signal_handler(getattr(signal, name), self._over.set)
        self._stage = Child.start("stage", STAGE_ENTRY, self._setup(), self._heard, self._gone)
        threading.Thread(target=self._make, name="maker", daemon=True).start()
        try:
            pings = asyncio.create_task(self._ping())
            while not self._over.is_set():
                self._turn()
                await asyncio.sleep(TURN_S)
            pings.cancel()
        finally:
            self._stage.send(pipes.Shutdown())
            await asyncio.to_thread(self._stage.process.join, SHUTDOWN_S)
            self._stage.kill()
        if self._maker_error is not None:
            raise EncoreError(f"the bars cannot be made again: {self._maker_error}") from self._maker_error
        if self._trouble:
            raise EncoreError(self._trouble)

    def _setup(self) -> pipes.StageSetup:
        machine = self._machine
        return pipes.StageSetup(
            sync="internal",
            port_name=machine.port_name,
            midi_api=machine.midi_api,
            connect=machine.connect or None,
            meter=self._meter,
            tempo_bpm=self._transport.tempo_bpm,
            channels=tuple(sorted({note.channel for note in self._recorded.notes})) or (0,),
            latency_ms=machine.latency_ms,
            end_bar=self._bars,
            soundfont=str(self._soundfont) if self._soundfont is not None else None,
            audio_driver=machine.audio_driver,
        )

    def _tempo_at_start(self) -> float:
        tempo_bpm = 120.0
        while self._tempos and self._tempos[0][0] <= 0:
            tempo_bpm = self._tempos.popleft()[1]
        return tempo_bpm

    # The maker's thread.

    def _make(self) -> None:
        try:
            for page in pages_of(self._count(self._made), self._meter, self._bars):
                self._room.acquire()
                self._pages.append(page)
                if self._over.is_set():
                    return
        except Exception as error:  # whatever it is, the loop says it and ends the play
            self._maker_error = error
        self._is_all_made = True

    def _count(self, made: Iterator[Again]) -> Iterator[Again]:
        for again in made:
            self.other_bars += not again.is_same
            yield again

    # The loop.

    def _turn(self) -> None:
        assert self._stage is not None
        if self._maker_error is not None:
            self._over.set()
        while self._is_ready and self._pages:
            page = self._pages.popleft()
            silence = Bar(page.index + 1, meter=self._meter)
            programs = programs_in(self._recorded, page.index)
            self._stage.send(pipes.PlayBar(page, page.index + 1, silence, programs))
            self._sent += 1
        is_enough = self._sent >= min(READY_BARS, self._bars)
        if self._is_ready and is_enough and not self._is_started:
            self._is_started = True
            self._stage.send(pipes.TransportCommand("start"))
        while self._tempos and self._is_started and self._position() >= self._tempos[0][0]:
            self._stage.send(pipes.TransportCommand("tempo", self._tempos.popleft()[1]))

    def _position(self) -> float:
        state = self._transport
        if not state.is_rolling:
            return -1
        return state.tick + (time.monotonic_ns() - state.at_ns) * state.tempo_bpm * PPQN / NS_PER_MINUTE

    def _heard(self, message: object) -> None:
        if isinstance(message, pipes.StageReady):
            if not self._is_ready:
                self._say(f"playing into {message.output_port or 'no port'}")
            if message.advice:
                self._say(message.advice)
            self._is_ready = True
        elif isinstance(message, pipes.TransportState):
            was_rolling, self._transport = self._transport.is_rolling, message
            if was_rolling and not message.is_rolling:
                self._over.set()
        elif isinstance(message, pipes.BarStarted):
            self._begun = message.bar.index
            self.late_bars += message.is_fallback
            self._room.release()
        elif isinstance(message, pipes.Fault):
            self._trouble = "" if self._is_ready else message.text
            self._say(message.text)

    def _gone(self) -> None:
        if not self._over.is_set():
            self._trouble = self._trouble or "the stage process ended"
            self._over.set()

    async def _ping(self) -> None:
        while self._stage is not None:
            self._stage.send(pipes.Ping())
            await asyncio.sleep(PING_S)


def pages_of(made: Iterator[Again], meter: Meter, bars: int) -> Iterator[Bar]:
    """What was made, as bars of the recording from 0 to `bars`, each as soon as it is known; where several began at
    one line they are one."""
    index, notes = 0, list[Note]()
    for again in made:
        place = again.line_tick // meter.ticks_per_bar
        while index < place:
            yield Bar(index, tuple(sorted(notes)), meter)
            index, notes = index + 1, []
        notes += [_in_bar(note, index, meter) for note in again.notes if note.duration_ticks > 0]
    while index < bars:
        yield Bar(index, tuple(sorted(notes)), meter)
        index, notes = index + 1, []


def programs_in(recorded: RecordedSet, index: int) -> tuple[tuple[int, int], ...]:
    """(channel, program) as the recording has them in a bar."""
    end_tick = recorded.script.meter.tick_of_bar(index + 1)
    return tuple(sorted({channel: program for tick, channel, program in recorded.programs if tick < end_tick}.items()))


def _in_bar(note: SetNote, index: int, meter: Meter) -> Note:
    return Note(note.on_tick - meter.tick_of_bar(index), note.pitch, note.duration_ticks, note.velocity, note.channel)


def play_again(
    recorded: RecordedSet,
    made: Iterator[Again],
    machine: Machine,
    soundfont: Path | None,
    say: Callable[[str], None],
) -> Encore:
    """Plays it, heard through a SoundFont too if there is one. Raises EncoreError."""
    encores: list[Encore] = []

    async def run() -> None:
        encores.append(Encore(recorded, made, machine, soundfont, say))
        await encores[0].play()

    asyncio.run(run())
    return encores[0]
