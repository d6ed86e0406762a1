"""The stage process: bars in ticks go in, notes leave at their nanosecond.

A small heap, one loop thread that hands messages over a little ahead of their time, and around it threads
that only carry: the sender, the pipe's reader and writer, the MIDI driver's callback. If the daemon dies, the
stage closes every note and leaves.
"""

from __future__ import annotations

import gc
import select
import signal
import threading
import time
from collections import deque
from multiprocessing.connection import Connection

from fractal_live.live.player import Player
from fractal_live.live.scheduler import NOTE_OFF, Scheduler
from fractal_live.live.transport import Transport
from fractal_live.ports import pipes
from fractal_live.ports.listening import Listening, Synth, open_synth
from fractal_live.ports.midi_out import MidiOut
from fractal_live.ports.midi_system import PortError
from fractal_live.ports.pipe_ends import PipeEnds
from fractal_live.ports.port_keeper import MidiPorts, PortKeeper, no_ports, open_ports
from fractal_live.ports.priority import REALTIME, ask_for_priority
from fractal_live.ports.wake_up import WakeUp

STATE_EVERY_NS = 100_000_000
HEALTH_EVERY_NS = 500_000_000
PING_LIMIT_NS = 1_000_000_000
FIRST_PING_LIMIT_NS = 30_000_000_000  # the daemon may still be starting
LEAST_WAIT_NS = 500_000  # where there is no hurry: what is due soon is handed over well before
FIRST_SYSTEM_STATUS = 0xF0
CLOCK_LEAD_IN_NS = 5_000_000  # MIDI 1.0: those who follow need a millisecond between Start and the first clock
OWN_STALL_NS = 400_000_000  # a loop this late cannot blame the daemon for its silence


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
    is_realtime = priority == REALTIME
    try:
        synth = None if setup.soundfont is None else open_synth(setup.soundfont, setup.audio_driver)
    except PortError as trouble:
        if not setup.is_restart:
            return _give_up(ends, trouble)
        synth = None  # in the middle of a set the port is what counts
        ends.send(pipes.Fault(str(trouble)))
    try:
        ports = open_ports(setup, wake.poke, is_realtime)
    except PortError as trouble:
        if not setup.is_restart:
            if synth is not None:
                synth.close()
            return _give_up(ends, trouble)
        ports = no_ports(wake.poke, is_realtime, str(trouble))  # in the middle of a set it is waited for
    keeper = PortKeeper(lambda: open_ports(setup, wake.poke, is_realtime), wake.poke)
    stage = Stage(setup, ends, wake, ports, keeper, priority, synth)
    if is_main_thread:
        signal.signal(signal.SIGTERM, lambda signum, frame: stage.leave())
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
        ports: MidiPorts,
        keeper: PortKeeper,
        priority: str = "normal",
        synth: Synth | None = None,
    ) -> None:
        self._ends = ends
        self._wake = wake
        self._ports = ports
        self._keeper = keeper
        self._priority = priority
        self._to_close = list(setup.closing)  # what a synthesizer may still play that no port reached any more
        self._scheduler = Scheduler(setup.meter, setup.channels)
        latency_ns = round(setup.latency_ms * 1e6)  # positive is later
        lead_in_ns = CLOCK_LEAD_IN_NS + max(-latency_ns, 0) if setup.sends_clock else 0
        self._transport = Transport(
            setup.sync, setup.meter, setup.tempo_bpm, setup.clock_loss, setup.end_bar, lead_in_ns
        )
        self._listening = None if synth is None else Listening(synth, ports.output, priority == REALTIME)
        output = ports.output if self._listening is None else self._listening
        self._player = Player(
            self._transport, self._scheduler, output, latency_ns, setup.sends_clock, on_change=self._tell_state
        )
        self._rolled = None if setup.rolling_tick is None else (setup.rolling_tick, setup.rolling_at_ns)
        self._is_leaving = False
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
        self._keeper.start(self._ports)
        self._say_ports(self._ports.output.advice)
        self._close_leftovers()
        try:
            while not self._is_leaving:
                self._take_midi()
                self._play()  # before everything that can wait
                self._take_commands()
                self._play()
                self._mind_ports()
                now_ns = time.monotonic_ns()
                if now_ns >= self._next_state_ns:
                    self._tell_state()
                self._report_health(now_ns)
                self._check_daemon(now_ns)
                self._wait()
        except Exception as trouble:
            self._ends.send(pipes.Fault(f"the stage failed: {trouble!r}"))
            raise
        finally:
            if self._ports.is_lost:  # nothing can be closed: the daemon knows what sounds, and the next stage is told
                self._ends.close()  # first: RtMidi takes a second, all of ours with it, to leave a dead server
            else:
                self._player.silence()
                self._tell_played()
            self._keeper.close()  # after the notes: its thread may be busy with a port
            if self._listening is not None:
                self._listening.close()
            self._ports.close()
            self._ends.close()

    # What comes in

    def _take_midi(self) -> None:
        """What has come in, each message not before its time: JACK tells of a whole cycle when that begins."""
        received, now_ns = self._ports.midi_in.received, time.monotonic_ns()
        while received and received[0][0] <= now_ns:
            arrived_ns, message = received.popleft()
            if not self._player.hear(message, arrived_ns):
                self._ends.send(pipes.ControlInput(message, arrived_ns))

    def _take_commands(self) -> None:
        for message in self._ends.take():
            now_ns = time.monotonic_ns()
            self._ping_deadline_ns = now_ns + PING_LIMIT_NS
            if isinstance(message, pipes.PlayBar):
                self._scheduler.offer(message.bar, message.version, message.fallback, message.programs)
            elif isinstance(message, pipes.ForgetBars):
                self._scheduler.forget(message.indices)
            elif isinstance(message, pipes.TransportCommand):
                self._obey(message, now_ns)
            elif isinstance(message, pipes.LinkState):
                self._player.link(message.tempo_bpm, message.beat, message.at_ns, message.is_playing, now_ns)
            elif isinstance(message, pipes.Shutdown):
                self._is_leaving = True
        if self._ends.is_closed:
            self._is_leaving = True

    def _obey(self, command: pipes.TransportCommand, now_ns: int) -> None:
        rolled = self._rolled
        if command.kind in ("take_up", "start", "stop", "continue"):
            self._rolled = None
        if command.kind == "take_up":
            if rolled is not None:
                self._player.take_up(*rolled, now_ns)
        elif not self._player.command(command.kind, command.value, now_ns):
            self._fault(f"the stage does not know the transport command {command.kind!r}")

    # What goes out

    def _play(self) -> None:
        self._player.play(time.monotonic_ns())
        self._tell_played()

    def _tell_played(self) -> None:
        news: list[object] = [
            pipes.BarStarted(begun.bar, begun.version, begun.is_fallback) for begun in self._player.take_begun()
        ]
        news += [pipes.Sounded(tick, message) for tick, message in self._player.take_sounded()]
        if news:
            self._ends.send_all(news)

    def _fault(self, text: str) -> None:
        self._player.telemetry.count("faults")
        if text not in self._faults:
            self._faults.append(text)

    def _tell_state(self) -> None:
        """At every change, however fast they come (a DAW's loop is three in one breath), and now and then."""
        self._tell_played()  # what was before the change, before it
        transport, now_ns = self._transport, time.monotonic_ns()
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
            telemetry = self._player.telemetry
            lateness = telemetry.lateness(now_ns)
            self._ends.send(
                pipes.StageHealth(
                    lateness_p50_ns=lateness.p50_ns,
                    lateness_p99_ns=lateness.p99_ns,
                    lateness_max_ns=lateness.max_ns,
                    underruns=self._scheduler.underruns,
                    sounding=self._scheduler.sounding,
                    sent=telemetry.counts["sent"],
                    dropped_clocks=self._transport.dropped_clocks,
                    lateness_bins=tuple(telemetry.bins),
                    lateness_worst_ns=telemetry.worst_ns,
                    xruns=self._ports.output.xruns,
                    faults=telemetry.counts["faults"],
                    ignored_song_positions=self._transport.ignored_song_positions,
                )
            )
            faults = self._ports.output.faults
            while faults:
                self._fault(faults.popleft())
            self._tell_faults()

    def _tell_faults(self) -> None:
        while self._faults:
            self._ends.send(pipes.Fault(self._faults.popleft()))

    # Ports that go and come

    def _mind_ports(self) -> None:
        if self._ports.is_lost and not self._is_leaving:
            self._lose_ports()
        opened = self._keeper.take()
        if opened is not None:
            self._use(opened)
            self._say_ports(f"MIDI goes out at {opened.output.name} now.")
            self._close_leftovers()
        unplugged = self._keeper.take_unplugged()
        if unplugged is not None:
            self._fault(f"the MIDI port {unplugged} has gone; it is plugged in again as soon as it is back")
            self._tell_faults()
        if self._ports.output.take_heard():
            self._player.lead_anew()
        replugged = self._keeper.take_replugged()
        if replugged is not None:
            # Whatever sounded there when it went: nobody knows how much of it was closed.
            self._player.silence()
            for channel in sorted(self._scheduler.channels):
                self._ports.output.send([bytes((NOTE_OFF | channel, pitch, 0)) for pitch in range(128)])
            self._fault(f"the MIDI port {replugged} is back")

    def _lose_ports(self) -> None:
        """The server has gone. JACK's own ports are opened again here; RtMidi cannot do that, so another stage will."""
        self._fault("the JACK server has gone; the music goes on and is heard again when it is back")
        self._tell_faults()
        if isinstance(self._ports.output, MidiOut):
            self._is_leaving = True
            return
        lost = self._ports.output
        self._use(no_ports(self._wake.poke, self._priority == REALTIME))
        self._to_close += [message for message in lost.take_unsent() if message[0] < FIRST_SYSTEM_STATUS]
        self._say_ports()

    def _use(self, ports: MidiPorts) -> None:
        """From now on other ports; what sounds is closed on the old ones, as far as they still carry it."""
        self._player.silence()
        self._scheduler.forget_programs()
        if self._listening is None:
            self._player.output = ports.output
        else:
            self._listening.use(ports.output)
        self._ports = ports
        self._keeper.use(ports)

    def _close_leftovers(self) -> None:
        if self._to_close and not self._ports.is_waiting:
            self._ports.output.send_once_connected(self._to_close)
            self._to_close = []

    def _say_ports(self, advice: str = "") -> None:
        output, midi_in = self._ports
        self._ends.send(pipes.StageReady(output.name, midi_in.name, self._priority, advice, output.ahead_ns))

    # Waiting

    def _check_daemon(self, now_ns: int) -> None:
        """A daemon that says nothing for a second is dead or hung."""
        if now_ns - self._last_loop_ns > OWN_STALL_NS:
            self._ping_deadline_ns = max(self._ping_deadline_ns, now_ns + PING_LIMIT_NS)
        self._last_loop_ns = now_ns
        if now_ns > self._ping_deadline_ns:
            self._is_leaving = True

    def _wait(self) -> None:
        """Sleep until there is something to hand over or something comes in."""
        wake_ns = min(self._next_state_ns, self._next_health_ns)
        next_ns = self._player.next_ns()
        if next_ns is not None:
            wake_ns = min(wake_ns, next_ns)
        received = self._ports.midi_in.received
        if received:
            wake_ns = min(wake_ns, received[0][0])
        timeout_ns = max(wake_ns - time.monotonic_ns(), LEAST_WAIT_NS)
        if select.select([self._wake], [], [], timeout_ns * 1e-9)[0]:
            self._wake.clear()
