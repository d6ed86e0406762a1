"""The daemon's side of the model process: it is set up, watched, replaced by a spare, and kept busy with the bars that
are wanted next."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from fractal_live.keeper import Keeper
from fractal_live.live_set import LiveSet
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
from fractal_live.processes import free_mb
from fractal_live.stage_side import StageSide

log = logging.getLogger(__name__)

MODEL_ENTRY = "fractal_live.baselines.door"
INSURE_S = 0.1  # between two looks at whether what plays without the model fits the controls
MODEL_REST_S = 0.25  # after a request it could not answer, which would fail again at once
MODEL_START_S = 240.0
SLOW_START_S = 8.0
SLOW_START = "the model is not ready yet: its very first start compiles for about a minute"
MODEL_DEADLINE_S = 3.0  # or so many times what a bar usually takes:
MODEL_DEADLINE_BARS = 10
MODEL_SILENCE_S = 2.0  # it answers five pings a second, whatever it does
SPARE_AFTER_S = 5.0  # a spare model is begun when the one that plays has had time to catch up
SPARE_ROOM_MB = 1000.0  # and where so much memory is free: it takes a fifth of it


class ModelSide:
    """For the event loop; times are `time.monotonic`'s. `on_message` hears what the model says, and hands it on to
    `heard`; `on_never_began` hears that the first one could not start."""

    def __init__(
        self,
        live_set: LiveSet,
        stage: StageSide,
        on_message: Callable[[object], None],
        on_never_began: Callable[[str], None],
    ) -> None:
        self.keeper = Keeper("model", MODEL_ENTRY, self._setup, on_message, self._lost, on_never_began)
        self._set = live_set
        self._stage = stage
        self._asked_s = self._rests_until_s = self._insured_until_s = 0.0
        self._spare_wanted_s = math.inf
        self._slow_from_s: float | None = None

    def heard(self, message: object, now_s: float) -> None:
        """What it says."""
        live = self._set
        planner = live.planner
        if isinstance(message, ModelReady):
            self._ready(message, now_s)
        elif isinstance(message, BarReply):
            request = planner.in_flight
            offer = planner.answered(message)
            if offer is not None and isinstance(request, BarRequest):
                live.recording.made(request, message)
                self._stage.offer([offer])
            self._see_if_ready()
        elif isinstance(message, InfillReply):
            gap = planner.in_flight
            offers = planner.mended(message)
            if isinstance(gap, InfillRequest):
                live.recording.mended(gap, message)
            self._stage.offer(offers)
        elif isinstance(message, ModelFault):
            planner.request_failed()
            if message.begins_anew:  # what takes as long as a start is not taken for hanging
                live.status.model = None
            self._rests_until_s = now_s + MODEL_REST_S
            live.reporter.trouble(message.text, is_fatal=not self.keeper.was_ready)
        live.wakes.set()

    def ask_for_next(self, now_ns: int) -> None:
        """The bar that is wanted next, if it is idle."""
        self._listen(now_ns)
        live, now_s = self._set, now_ns * 1e-9
        if live.status.model is not None and now_s >= self._rests_until_s:
            request = live.planner.next_request(live.status.ns_to_next_bar(live.settings.patch.meter, now_ns))
            if request is not None:
                self._asked_s = now_s
                self.keeper.send(request)

    def insure(self, now_s: float) -> None:
        """If the model were gone from now on: what would play then."""
        if now_s >= self._insured_until_s:
            self._insured_until_s = now_s + INSURE_S
            self._stage.offer(self._set.planner.insure())

    def ping(self) -> None:
        """An answer will say that it does not hang."""
        if self._set.status.model is not None:
            self.keeper.send(ModelPing())

    def watch(self, now_s: float, awake_s: float) -> None:
        """Kills a model that hangs, and has a spare begun. `awake_s`: since when we could have heard it."""
        planner = self._set.planner
        if self._set.status.model is None:
            self._tell_of_a_slow_start(now_s)
            self.keeper.kill_if(min(self.keeper.silence_s(), awake_s) > MODEL_START_S)
            return
        limit_s = max(MODEL_DEADLINE_S, MODEL_DEADLINE_BARS * planner.usual_ns * 1e-9)
        is_late = planner.in_flight is not None and min(now_s - self._asked_s, awake_s) > limit_s
        self.keeper.kill_if(is_late or min(self.keeper.silence_s(), awake_s) > MODEL_SILENCE_S)
        if now_s > self._spare_wanted_s:
            self._spare_wanted_s = now_s + SPARE_AFTER_S
            room_mb = free_mb()
            if room_mb is None or room_mb > SPARE_ROOM_MB:
                self.keeper.prepare()

    def _tell_of_a_slow_start(self, now_s: float) -> None:
        """Once, and only of the first."""
        if self._slow_from_s is None:
            self._slow_from_s = now_s + SLOW_START_S
        elif now_s > self._slow_from_s and not self.keeper.was_ready:
            self._slow_from_s = math.inf
            self._set.reporter.tell(SLOW_START)

    def _setup(self) -> ModelSetup:
        settings = self._set.settings
        machine = settings.machine
        return ModelSetup(str(settings.checkpoint), machine.device, machine.threads, self.keeper.was_ready)

    def _ready(self, message: ModelReady, now_s: float) -> None:
        live = self._set
        live.status.model = message
        self.keeper.began()
        live.osc_out.send("/fractal/out/state/device", message.device)
        live.recording.model_began(message)
        self._spare_wanted_s = now_s + SPARE_AFTER_S
        if message.bar_ns:
            log.info("the model is warm on %s: a bar takes %.0f ms", message.device, message.bar_ns / 1e6)
            live.planner.took_ns.append(message.bar_ns)
        else:
            log.info("a model is there again, on %s", message.device)

    def _lost(self, text: str) -> None:
        """The set goes on without it, with the bars that are ready and then fallbacks; what is missing is asked of
        the next one, which needs to know nothing more."""
        status = self._set.status
        status.model = None
        status.restarts += 1
        self._set.planner.request_failed()
        self._set.reporter.tell(text)

    def _listen(self, now_ns: int) -> None:
        """Tells the planner what was heard. The bars in which we only listen need no answer of the model's."""
        live = self._set
        tick = round(live.status.tick_at(now_ns))
        is_rolling = live.status.transport.is_rolling
        live.planner.hearing = live.listening.at(tick) if is_rolling else live.listening.hearing
        self._stage.offer(live.planner.rests())
        self._see_if_ready()

    def _see_if_ready(self) -> None:
        status, lead_bars = self._set.status, self._set.planner.lead_bars
        if not status.is_ready and status.model is not None and lead_bars >= self._set.controls.snapshot.lead_bars:
            status.is_ready = True
            log.info("ready: the first %d bars wait at the port", lead_bars)
