"""The daemon: one asyncio loop that wires OSC, controls, planner, recorder and dashboard to the two
processes that make and play the music. Imports no torch and touches no MIDI port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence

from fractal_live import feedback
from fractal_live.dashboard import UPDATES_PER_SECOND, Dashboard, DashboardState, svg_of
from fractal_live.keeper import Keeper
from fractal_live.link_leader import LinkLeader
from fractal_live.live.address_space import Node, address_space
from fractal_live.live.control_table import KEEP
from fractal_live.live.controls import Controls, Outcome
from fractal_live.live.listening import Listening
from fractal_live.live.midi_map import MidiHands
from fractal_live.live.planned import Offer
from fractal_live.live.planner import MARGIN_NS, Planner
from fractal_live.music.harmony import Chroma
from fractal_live.music.meter import PPQN
from fractal_live.music.plan import PlanTable
from fractal_live.music.request import (
    BarReply,
    BarRequest,
    InfillReply,
    InfillRequest,
    ModelFault,
    ModelPing,
    ModelReady,
    ModelSetup,
)
from fractal_live.patch_rack import PatchRack
from fractal_live.ports import pipes
from fractal_live.ports.link_sync import LinkError
from fractal_live.ports.osc_in import OscCounts, OscIn, open_osc_in
from fractal_live.ports.osc_out import OscOut, Peer
from fractal_live.ports.osc_query import open_osc_query
from fractal_live.processes import free_mb
from fractal_live.recording import Recording
from fractal_live.reporter import Reporter
from fractal_live.settings import Patch, RunSettings
from fractal_live.status import Status
from fractal_live.toml_values import SettingsError

log = logging.getLogger(__name__)

STAGE_ENTRY = "fractal_live.stage"
MODEL_ENTRY = "fractal_live.baselines.door"
TICK_S = 0.02
REPLAN_S = 0.04
PING_S = 0.2
STATE_OUT_S = 0.1
BEAT_OUT_S = 0.05
AFTER_LINE_S = 0.0005
HEARTBEAT_S = 1.0
LINK_S = 0.02
INSURE_S = 0.1  # between two looks at whether what plays without the model fits the controls
MODEL_REST_S = 0.25  # after a request it could not answer, which would fail again at once
MODEL_START_S = 120.0
STAGE_START_S = 20.0
MODEL_DEADLINE_S = 3.0  # or so many times what a bar usually takes:
MODEL_DEADLINE_BARS = 10
MODEL_SILENCE_S = 2.0  # it answers five pings a second, whatever it does
SPARE_AFTER_S = 5.0  # a spare model is begun when the one that plays has had time to catch up
SPARE_ROOM_MB = 1000.0  # and where so much memory is free: it takes a fifth of it
SHUTDOWN_S = 3.0
NOBODY = ("", 0)  # who plays by MIDI has no address that could be answered
OWN_STALL_S = 0.4  # a loop that comes this late has no right to say that others are
STAGE_SILENCE_S = 1.0  # it says where it is ten times a second


class DaemonError(RuntimeError):
    """The instrument cannot start or go on; the message says why and what to do."""


class Daemon:
    """One run of the instrument: `await run()`. Everything here happens on the event loop."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        patch = settings.patch
        self.controls = Controls(patch.controls, patch.plan, settings.seed)
        self.planner = Planner(patch.meter, settings.sync != "internal", patch.outfit)
        self.planner.controls_changed(self.controls.snapshot)
        self.hands = MidiHands(patch.midi_map)
        self.listening = Listening(patch.meter, patch.follow, patch.respond, patch.listen_channel)
        self.rack = PatchRack(patch, settings.patch_folder)
        self._changing: set[asyncio.Task[None]] = set()
        self.osc_out = OscOut(patch.osc_out)
        self.feedback = feedback.Feedback(self.osc_out, patch.meter)
        self.osc_in: OscIn | None = None
        self.link: LinkLeader | None = None
        self._plan_bpm = self._planned_bpm()
        self.status = Status(pipes.TransportState(False, 0, patch.tempo_bpm, False, time.monotonic_ns()))
        self.status.title = patch.title
        self.reporter = Reporter(self.status, self.osc_out)
        self.recording = Recording(settings, self.reporter.tell)
        self.is_ready = False
        self.is_recorded = True  # set on leaving: false when the disk refused the recording
        self.model = Keeper(
            "model", MODEL_ENTRY, self._model_setup, self._on_model, self._model_lost, self._never_began
        )
        self.stage = Keeper(
            "stage", STAGE_ENTRY, self._stage_setup, self._on_stage, self._stage_lost, self._never_began
        )
        self._asked_s = 0.0
        self._over = asyncio.Event()
        self._reason: BaseException | None = None
        self._wakes = asyncio.Event()
        self._is_started = False
        self._starts_when_fresh = False
        self._taken_up: pipes.TransportState | None = None  # where a stage was that died while it rolled
        self._last_frame: DashboardState | None = None
        self._dashboard: Dashboard | None = None
        self._sounding: set[tuple[int, int]] = set()  # (channel, pitch)
        self._moved: set[str] = set()  # controls that have changed and were not planned for yet
        self._planned_s = -REPLAN_S
        self._model_rests_until_s = self._insured_until_s = 0.0
        self._spare_wanted_s = math.inf
        self._watched_s = self._awake_since_s = time.monotonic()

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
        if settings.sync == "link":
            try:
                self.link = LinkLeader.joined(settings.patch)
            except LinkError as error:
                raise DaemonError(str(error)) from error
        host, port = settings.machine.osc_host, settings.machine.osc_port
        transport, self.osc_in = await open_osc_in(
            self._obey_osc, host, port, KEEP, self._on_refusal, settings.patch.osc_time_tags, self._after_burst
        )
        query: asyncio.Server | None = None
        try:
            if settings.machine.osc_query_port:
                query = await open_osc_query(self._address_space, host, settings.machine.osc_query_port, port)
            self.model.start()
            self.stage.start()
            with Dashboard() if settings.shows_dashboard else contextlib.nullcontext() as self._dashboard:
                await asyncio.gather(
                    self._play(), self._show(), self._ping(), self._tell(), self._tell_beats(), self._keep_link()
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
        self._wakes.set()

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
        if self.link is not None:
            self.link.session.close()
        if self.settings.picture is not None and self._last_frame is not None:
            try:
                self.settings.picture.write_text(svg_of(self._last_frame), encoding="utf-8")
            except OSError as error:
                self._end(DaemonError(f"the picture could not be written: {error}"))

    # The two processes.

    def _model_setup(self) -> ModelSetup:
        self._asked_s = time.monotonic()
        machine = self.settings.machine
        return ModelSetup(str(self.settings.checkpoint), machine.device, machine.threads, self.model.was_ready)

    def _stage_setup(self) -> pipes.StageSetup:
        patch, machine = self.settings.patch, self.settings.machine
        return pipes.StageSetup(
            sync=self.settings.sync,
            port_name=machine.port_name,
            midi_api=machine.midi_api,
            connect=machine.connect or None,
            clock_port=machine.clock_port or None,
            meter=patch.meter,
            tempo_bpm=self.status.transport.tempo_bpm,
            channels=self.planner.outfit.channels,
            latency_ms=machine.latency_ms,
            clock_loss=machine.clock_loss,
            end_bar=self.settings.bars,
            sends_clock=self.settings.sends_clock,
            rolling_tick=self._taken_up.tick if self._taken_up is not None else None,
            rolling_at_ns=self._taken_up.at_ns if self._taken_up is not None else 0,
            is_restart=self.stage.was_ready,
            soundfont=str(self.settings.soundfont) if self.settings.soundfont is not None else None,
            audio_driver=machine.audio_driver,
            closing=tuple(bytes((0x80 | channel, pitch, 0)) for channel, pitch in sorted(self._sounding)),
        )

    def _model_lost(self, text: str) -> None:
        """The set goes on without it, with the bars that are ready and then fallbacks; what is missing is asked of
        the next one, which needs to know nothing more."""
        self.status.model = None
        self.planner.request_failed()
        self.reporter.tell(text)

    def _stage_lost(self, text: str) -> None:
        self.status.stage = None
        if self.status.transport.is_rolling:
            self._taken_up = self.status.transport  # the next one goes on from where this one would be
        self.reporter.tell(text)

    def _never_began(self, name: str) -> None:
        """A process that was never ready has ended: its own last word says why, if it had one."""
        text = self.status.errors[-1] if self.status.errors else f"the {name} process ended while it started"
        self._end(DaemonError(text))

    def _on_model(self, message: object) -> None:
        if isinstance(message, ModelReady):
            self._model_is_ready(message)
        elif isinstance(message, BarReply):
            request = self.planner.in_flight
            offer = self.planner.answered(message)
            if offer is not None and isinstance(request, BarRequest):
                self.recording.made(request, message)
                self._send_offer(offer)
            self._see_if_ready()
        elif isinstance(message, InfillReply):
            gap = self.planner.in_flight
            offers = self.planner.mended(message)
            if isinstance(gap, InfillRequest):
                self.recording.mended(gap, message)
            for offer in offers:
                self._send_offer(offer)
        elif isinstance(message, ModelFault):
            self.planner.request_failed()
            self._model_rests_until_s = time.monotonic() + MODEL_REST_S
            self._trouble(message.text, is_fatal=not self.model.was_ready)
        self._wakes.set()

    def _on_stage(self, message: object) -> None:
        if isinstance(message, pipes.Sounded):
            self._note_sounding(message.message)
            self.recording.recorder.sounded(message.tick, message.message)
            self.feedback.note(message, self.planner.bars_from)
        elif isinstance(message, pipes.TransportState):
            self._transport_moved(message)
        elif isinstance(message, pipes.BarStarted):
            self._bar_began(message)
        elif isinstance(message, pipes.ControlInput):
            self._on_midi(message)
        elif isinstance(message, pipes.StageHealth):
            self.status.health = message
        elif isinstance(message, pipes.StageReady):
            self._stage_is_ready(message)
        elif isinstance(message, pipes.Fault):
            self._trouble(message.text, is_fatal=not self.stage.was_ready)

    def _model_is_ready(self, message: ModelReady) -> None:
        self.status.model = message
        self.model.began()
        self.osc_out.send("/fractal/out/state/device", message.device)
        self.recording.model_began(message)
        self._spare_wanted_s = time.monotonic() + SPARE_AFTER_S
        if message.bar_ns:
            log.info("the model is warm on %s: a bar takes %.0f ms", message.device, message.bar_ns / 1e6)
            self.planner.took_ns.append(message.bar_ns)
        else:
            log.info("a model is there again, on %s", message.device)

    def _note_sounding(self, message: bytes) -> None:
        """What a stage that dies leaves sounding is for the next one to close."""
        kind, voice = message[0] & 0xF0, (message[0] & 0x0F, message[1])
        if kind == 0x90 and message[2]:
            self._sounding.add(voice)
        elif kind in (0x80, 0x90):
            self._sounding.discard(voice)

    def _stage_is_ready(self, message: pipes.StageReady) -> None:
        if self.link is not None and self.status.stage is None and self._taken_up is None:
            self.stage.send(self.link.state(is_ready=False))  # so that playing from now on is a start
        self.status.stage = message
        self.stage.began()
        self._sounding.clear()
        self.planner.margin_ns = MARGIN_NS + message.ahead_ns // 2
        if message.advice:
            self.reporter.tell(message.advice)
        for offer in self.planner.offers_to_restarted():
            self._send_offer(offer)
        if self._taken_up is not None:  # only now: a bar that it had not yet would be given up for its fallback
            self._taken_up = None
            self.stage.send(pipes.TransportCommand("take_up"))
        self._wakes.set()

    def _transport_moved(self, state: pipes.TransportState) -> None:
        before, self.status.transport = self.status.transport, state
        was_rolling = before.is_rolling
        bar_index = self.settings.patch.meter.bar_at(state.tick)[0]
        if state.is_rolling != was_rolling:
            if state.is_rolling:
                self.recording.went_on_at(state)
            self.osc_out.send("/fractal/out/playing", float(state.is_rolling))
        elif state.is_rolling and state.tick < before.tick - PPQN:  # a Start while it plays
            self.recording.went_on_at(state)
        if state.is_rolling:  # a position that is only set, in a DAW that stands, is no time that passes
            self.recording.tempo_of(state)
        self.planner.transport_moved(state.is_rolling, bar_index, state.tempo_bpm)
        self._forget_bars()
        if was_rolling and not state.is_rolling:
            self.recording.save()
            if self.settings.bars is not None and bar_index >= self.settings.bars:
                self._end()
        self._wakes.set()

    def _bar_began(self, message: pipes.BarStarted) -> None:
        offers = self.planner.bar_began(message.bar, message.version, message.is_fallback)
        self.recording.bar_began(message, self.planner.raw(message.bar.index))
        self._forget_bars()
        for offer in offers:
            self._send_offer(offer)
        self.controls.playhead_in(message.bar.index)
        self._controls_moved()  # curves are laid anew when the position jumped back
        self.recording.save()
        self.feedback.bar(message.bar, self.planner.plan(), self.controls.snapshot.latent_at(message.bar.index))
        self._follow_plan_tempo()
        self._wakes.set()

    def _follow_plan_tempo(self) -> None:
        """With our own clock a held plan tempo is the tempo. A Link session is told when it changes, and no more:
        the others may have moved the tempo since."""
        before, self._plan_bpm = self._plan_bpm, self._planned_bpm()
        if self._plan_bpm is None:
            return
        if self.settings.sync == "internal":
            self.stage.send(pipes.TransportCommand("tempo", self._plan_bpm))
        elif self.link is not None and self._plan_bpm != before:
            self.link.session.set_tempo(self._plan_bpm)

    def _planned_bpm(self) -> float | None:
        """The tempo that is held for the playing bar."""
        given = float(self.controls.snapshot.plan_from(max(0, self.planner.position))[0, 1])
        return given if given == given else None  # NaN: nothing is held

    def _forget_bars(self) -> None:
        """Before any new version of them is sent."""
        forgotten = self.planner.take_forgotten()
        if forgotten:
            self.stage.send(pipes.ForgetBars(forgotten))

    def _send_offer(self, offer: Offer) -> None:
        self.recording.dresses(*self.planner.clothes)
        self.stage.send(pipes.PlayBar(offer.bar, offer.version, offer.fallback, offer.programs))

    # The performer.

    def _on_osc(self, address: str, arguments: Sequence[object], peer: Peer) -> None:
        """A message by itself."""
        self._obey_osc(address, arguments, peer)
        self._plan_for_moved()

    def _obey_osc(self, address: str, arguments: Sequence[object], peer: Peer) -> None:
        """One message of a burst. What its values mean for the coming bars is seen to before something is done, and
        else when the burst is over: not a hundred times for a hundred values."""
        self.osc_out.heard(peer)
        outcome = self.controls.apply(address, arguments, time.monotonic_ns())
        shown = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in arguments[:3])
        self.status.last_osc = f"{address} {shown}".strip()[:70]
        if outcome.error:
            self.reporter.tell(outcome.error, outcome.about, peer)
        if outcome.changed or outcome.action not in (None, "subscribe", "unsubscribe", "query"):
            self.recording.moved(address, arguments, self.status.transport, time.monotonic_ns())
        self._moved.update(outcome.changed)
        if outcome.action is not None:
            self._plan_for_moved()
            self._act(outcome, peer)

    def _after_burst(self) -> None:
        """A sender that moves something in every video frame is planned for less often, at the latest by `_play`: each
        time all that waits is dressed anew and sent to the stage."""
        if time.monotonic() - self._planned_s >= REPLAN_S:
            self._plan_for_moved()

    def _plan_for_moved(self) -> None:
        if not self._moved:
            return
        moved, self._moved = self._moved, set()
        self._planned_s = time.monotonic()
        with self._carrying_on("obeying OSC"):
            self._controls_moved()
            if "plan_tempo" in moved:
                self._follow_plan_tempo()
        self._wakes.set()

    def _on_refusal(self, kind: str, text: str, peer: Peer | None) -> None:
        """Something came in that is no OSC, or that we failed to obey."""
        self.reporter.tell(f"OSC: {text}", f"OSC {kind}", peer)

    def _address_space(self) -> Node:
        return address_space(self.controls.values())

    def _on_midi(self, message: pipes.ControlInput) -> None:
        """A knob, a key or a program change came in: what the patch maps it to, as if it had come over OSC. What is
        not mapped may be music."""
        meant = self.hands.hear(message.message)
        if meant is None:
            tick, is_rolling = round(self.status.tick_at(message.at_ns)), self.status.transport.is_rolling
            self.listening.hear(message.message, tick, is_rolling)
            return
        for address, arguments in meant:
            self._obey_osc(address, arguments, NOBODY)
        self._after_burst()

    def _controls_moved(self) -> None:
        for offer in self.planner.controls_changed(self.controls.snapshot):
            self._send_offer(offer)

    def _act(self, outcome: Outcome, peer: tuple[str, int]) -> None:
        action, argument = outcome.action, outcome.argument
        if action == "subscribe":
            port = int(argument) if argument else peer[1]
            if not self.osc_out.subscribe(peer[0], port):
                self.reporter.tell(f"no more subscribers: {peer[0]} port {port} is not told anything")
        elif action == "unsubscribe":
            self.osc_out.unsubscribe(peer[0], int(argument) if argument else peer[1])
        elif action == "query":
            self._tell_everything(
                [(peer[0], int(argument))] if argument else self.osc_out.subscribed_by(peer) or [peer]
            )
        elif action in ("patch", "score"):
            change = self._change_patch if action == "patch" else self._follow_score
            task = asyncio.get_running_loop().create_task(change(outcome.name))
            self._changing.add(task)
            task.add_done_callback(self._changing.discard)
        elif action in ("freeze", "infill"):
            self._go_round(action, outcome.arguments)
        elif action in ("generate", "reroll"):
            self.recording.recorder.mark(self._tick_now(), f"{action} {argument or ''}".strip())
            # Led by OSC bangs, a new cycle asked for while nothing rolls is meant to be heard.
            self._starts_when_fresh = (
                action == "generate" and self.settings.sync == "osc" and not self.status.transport.is_rolling
            )
        elif action is not None:
            self._command(action, argument or 0.0)

    async def _change_patch(self, name: str) -> None:
        try:
            self._wear(await self.rack.change_to(name))
        except SettingsError as error:
            self.reporter.tell(str(error))

    def _wear(self, patch: Patch) -> None:
        """Another patch from the next bar line on: its controls, parts and channels; tempo and position stay."""
        self.status.title = patch.title
        self.hands = MidiHands(patch.midi_map)
        self.listening.change(patch.follow, patch.respond, patch.listen_channel)
        self.controls.take_patch(patch.controls, patch.plan)
        for offer in self.planner.outfit_changed(patch.outfit):
            self._send_offer(offer)
        self._controls_moved()
        for host, port in patch.osc_out:
            self.osc_out.add_resident(host, port)
        if self.osc_in is not None:
            self.osc_in.obeys_time_tags = patch.osc_time_tags
        self.recording.recorder.mark(self._tick_now(), f"patch {patch.title}")
        self.osc_out.send("/fractal/out/patch", patch.title)
        self._wakes.set()

    async def _follow_score(self, name: str) -> None:
        try:
            self._follow(name, *await self.rack.score(name))
        except SettingsError as error:
            self.reporter.tell(str(error))

    def _follow(self, name: str, plan: PlanTable, chroma: Chroma) -> None:
        """The plan and the harmony of a piece that is written already, from the next bar on."""
        self.controls.follow(plan, chroma)
        self._controls_moved()
        self.recording.recorder.mark(self._tick_now(), f"score {name}, {len(plan)} bars")
        self._wakes.set()

    def _go_round(self, action: str, numbers: tuple[float, ...]) -> None:
        """Freeze the last bars, or make some of them anew."""
        try:
            if action == "freeze":
                offers = self.planner.freeze(int(numbers[0]))
            else:
                offers = self.planner.mend(int(numbers[0]), int(numbers[1]))
        except ValueError as error:
            self.reporter.tell(f"/fractal/{action}: {error}")
            return
        for offer in offers:
            self._send_offer(offer)
        self.recording.recorder.mark(self._tick_now(), " ".join([action, *(f"{number:g}" for number in numbers)]))
        self._wakes.set()

    def _tick_now(self) -> int | None:
        """Where the music is, for a mark in the recording; None when it stands."""
        return self.status.transport.tick if self.status.transport.is_rolling else None

    def _command(self, kind: str, value: float = 0.0) -> None:
        """To the stage, and to the Link session what concerns it."""
        if self.link is not None:
            self.link.command(kind, value, self.status.transport.tick)
            self.stage.send(self._link_state(self.link))
        self.stage.send(pipes.TransportCommand(kind, value))

    def _link_state(self, link: LinkLeader) -> pipes.LinkState:
        state = link.state(self.is_ready)
        self.status.peers = link.peers
        return state

    def _trouble(self, text: str, is_fatal: bool) -> None:
        """What a child says went wrong. Before it is ready it will leave, and this is the reason given then."""
        if is_fatal:
            self.status.errors.append(text)
        else:
            self.reporter.tell(text)

    # The tasks.

    async def _play(self) -> None:
        """Keeps the model busy with what is wanted next."""
        while not self._over.is_set():
            with self._carrying_on("planning"):
                self._after_burst()
                self._start_when_ready()
                self._watch_children()
                self._ask_for_next()
                self._insure()
            self._wakes.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wakes.wait(), TICK_S)

    def _listen(self) -> None:
        """Tells the planner what was heard. The bars in which we only listen need no answer of the model's."""
        listening, tick = self.listening, round(self.status.tick_at(time.monotonic_ns()))
        self.planner.hearing = listening.at(tick) if self.status.transport.is_rolling else listening.hearing
        for offer in self.planner.rests():
            self._send_offer(offer)
        self._see_if_ready()

    def _see_if_ready(self) -> None:
        if self.is_ready or self.status.model is None:
            return
        if self.planner.lead_bars >= self.controls.snapshot.lead_bars:
            self.is_ready = True
            log.info("ready: the first %d bars wait at the port", self.planner.lead_bars)

    def _ask_for_next(self) -> None:
        self._listen()
        is_resting = time.monotonic() < self._model_rests_until_s
        if self.status.model is not None and not is_resting:
            request = self.planner.next_request(
                self.status.ns_to_next_bar(self.settings.patch.meter, time.monotonic_ns())
            )
            if request is not None:
                self._asked_s = time.monotonic()
                self.model.send(request)

    def _insure(self) -> None:
        """If the model were gone from now on: what would play then."""
        now_s = time.monotonic()
        if now_s >= self._insured_until_s:
            self._insured_until_s = now_s + INSURE_S
            for offer in self.planner.insure():
                self._send_offer(offer)

    @contextlib.contextmanager
    def _carrying_on(self, what: str) -> Iterator[None]:
        """A mistake of ours in one turn of a task is shown and logged; the show goes on with the next turn."""
        try:
            yield
        except Exception as error:
            log.exception("%s failed", what)
            self.reporter.tell(f"{what} failed: {type(error).__name__}: {error}")

    def _start_when_ready(self) -> None:
        """With our own clock, or in a Link session that does not start us, the music begins as soon as the first bars
        are there; after a generate while an OSC
        leader is silent, as soon as the new cycle's are."""
        if self._starts_when_fresh and self.planner.is_start_fresh:
            self._starts_when_fresh = False
            self.stage.send(pipes.TransportCommand("start"))
        is_alone = self.link is not None and not self.link.session.shares_start_stop
        starts_itself = self.settings.sync == "internal" or is_alone
        if starts_itself and self.is_ready and self.status.stage is not None and not self._is_started:
            self._is_started = True
            self._command("start")

    def _watch_children(self) -> None:
        """What hangs is killed, and so begins again. While we stood still ourselves (the machine slept) nobody's
        silence was heard."""
        now_s = time.monotonic()
        if now_s - self._watched_s > OWN_STALL_S:
            self._awake_since_s = now_s
        self._watched_s = now_s
        awake_s = now_s - self._awake_since_s
        if self.status.model is None:
            self.model.kill_if(min(self.model.silence_s(), awake_s) > MODEL_START_S)
        else:
            limit_s = max(MODEL_DEADLINE_S, MODEL_DEADLINE_BARS * self.planner.usual_ns * 1e-9)
            is_late = self.planner.in_flight is not None and min(now_s - self._asked_s, awake_s) > limit_s
            self.model.kill_if(is_late or min(self.model.silence_s(), awake_s) > MODEL_SILENCE_S)
            if now_s > self._spare_wanted_s:
                self._spare_wanted_s = now_s + SPARE_AFTER_S
                room_mb = free_mb()
                if room_mb is None or room_mb > SPARE_ROOM_MB:
                    self.model.prepare()
        silence_s = min(self.stage.silence_s(), awake_s)
        self.stage.kill_if(silence_s > (STAGE_SILENCE_S if self.stage.is_ready else STAGE_START_S))

    async def _ping(self) -> None:
        while not self._over.is_set():
            self.stage.send(pipes.Ping())
            self._ping_model()
            await asyncio.sleep(PING_S)

    def _ping_model(self) -> None:
        if self.status.model is not None:
            self.model.send(ModelPing())

    async def _keep_link(self) -> None:
        """Tells the stage where the Link session is."""
        while self.link is not None and not self._over.is_set():
            with self._carrying_on("Link"):
                state = self._link_state(self.link)
                if self.status.stage is not None:
                    self.stage.send(state)
            await asyncio.sleep(LINK_S)

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
        began_s, heartbeats = time.monotonic(), 0
        while not self._over.is_set():
            with self._carrying_on("telling the subscribers"):
                self._tell_state()
                if time.monotonic() >= began_s + heartbeats * HEARTBEAT_S:
                    self.osc_out.send("/fractal/out/heartbeat", heartbeats)
                    heartbeats += 1
            await asyncio.sleep(STATE_OUT_S)

    async def _tell_beats(self) -> None:
        """The position, now and then and at every beat. This is for eyes: what is heard is timed by the stage."""
        latency_ns = round(self.settings.machine.latency_ms * 1e6)
        while not self._over.is_set():
            wait_s = BEAT_OUT_S
            with self._carrying_on("telling the beat"):
                tick = max(0.0, self.status.tick_at(time.monotonic_ns() - latency_ns))
                line_tick = self.feedback.position(tick)
                if self.status.transport.is_rolling:
                    wait_s = min(wait_s, (line_tick - tick) * self.status.ns_per_tick * 1e-9 + AFTER_LINE_S)
            await asyncio.sleep(wait_s)

    def _tell_state(self, to: Sequence[Peer] | None = None) -> None:
        counts = self.osc_in.counts if self.osc_in is not None else OscCounts()
        status, lead_bars = self.status, self.planner.lead_bars
        feedback.tell_state(self.osc_out, status.transport, status.health, lead_bars, counts, to)

    def _tell_everything(self, to: Sequence[Peer]) -> None:
        model, playing = self.status.model, max(0, self.planner.position)
        self.feedback.settings(
            self.status.title,
            model.device if model is not None else "",
            self.controls.values(),
            self.planner.plan(),
            self.controls.snapshot.latent_at(playing),
            to,
        )
        self.osc_out.send("/fractal/out/playing", float(self.status.transport.is_rolling), to=to)
        self._tell_state(to)


def play(settings: RunSettings) -> Daemon:
    """Runs the instrument until it is asked to stop. Raises DaemonError or OscPortError before the show."""
    daemon: list[Daemon] = []

    async def run() -> None:
        daemon.append(Daemon(settings))
        await daemon[0].run()

    asyncio.run(run())
    return daemon[0]
