"""The daemon: one asyncio loop that wires OSC, controls, planner, recorder and dashboard to the two
processes that make and play the music. Imports no torch and touches no MIDI port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from fractal_live import feedback
from fractal_live.dashboard import UPDATES_PER_SECOND, Dashboard, DashboardState, svg_of
from fractal_live.live.controls import Controls, Outcome
from fractal_live.live.planner import Offer, Planner
from fractal_live.live.recorder import Recorder
from fractal_live.music.request import BarReply, ModelFault, ModelReady, ModelSetup
from fractal_live.ports import pipes
from fractal_live.ports.osc_in import OscIn, open_osc_in
from fractal_live.ports.osc_out import OscOut
from fractal_live.processes import Child
from fractal_live.settings import RunSettings
from fractal_live.status import Status

log = logging.getLogger(__name__)

STAGE_ENTRY = "fractal_live.stage"
MODEL_ENTRY = "fractal_live.baselines.door"
TICK_S = 0.02
PING_S = 0.2
STATE_OUT_S = 0.1
TEMPO_STEP_BPM = 0.25
MODEL_REST_S = 0.25  # after a request it could not answer, which would fail again at once
MODEL_START_S = 120.0
STAGE_START_S = 20.0
MODEL_DEADLINE_S = 20.0
SHUTDOWN_S = 3.0
STAGE_SILENCE_S = 3.0
RESTART_S = 1.0


class DaemonError(RuntimeError):
    """The instrument cannot start or go on; the message says why and what to do."""


class Daemon:
    """One run of the instrument: `await run()`. Everything here happens on the event loop."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        patch = settings.patch
        self.controls = Controls(patch.controls, patch.plan, settings.seed)
        self.planner = Planner(patch.meter, leader_sets_tempo=settings.sync != "internal")
        self.planner.controls_changed(self.controls.snapshot)
        self.recorder = Recorder(settings.record, patch.meter, patch.tempo_bpm, patch.title)
        self.osc_out = OscOut(patch.osc_out)
        self.osc_in: OscIn | None = None
        self.status = Status(pipes.TransportState(False, 0, patch.tempo_bpm, False, time.monotonic_ns()))
        self.is_ready = False
        self.is_recorded = True  # set on leaving: false when the disk refused the recording
        self.model_restarts = 0
        self.stage_restarts = 0
        self._stage: Child | None = None
        self._model: Child | None = None
        self._was_model_ready = False  # before, its end is a reason not to begin; after, the set goes on
        self._was_stage_ready = False
        self._asked_s = 0.0
        self._over = asyncio.Event()
        self._reason: BaseException | None = None
        self._last_error_s: dict[str, float] = {}
        self._wakes = asyncio.Event()
        self._is_started = False
        self._starts_when_fresh = False
        self._last_frame: DashboardState | None = None
        self._dashboard: Dashboard | None = None
        self._saving: asyncio.Future[bool] | None = None
        self._recorded_bpm = patch.tempo_bpm
        self._model_rests_until_s = 0.0

    # Life.

    async def run(self) -> None:
        """Starts the processes, plays until asked to stop, leaves nothing sounding. Raises DaemonError."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # SIGHUP: the terminal's window was closed
            with contextlib.suppress(NotImplementedError, AttributeError):  # Windows: Ctrl-C is KeyboardInterrupt
                number = getattr(signal, name)
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    loop.add_signal_handler(number, self._asked_to_leave)
        if hasattr(signal, "SIGTSTP"):
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # Ctrl-Z would halt the set with its notes sounding
        transport, self.osc_in = await open_osc_in(self._on_osc, settings.machine.osc_host, settings.machine.osc_port)
        try:
            self._start_model()
            self._start_stage()
            with Dashboard() if settings.shows_dashboard else contextlib.nullcontext() as self._dashboard:
                await asyncio.gather(self._play(), self._show(), self._ping(), self._tell())
        finally:
            transport.close()
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
        self._wakes.set()

    async def _leave(self) -> None:
        self._over.set()
        for child in (self._stage, self._model):
            if child is not None and not child.is_gone:
                child.send(pipes.Shutdown()) if child is self._stage else child.connection.close()
        if self._stage is not None:
            await asyncio.to_thread(self._stage.process.join, SHUTDOWN_S)
            await asyncio.sleep(0.05)  # what the stage said last is still to be recorded
        for child in (self._stage, self._model):
            if child is not None:
                child.kill()
        if self._saving is not None:
            await self._saving
        self.is_recorded = self.recorder.close() or not self.recorder.notes
        self.osc_out.close()
        if self.settings.picture is not None and self._last_frame is not None:
            try:
                self.settings.picture.write_text(svg_of(self._last_frame), encoding="utf-8")
            except OSError as error:
                self._end(DaemonError(f"the picture could not be written: {error}"))

    # The two processes.

    def _start_model(self) -> None:
        setup = ModelSetup(str(self.settings.checkpoint), self.settings.machine.device, self.settings.machine.threads)
        self.status.model = None
        self._asked_s = time.monotonic()
        self._model = Child.start("model", MODEL_ENTRY, setup, self._on_model, self._model_gone)

    def _start_stage(self) -> None:
        patch, machine = self.settings.patch, self.settings.machine
        setup = pipes.StageSetup(
            sync=self.settings.sync,
            port_name=machine.port_name,
            midi_api=machine.midi_api,
            connect=machine.connect or None,
            clock_port=machine.clock_port or None,
            meter=patch.meter,
            tempo_bpm=self.status.transport.tempo_bpm,
            channel=patch.channel,
            latency_ms=machine.latency_ms,
            clock_loss=machine.clock_loss,
            end_bar=self.settings.bars,
        )
        self.status.stage = None
        self._stage = Child.start("stage", STAGE_ENTRY, setup, self._on_stage, self._stage_gone)

    def _model_gone(self) -> None:
        """The set goes on without it; a new one is asked for what is missing."""
        if self._over.is_set():
            return
        if not self._was_model_ready:
            return self._end(self._unbegun("model"))
        self.planner.request_failed()
        self.model_restarts += 1
        self._report("the model process died; it is being started again, fallbacks play meanwhile")
        if self._model is not None:
            self._model.kill()
        self.status.model = None
        self._start_again(self._start_model)

    def _stage_gone(self) -> None:
        if self._over.is_set():
            return
        if not self._was_stage_ready:
            return self._end(self._unbegun("stage"))
        self.stage_restarts += 1
        self._report("the stage process died; it is being started again")
        if self._stage is not None:
            self._stage.kill()
        if self.settings.sync == "internal" and self.status.transport.is_rolling:
            self._starts_when_fresh = True  # nobody else would start it; it plays from the top
        if self.status.stage is None:
            self._start_again(self._start_stage)  # it could not even begin: a pause before the next try
        else:
            self._start_stage()

    def _unbegun(self, name: str) -> DaemonError:
        """Why a process that was never ready ended: its own last word, if it had one."""
        return DaemonError(
            self.status.errors[-1] if self.status.errors else f"the {name} process ended while it started"
        )

    def _start_again(self, start: Callable[[], None]) -> None:
        """After a pause, so that what dies at once does not eat the processor."""

        def start_if_on() -> None:
            if not self._over.is_set():
                start()

        asyncio.get_running_loop().call_later(RESTART_S, start_if_on)

    def _on_model(self, message: object) -> None:
        if isinstance(message, ModelReady):
            self.status.model = message
            self._was_model_ready = True
            log.info("the model is warm on %s: a bar takes %.0f ms", message.device, message.bar_ns / 1e6)
            self.planner.took_ns.append(message.bar_ns)
        elif isinstance(message, BarReply):
            offer = self.planner.answered(message)
            if offer is not None:
                self._send_offer(offer)
            if not self.is_ready and self.planner.lead_bars >= self.controls.snapshot.lead_bars:
                self.is_ready = True
                log.info("ready: the first %d bars wait at the port", self.planner.lead_bars)
        elif isinstance(message, ModelFault):
            self.planner.request_failed()
            self._model_rests_until_s = time.monotonic() + MODEL_REST_S
            self._trouble(message.text, is_fatal=not self._was_model_ready)
        self._wakes.set()

    def _on_stage(self, message: object) -> None:
        if isinstance(message, pipes.Sounded):
            self.recorder.sounded(message.tick, message.message)
            feedback.tell_note(self.osc_out, message)
        elif isinstance(message, pipes.TransportState):
            self._transport_moved(message)
        elif isinstance(message, pipes.BarStarted):
            self._bar_began(message)
        elif isinstance(message, pipes.StageHealth):
            self.status.health = message
        elif isinstance(message, pipes.StageReady):
            self._stage_is_ready(message)
        elif isinstance(message, pipes.Fault):
            self._trouble(message.text, is_fatal=not self._was_stage_ready)

    def _stage_is_ready(self, message: pipes.StageReady) -> None:
        self.status.stage = message
        self._was_stage_ready = True
        if message.advice:
            self._report(message.advice)
        for offer in self.planner.offers():
            self._send_offer(offer)
        self._wakes.set()

    def _transport_moved(self, state: pipes.TransportState) -> None:
        was_rolling, self.status.transport = self.status.transport.is_rolling, state
        bar_index = self.settings.patch.meter.bar_at(state.tick)[0]
        if state.is_rolling != was_rolling:
            if state.is_rolling:
                self.recorder.jumped_to(state.tick)
            self.osc_out.send("/fractal/out/playing", float(state.is_rolling))
        if state.is_rolling:  # a position that is only set, in a DAW that stands, is no time that passes
            self._record_tempo(state)
        self.planner.transport_moved(state.is_rolling, bar_index, state.tempo_bpm)
        if was_rolling and not state.is_rolling:
            self._save_recording()
            if self.settings.bars is not None and bar_index >= self.settings.bars:
                self._end()
        self._wakes.set()

    def _bar_began(self, message: pipes.BarStarted) -> None:
        self.planner.bar_began(message.bar, message.version, message.is_fallback)
        self.controls.playhead_in(message.bar.index)
        self._controls_moved()  # curves are laid anew when the position jumped back
        self._save_recording()
        feedback.tell_bar(self.osc_out, message.bar.index, self.planner.plan())
        if self.settings.sync == "internal":
            self._follow_plan_tempo()
        self._wakes.set()

    def _record_tempo(self, state: pipes.TransportState) -> None:
        """A follower's tempo trembles with the leader's clocks; what is written is what a listener would notice."""
        is_true = state.is_locked or self.settings.sync == "internal"
        if is_true and abs(state.tempo_bpm - self._recorded_bpm) >= TEMPO_STEP_BPM:
            self._recorded_bpm = state.tempo_bpm
            self.recorder.tempo_at(state.tick, state.tempo_bpm)

    def _save_recording(self) -> None:
        """At most once a bar; the disk is waited for in another thread."""
        if self._saving is not None and not self._saving.done():
            return
        if self._saving is not None and not self._saving.result():
            self._report(self.recorder.last_error)
            self._saving = None
        data = self.recorder.due()
        if data is not None:
            self._saving = asyncio.get_running_loop().run_in_executor(None, self.recorder.write, data)

    def _follow_plan_tempo(self) -> None:
        """With our own clock a held plan tempo is the tempo."""
        given = float(self.controls.snapshot.plan_from(max(0, self.planner.position))[0, 1])
        if given == given and self._stage is not None:  # NaN: nothing is held
            self._stage.send(pipes.TransportCommand("tempo", given))

    def _send_offer(self, offer: Offer) -> None:
        if self._stage is not None:
            self._stage.send(pipes.PlayBar(offer.bar, offer.version, offer.fallback))

    # The performer.

    def _on_osc(self, address: str, arguments: Sequence[object], peer: tuple[str, int]) -> None:
        outcome = self.controls.apply(address, arguments, time.monotonic_ns())
        shown = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in arguments[:3])
        self.status.last_osc = f"{address} {shown}".strip()[:70]
        if outcome.error:
            self._report(outcome.error)
        if outcome.changed:
            self._controls_moved()
            if self.settings.sync == "internal" and "plan_tempo" in outcome.changed:
                self._follow_plan_tempo()
            self._wakes.set()
        if outcome.action is not None:
            self._act(outcome, peer)

    def _controls_moved(self) -> None:
        for offer in self.planner.controls_changed(self.controls.snapshot):
            self._send_offer(offer)

    def _act(self, outcome: Outcome, peer: tuple[str, int]) -> None:
        action, argument = outcome.action, outcome.argument
        if action == "subscribe":
            port = int(argument) if argument else peer[1]
            if not self.osc_out.subscribe(peer[0], port):
                self._report(f"no more subscribers: {peer[0]} port {port} is not told anything")
        elif action == "query":
            self._tell_state()
        elif action in ("generate", "reroll"):
            at = self.status.transport.tick if self.status.transport.is_rolling else None
            self.recorder.mark(at, f"{action} {argument or ''}".strip())
            # Led by OSC bangs, a new cycle asked for while nothing rolls is meant to be heard.
            self._starts_when_fresh = (
                action == "generate" and self.settings.sync == "osc" and not self.status.transport.is_rolling
            )
        elif self._stage is not None and action is not None:
            self._stage.send(pipes.TransportCommand(action, argument or 0.0))

    def _trouble(self, text: str, is_fatal: bool) -> None:
        """What a child says went wrong. Before it is ready it will leave, and this is the reason given then."""
        if is_fatal:
            self.status.errors.append(text)
        else:
            self._report(text)

    def _report(self, text: str) -> None:
        """An error for the performer: shown, logged and sent out, each text at most once a second."""
        now_s = time.monotonic()
        if now_s - self._last_error_s.get(text, -1.0) < 1.0:
            return
        if len(self._last_error_s) > 64:
            self._last_error_s.clear()
        self._last_error_s[text] = now_s
        self.status.errors.append(text)
        log.warning("%s", text)
        self.osc_out.send("/fractal/out/error", text)

    # The tasks.

    async def _play(self) -> None:
        """Keeps the model busy with what is wanted next."""
        while not self._over.is_set():
            with self._carrying_on("planning"):
                self._start_when_ready()
                self._watch_children()
                self._ask_for_next()
            self._wakes.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wakes.wait(), TICK_S)

    def _ask_for_next(self) -> None:
        is_resting = time.monotonic() < self._model_rests_until_s
        if self.status.model is not None and self._model is not None and not is_resting:
            request = self.planner.next_request(self._ns_to_next_bar())
            if request is not None:
                self._asked_s = time.monotonic()
                self._model.send(request)

    @contextlib.contextmanager
    def _carrying_on(self, what: str) -> Iterator[None]:
        """A mistake of ours in one turn of a task is shown and logged; the show goes on with the next turn."""
        try:
            yield
        except Exception as error:
            log.exception("%s failed", what)
            self._report(f"{what} failed: {type(error).__name__}: {error}")

    def _start_when_ready(self) -> None:
        """With our own clock the music begins as soon as the first bars are there; after a generate while an OSC
        leader is silent, as soon as the new cycle's are."""
        if self._starts_when_fresh and self.planner.is_start_fresh and self._stage is not None:
            self._starts_when_fresh = False
            self._stage.send(pipes.TransportCommand("start"))
        if (
            self.settings.sync == "internal"
            and self.is_ready
            and self.status.stage is not None
            and not self._is_started
        ):
            assert self._stage is not None
            self._is_started = True
            self._stage.send(pipes.TransportCommand("start"))

    def _watch_children(self) -> None:
        now_s = time.monotonic()
        if self._model is not None and not self._model.is_gone:
            limit = MODEL_START_S if self.status.model is None else MODEL_DEADLINE_S
            is_waiting = self.status.model is None or self.planner.in_flight is not None
            if is_waiting and now_s - self._asked_s > limit:
                self._report("the model does not answer; it is being started again")
                self._model.process.kill()
        if self._stage is not None and not self._stage.is_gone:
            limit = STAGE_START_S if self.status.stage is None else STAGE_SILENCE_S
            if now_s - self._stage.last_heard_s > limit:
                self._report("the stage does not answer; it is being started again")
                self._stage.process.kill()

    def _ns_to_next_bar(self) -> int | None:
        if not self.status.transport.is_rolling:
            return None
        meter = self.settings.patch.meter
        ns_per_tick = 60e9 / (self.status.transport.tempo_bpm * 480)
        tick = self.status.transport.tick + (time.monotonic_ns() - self.status.transport.at_ns) / ns_per_tick
        return round((meter.ticks_per_bar - tick % meter.ticks_per_bar) * ns_per_tick)

    async def _ping(self) -> None:
        while not self._over.is_set():
            if self._stage is not None:
                self._stage.send(pipes.Ping())
            await asyncio.sleep(PING_S)

    async def _show(self) -> None:
        while not self._over.is_set():
            with self._carrying_on("the dashboard"):
                frame = self.status.frame(self.settings, self.planner, self.controls, self.osc_in)
                if self._dashboard is not None:
                    self._dashboard.update(frame)
                if frame.is_rolling:
                    self._last_frame = frame
            await asyncio.sleep(1 / UPDATES_PER_SECOND)

    async def _tell(self) -> None:
        while not self._over.is_set():
            with self._carrying_on("telling the subscribers"):
                self._tell_state()
            await asyncio.sleep(STATE_OUT_S)

    def _tell_state(self) -> None:
        feedback.tell_state(
            self.osc_out, self.settings.patch.meter, self.status.transport, self.status.health, self.planner.lead_bars
        )


def play(settings: RunSettings) -> Daemon:
    """Runs the instrument until it is asked to stop. Raises DaemonError or OscPortError before the show."""
    daemon: list[Daemon] = []

    async def run() -> None:
        daemon.append(Daemon(settings))
        await daemon[0].run()

    asyncio.run(run())
    return daemon[0]
