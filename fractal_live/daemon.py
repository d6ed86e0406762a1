"""The daemon: one asyncio loop that wires the performer and the set to the two processes that make and play the music.
Imports no torch and touches no MIDI port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence

from fractal_live import memory
from fractal_live.announcer import BEAT_OUT_S, Announcer
from fractal_live.dashboard import UPDATES_PER_SECOND, Dashboard, DashboardState, svg_of
from fractal_live.link_leader import LinkLeader
from fractal_live.live.address_space import address_space
from fractal_live.live.control_table import KEEP
from fractal_live.live_set import LiveSet
from fractal_live.model_side import ModelSide
from fractal_live.performer import Performer
from fractal_live.playhead import Playhead
from fractal_live.ports import pipes
from fractal_live.ports.link_sync import LinkError
from fractal_live.ports.osc_in import open_osc_in
from fractal_live.ports.osc_out import Peer
from fractal_live.ports.osc_query import open_osc_query
from fractal_live.repertoire import Repertoire
from fractal_live.settings import RunSettings
from fractal_live.stage_side import StageSide
from fractal_live.transport_control import TransportControl

TICK_S = 0.02
PING_S = 0.2
STATE_OUT_S = 0.1
LINK_S = 0.02
TIDY_S = 30.0
SHUTDOWN_S = 3.0
OWN_STALL_S = 0.4  # a loop that comes this late has no right to say that others are


class DaemonError(RuntimeError):
    """The instrument cannot start or go on; the message says why and what to do."""


class Daemon:
    """One run of the instrument: `await run()`. Everything here happens on the event loop."""

    def __init__(self, settings: RunSettings) -> None:
        live = self.live_set = LiveSet(settings, time.monotonic_ns())
        self.settings, self.reporter = settings, live.reporter
        self.controls, self.planner, self.listening = live.controls, live.planner, live.listening
        self.status, self.osc_out, self.recording = live.status, live.osc_out, live.recording
        self.stage_side = StageSide(live, self._on_stage, self._never_began)
        self.model_side = ModelSide(live, self.stage_side, self._on_model, self._never_began)
        self.stage, self.model = self.stage_side.keeper, self.model_side.keeper
        self.transport_control = TransportControl(live, self.stage_side)
        self.playhead = Playhead(live, self.stage_side, self.transport_control)
        self.repertoire = Repertoire(live, self.stage_side)
        self.announcer = Announcer(live)
        self.performer = Performer(live, self.stage_side, self.transport_control, self.repertoire, self.announcer)
        self.is_recorded = True  # set on leaving: false when the disk refused the recording
        self._over = asyncio.Event()
        self._reason: BaseException | None = None
        self._last_frame: DashboardState | None = None
        self._dashboard: Dashboard | None = None
        self._watched_s = self._awake_since_s = time.monotonic()

    async def run(self) -> None:
        """Starts the processes, plays until asked to stop, leaves nothing sounding. Raises DaemonError."""
        settings, machine = self.settings, self.settings.machine
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # SIGHUP: the terminal's window was closed
            with contextlib.suppress(NotImplementedError, AttributeError):  # Windows: Ctrl-C is KeyboardInterrupt
                number = getattr(signal, name)
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    loop.add_signal_handler(number, self._asked_to_leave)
        if hasattr(signal, "SIGTSTP"):
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # Ctrl-Z would halt the set with its notes sounding
        if settings.sync == "link":
            try:
                self.live_set.link = LinkLeader.joined(settings.patch)
            except LinkError as error:
                raise DaemonError(str(error)) from error
        host, port, takes_time_tags = machine.osc_host, machine.osc_port, settings.patch.osc_time_tags
        transport, self.live_set.osc_in = await open_osc_in(
            self._obey_osc, host, port, KEEP, self.reporter.refused, takes_time_tags, self._after_burst
        )
        query: asyncio.Server | None = None
        try:
            if machine.osc_query_port:
                query = await open_osc_query(
                    lambda: address_space(self.controls.values()), host, machine.osc_query_port, port
                )
            self.model.start()
            self.stage.start()
            with Dashboard() if settings.shows_dashboard else contextlib.nullcontext() as self._dashboard:
                await asyncio.gather(
                    self._play(),
                    self._show(),
                    self._ping(),
                    self._tell(),
                    self._tell_beats(),
                    self._keep_link(),
                    self._tidy(),
                )
        finally:
            transport.close()
            if query is not None:
                query.close()
            await self._leave()
        if self._reason is not None:
            raise self._reason

    def _asked_to_leave(self) -> None:
        """The first Ctrl-C or SIGTERM ends the run in order; the second leaves at once (the stage closes its
        notes by itself when the pipe breaks)."""
        if self._over.is_set():
            if self._dashboard is not None:
                self._dashboard.__exit__(None, None, None)  # the terminal must not stay on its other screen
            os._exit(130)
        self._end()

    def _end(self, reason: BaseException | None = None) -> None:
        self._reason = self._reason or reason
        self._over.set()
        self.live_set.wakes.set()

    async def _leave(self) -> None:
        self._over.set()
        self.model.kill()
        self.stage.end()
        self.stage.send(pipes.Shutdown())
        if self.stage.child is not None:
            await asyncio.to_thread(self.stage.child.process.join, SHUTDOWN_S)
            await asyncio.sleep(0.05)  # what the stage said last is still to be recorded
        self.stage.kill()
        self.is_recorded = await self.recording.close()
        self.osc_out.close()
        if self.live_set.link is not None:
            self.live_set.link.session.close()
        if self.settings.picture is not None and self._last_frame is not None:
            try:
                self.settings.picture.write_text(svg_of(self._last_frame), encoding="utf-8")
            except OSError as error:
                self._end(DaemonError(f"the picture could not be written: {error}"))

    # What comes in.

    def _on_model(self, message: object) -> None:
        self.model_side.heard(message, time.monotonic())

    def _on_stage(self, message: object) -> None:
        if isinstance(message, pipes.Sounded):
            self.playhead.sounded(message)
        elif isinstance(message, pipes.TransportState):
            self.playhead.transport_moved(message)
            if self.playhead.is_at_end:
                self._end()
        elif isinstance(message, pipes.BarStarted):
            self.playhead.bar_began(message)
        elif isinstance(message, pipes.ControlInput):
            self.performer.play(message, time.monotonic_ns())
        elif isinstance(message, pipes.StageHealth):
            self.status.health = message
        elif isinstance(message, pipes.StageReady):
            self.stage_side.ready(message)
        elif isinstance(message, pipes.Fault):
            self.reporter.trouble(message.text, is_fatal=not self.stage.was_ready)

    def _never_began(self, name: str) -> None:
        """A process that was never ready has ended: its own last word says why, if it had one."""
        text = self.status.errors[-1] if self.status.errors else f"the {name} process ended while it started"
        self._end(DaemonError(text))

    def _obey_osc(self, address: str, arguments: Sequence[object], peer: Peer) -> None:
        self.performer.obey(address, arguments, peer, time.monotonic_ns())

    def _after_burst(self) -> None:
        self.performer.after_burst(time.monotonic_ns())

    # The tasks.

    async def _play(self) -> None:
        """Keeps the model busy with what is wanted next."""
        while not self._over.is_set():
            with self.reporter.carrying_on("planning"):
                self._after_burst()
                self._turn()
            self.live_set.wakes.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.live_set.wakes.wait(), TICK_S)

    def _turn(self) -> None:
        now_ns = time.monotonic_ns()
        self.transport_control.start_when_ready()
        self._watch_children(now_ns * 1e-9)
        self.model_side.ask_for_next(now_ns)
        self.model_side.insure(now_ns * 1e-9)

    def _watch_children(self, now_s: float) -> None:
        """What hangs is killed, and so begins again. While we stood still ourselves (the machine slept) nobody's
        silence was heard."""
        if now_s - self._watched_s > OWN_STALL_S:
            self._awake_since_s = now_s
        self._watched_s = now_s
        awake_s = now_s - self._awake_since_s
        self.model_side.watch(now_s, awake_s)
        self.stage_side.watch(awake_s)

    async def _ping(self) -> None:
        while not self._over.is_set():
            self.stage.send(pipes.Ping())
            self.model_side.ping()
            await asyncio.sleep(PING_S)

    async def _keep_link(self) -> None:
        while self.live_set.link is not None and not self._over.is_set():
            with self.reporter.carrying_on("Link"):
                self.transport_control.tell_link()
            await asyncio.sleep(LINK_S)

    async def _tidy(self) -> None:
        while not self._over.is_set():
            memory.tidy()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._over.wait(), TIDY_S)

    async def _show(self) -> None:
        while not self._over.is_set():
            with self.reporter.carrying_on("the dashboard"):
                frame = self.status.frame(self.settings, self.planner, self.controls, self.live_set.osc_in)
                if self._dashboard is not None:
                    self._dashboard.update(frame)
                self._last_frame = frame if frame.is_rolling else self._last_frame
            await asyncio.sleep(1 / UPDATES_PER_SECOND)

    async def _tell(self) -> None:
        began_s = time.monotonic()
        while not self._over.is_set():
            with self.reporter.carrying_on("telling the subscribers"):
                self.announcer.state()
                self.announcer.heartbeat(time.monotonic() - began_s)
            await asyncio.sleep(STATE_OUT_S)

    async def _tell_beats(self) -> None:
        """This is for eyes: what is heard is timed by the stage."""
        latency_ns = round(self.settings.machine.latency_ms * 1e6)
        while not self._over.is_set():
            wait_s = BEAT_OUT_S
            with self.reporter.carrying_on("telling the beat"):
                wait_s = self.announcer.beat(time.monotonic_ns() - latency_ns)
            await asyncio.sleep(wait_s)


def play(settings: RunSettings) -> Daemon:
    """Runs the instrument until it is asked to stop. Raises DaemonError or OscPortError before the show."""

    async def run() -> Daemon:
        daemon = Daemon(settings)
        memory.settle()
        await daemon.run()
        return daemon

    return asyncio.run(run())
