"""The stage process: bars in ticks go in, notes leave at their nanosecond.

A small heap, one loop thread that waits for the next due tick, and around it threads that only carry:
the pipe's reader and writer and the MIDI driver's callback. If the daemon dies, the stage closes every
note and leaves.
"""

from __future__ import annotations

import gc
import select
import signal
import threading
import time
from collections import deque
from multiprocessing.connection import Connection

from fractal_live.live.scheduler import NOTE_OFF, Scheduler
from fractal_live.live.telemetry import Telemetry
from fractal_live.live.transport import Change, Transport
from fractal_live.ports import pipes
from fractal_live.ports.midi_in import MidiIn, open_input
from fractal_live.ports.midi_out import Output, open_output
from fractal_live.ports.midi_system import PortError
from fractal_live.ports.pipe_ends import PipeEnds, WakeUp
from fractal_live.ports.priority import REALTIME, ask_for_priority

STATE_EVERY_NS = 100_000_000
HEALTH_EVERY_NS = 500_000_000
PING_LIMIT_NS = 1_000_000_000
FIRST_PING_LIMIT_NS = 30_000_000_000  # the daemon may still be starting
SPIN_NS = 700_000
REALTIME_SPIN_NS = 300_000  # what a timer's wake-up takes, even for the first in line
OWN_STALL_NS = 400_000_000  # a loop this late cannot blame the daemon for its silence

CLOCK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2


def main(connection: Connection) -> None:
    """Entry point of the process. The first message on `connection` is a StageSetup."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    if is_main_thread:
        # What a terminal sends to all of us belongs to the daemon: it sends Shutdown, or the broken pipe tells.
        for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGTSTP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        setup = connection.recv()
    except (EOFError, OSError):
        return
    if not isinstance(setup, pipes.StageSetup):
        raise TypeError(f"the first message to the stage is StageSetup, not {type(setup).__name__}")
    priority = ask_for_priority()  # before any thread begins, so that all of them have it
    wake = WakeUp()
    ends = PipeEnds(connection, wake)
    try:
        output = open_output(setup.port_name, setup.midi_api, setup.connect)
    except PortError as trouble:
        _give_up(ends, trouble)
        return
    try:
        midi_in = open_input(setup.port_name, wake.poke, setup.midi_api, setup.clock_port)
    except PortError as trouble:
        output.close()
        _give_up(ends, trouble)
        return
    stage = Stage(setup, ends, wake, output, midi_in, is_realtime=priority == REALTIME)
    if is_main_thread:
        signal.signal(signal.SIGTERM, lambda signum, frame: stage.leave())
    ends.send(pipes.StageReady(output.name, midi_in.name, priority, output.advice))
    gc.collect()
    gc.freeze()
    gc.disable()
    stage.run()


def _give_up(ends: PipeEnds, trouble: PortError) -> None:
    ends.send(pipes.Fault(str(trouble)))
    ends.close()


class Stage:
    """The loop. One thread runs it; `leave` may be called from anywhere."""

    def __init__(
        self,
        setup: pipes.StageSetup,
        ends: PipeEnds,
        wake: WakeUp,
        output: Output,
        midi_in: MidiIn,
        is_realtime: bool,
    ) -> None:
        self._ends = ends
        self._wake = wake
        self._output = output
        self._midi_in = midi_in
        self._spin_ns = REALTIME_SPIN_NS if is_realtime else SPIN_NS
        self._latency_ns = round(setup.latency_ms * 1e6)  # positive is later
        self._scheduler = Scheduler(setup.meter, setup.channel)
        self._transport = Transport(setup.sync, setup.meter, setup.tempo_bpm, setup.clock_loss, setup.end_bar)
        self._telemetry = Telemetry()
        self._is_leaving = False
        self._played_tick = 0
        self._rolling_since_ns = 0
        self._faults: deque[str] = deque(maxlen=8)
        self._next_state_ns = self._next_health_ns = 0
        self._ping_deadline_ns = self._last_loop_ns = 0

    def leave(self) -> None:
        """End the loop, with nothing sounding. From any thread or a signal."""
        self._is_leaving = True
        self._wake.poke()

    def run(self) -> None:
        """Until Shutdown, SIGTERM, or the daemon's silence."""
        self._last_loop_ns = time.monotonic_ns()
        self._ping_deadline_ns = self._last_loop_ns + FIRST_PING_LIMIT_NS
        try:
            while not self._is_leaving:
                self._take_midi()
                if self._next_state_ns == 0:
                    self._report_state()  # a change is told before what is played under it
                self._play()  # before everything that can wait
                now_ns = time.monotonic_ns()
                self._take_commands()
                self._apply(self._transport.poll(now_ns), now_ns)
                self._report_state()  # before what is played under it
                self._play()
                self._report_health(now_ns)
                self._check_daemon(now_ns)
                self._wait()
        except Exception as trouble:
            self._ends.send(pipes.Fault(f"the stage failed: {trouble!r}"))
            raise
        finally:
            self._close_notes(self._scheduler.silence())
            self._output.close()
            self._midi_in.close()
            self._ends.close()

    # What comes in

    def _take_midi(self) -> None:
        received = self._midi_in.received
        while received:
            arrived_ns, message = received.popleft()
            self._on_midi(arrived_ns, message)

    def _on_midi(self, now_ns: int, message: bytes) -> None:
        transport = self._transport
        status = message[0]
        if status == CLOCK:
            self._apply(transport.on_clock(now_ns), now_ns)
        elif status == START:
            self._apply(transport.on_start(now_ns), now_ns)
        elif status == CONTINUE:
            self._apply(transport.on_continue(now_ns), now_ns)
        elif status == STOP:
            self._apply(transport.on_stop(now_ns), now_ns)
        elif status == SONG_POSITION:
            if len(message) == 3:
                self._apply(transport.on_song_position(message[1] | message[2] << 7, now_ns), now_ns)
        else:
            self._ends.send(pipes.ControlInput(message, now_ns))

    def _take_commands(self) -> None:
        for message in self._ends.take():
            now_ns = time.monotonic_ns()
            self._ping_deadline_ns = now_ns + PING_LIMIT_NS
            if isinstance(message, pipes.PlayBar):
                self._scheduler.offer(message.bar, message.version, message.fallback)
            elif isinstance(message, pipes.TransportCommand):
                self._command(message, now_ns)
            elif isinstance(message, pipes.Shutdown):
                self._is_leaving = True
        if self._ends.is_closed:
            self._is_leaving = True

    def _command(self, command: pipes.TransportCommand, now_ns: int) -> None:
        transport = self._transport
        if command.kind == "start":
            self._apply(transport.start(now_ns), now_ns)
        elif command.kind == "continue":
            self._apply(transport.resume(now_ns), now_ns)
        elif command.kind == "stop":
            self._apply(transport.stop(now_ns), now_ns)
        elif command.kind == "tempo":
            transport.set_tempo(command.value, now_ns)
        elif command.kind == "trigger_bar":
            self._apply(transport.trigger_bar(now_ns), now_ns)
        elif command.kind == "clock_beat":
            self._apply(transport.clock_beat(now_ns), now_ns)
        elif command.kind == "panic":
            self._close_notes(self._scheduler.panic())
        else:
            self._fault(f"the stage does not know the transport command {command.kind!r}")
        self._next_state_ns = 0

    def _apply(self, change: Change | None, now_ns: int) -> None:
        """Do what a change of the transport asks for."""
        if change is None:
            return
        self._rolling_since_ns = now_ns
        position = self._transport.position(now_ns)
        if change is Change.LOCATED:
            self._close_notes(self._scheduler.locate(position))
            self._played_tick = position
        elif change is Change.STOPPED:
            self._played_tick = max(self._played_tick, position)
            self._close_notes(self._scheduler.silence())
        self._next_state_ns = 0
        self._report_state()  # each change is told, however fast they come: a DAW's loop is three in one breath

    # What goes out

    def _play(self) -> None:
        """Send everything that is due by now, a chord at a time."""
        transport = self._transport
        if not transport.is_rolling:
            return
        until = transport.timeline.tick_at(time.monotonic_ns() - self._latency_ns)
        if transport.stop_tick is not None:
            until = min(until, transport.stop_tick - 1)
        self._played_tick = until
        if self._scheduler.next_tick() > until:
            return
        due = self._scheduler.due(until)
        sent_ns = []
        for _, message in due:
            sent_ns.append(time.monotonic_ns())
            self._send(message)
        for (tick, _), at_ns in zip(due, sent_ns, strict=True):
            due_ns = transport.timeline.time_at(tick) + self._latency_ns
            self._telemetry.sent(max(due_ns, self._rolling_since_ns), at_ns)
        news: list[object] = [
            pipes.BarStarted(begun.bar, begun.version, begun.is_fallback) for begun in self._scheduler.take_begun()
        ]
        news += [pipes.Sounded(tick, message) for tick, message in due]
        self._ends.send_all(news)

    def _send(self, message: bytes) -> None:
        try:
            self._output.send(message)
        except PortError as trouble:
            self._fault(str(trouble))

    def _close_notes(self, messages: list[bytes]) -> None:
        """Send what ends the sounding notes, and say so as with every note message."""
        for message in messages:
            self._send(message)
        offs = [message for message in messages if message[0] & 0xF0 == NOTE_OFF]
        self._ends.send_all([pipes.Sounded(self._played_tick, message) for message in offs])

    def _fault(self, text: str) -> None:
        self._telemetry.count("faults")
        if text not in self._faults:
            self._faults.append(text)

    def _report_state(self) -> None:
        transport, now_ns = self._transport, time.monotonic_ns()
        if now_ns >= self._next_state_ns:
            self._next_state_ns = now_ns + STATE_EVERY_NS
            is_locked = transport.is_locked and not transport.is_clock_lost(now_ns)
            self._ends.send(
                pipes.TransportState(
                    transport.is_rolling, transport.position(now_ns), transport.tempo_bpm, is_locked, now_ns
                )
            )

    def _report_health(self, now_ns: int) -> None:
        if now_ns >= self._next_health_ns:
            self._next_health_ns = now_ns + HEALTH_EVERY_NS
            lateness = self._telemetry.lateness(now_ns)
            self._ends.send(
                pipes.StageHealth(
                    lateness_p50_ns=lateness.p50_ns,
                    lateness_p99_ns=lateness.p99_ns,
                    lateness_max_ns=lateness.max_ns,
                    underruns=self._scheduler.underruns,
                    sounding=self._scheduler.sounding,
                    sent=self._telemetry.counts["sent"],
                    dropped_clocks=self._transport.dropped_clocks,
                )
            )
            while self._faults:
                self._ends.send(pipes.Fault(self._faults.popleft()))

    # Waiting

    def _check_daemon(self, now_ns: int) -> None:
        """A daemon that says nothing for a second is dead or hung."""
        if now_ns - self._last_loop_ns > OWN_STALL_NS:
            self._ping_deadline_ns = max(self._ping_deadline_ns, now_ns + PING_LIMIT_NS)
        self._last_loop_ns = now_ns
        if now_ns > self._ping_deadline_ns:
            self._is_leaving = True

    def _next_due_ns(self) -> int | None:
        """When the next note or the end is due."""
        transport = self._transport
        if not transport.is_rolling:
            return None
        due_ns = transport.timeline.time_at(self._scheduler.next_tick()) + self._latency_ns
        other_ns = transport.next_ns()
        return due_ns if other_ns is None else min(due_ns, other_ns)

    def _wait(self) -> None:
        """Sleep until something is due or comes in; the last bit in a spin where sleeping is coarse."""
        due_ns = self._next_due_ns()
        wake_ns = min(self._next_state_ns, self._next_health_ns)
        is_music = due_ns is not None and due_ns - self._spin_ns < wake_ns
        sleep_until_ns = due_ns - self._spin_ns if due_ns is not None and is_music else wake_ns
        timeout_ns = sleep_until_ns - time.monotonic_ns()
        if self._is_woken_within(max(timeout_ns, 0) * 1e-9) or due_ns is None or not is_music:
            return
        while time.monotonic_ns() < due_ns:
            if self._is_woken_within(0):  # lends the interpreter lock to a callback that has a clock to stamp
                return

    def _is_woken_within(self, timeout_s: float) -> bool:
        readable, _, _ = select.select([self._wake], [], [], timeout_s)
        if readable:
            self._wake.clear()
        return bool(readable)
