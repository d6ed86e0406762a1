"""The daemon's side of the stage process: it is set up, watched, taken up again where it died, and given its bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fractal_live.keeper import Keeper
from fractal_live.live.planned import Offer
from fractal_live.live.planner import MARGIN_NS
from fractal_live.live_set import LiveSet
from fractal_live.ports import pipes
from fractal_live.ports.priority import refusal

STAGE_ENTRY = "fractal_live.stage"
STAGE_START_S = 20.0
STAGE_SILENCE_S = 1.0  # it says where it is ten times a second


class StageSide:
    """For the event loop. `on_message` hears what the stage says, `on_never_began` that the first one could not
    start."""

    def __init__(
        self, live_set: LiveSet, on_message: Callable[[object], None], on_never_began: Callable[[str], None]
    ) -> None:
        self.keeper = Keeper("stage", STAGE_ENTRY, self._setup, on_message, self._lost, on_never_began)
        self.send = self.keeper.send
        self._set = live_set
        self._taken_up: pipes.TransportState | None = None  # where a stage was that died while it rolled
        self._sounding: set[tuple[int, int]] = set()  # (channel, pitch)
        self._is_first = True

    def ready(self, message: pipes.StageReady) -> None:
        """It plays, and has no bars yet."""
        live = self._set
        if live.link is not None and live.status.stage is None and self._taken_up is None:
            self.send(live.link.state(is_ready=False))  # so that playing from now on is a start
        live.status.stage = message
        self.keeper.began()
        self._sounding.clear()
        live.planner.margin_ns = MARGIN_NS + message.ahead_ns // 2
        refused = refusal(message.priority) if self._is_first else ""
        for advice in filter(None, (message.advice, refused)):
            live.reporter.tell(advice)
        self._is_first = False
        self.offer(live.planner.offers_to_restarted())
        if self._taken_up is not None:  # only now: a bar that it had not yet would be given up for its fallback
            self._taken_up = None
            self.send(pipes.TransportCommand("take_up"))
        live.wakes.set()

    def sounded(self, message: bytes) -> None:
        """What a stage that dies leaves sounding is for the next one to close."""
        kind, voice = message[0] & 0xF0, (message[0] & 0x0F, message[1])
        if kind == 0x90 and message[2]:
            self._sounding.add(voice)
        elif kind in (0x80, 0x90):
            self._sounding.discard(voice)

    def offer(self, offers: Iterable[Offer]) -> None:
        """Bars as they are to sound."""
        for offer in offers:
            self._set.recording.dresses(*self._set.planner.clothes)
            self.send(pipes.PlayBar(offer.bar, offer.version, offer.fallback, offer.programs))

    def controls_moved(self) -> None:
        """What waits is dressed anew."""
        self.offer(self._set.planner.controls_changed(self._set.controls.snapshot))

    def forget_bars(self) -> None:
        """Before any new version of them is sent."""
        forgotten = self._set.planner.take_forgotten()
        if forgotten:
            self.send(pipes.ForgetBars(forgotten))

    def watch(self, awake_s: float) -> None:
        """Kills a stage that hangs. `awake_s`: since when we could have heard it."""
        silence_s = min(self.keeper.silence_s(), awake_s)
        self.keeper.kill_if(silence_s > (STAGE_SILENCE_S if self.keeper.is_ready else STAGE_START_S))

    def _setup(self) -> pipes.StageSetup:
        settings = self._set.settings
        patch, machine = settings.patch, settings.machine
        return pipes.StageSetup(
            sync=settings.sync,
            port_name=machine.port_name,
            midi_api=machine.midi_api,
            connect=machine.connect or None,
            clock_port=machine.clock_port or None,
            meter=patch.meter,
            tempo_bpm=self._set.status.transport.tempo_bpm,
            channels=self._set.planner.outfit.channels,
            latency_ms=machine.latency_ms,
            clock_loss=machine.clock_loss,
            end_bar=settings.bars,
            sends_clock=settings.sends_clock,
            rolling_tick=self._taken_up.tick if self._taken_up is not None else None,
            rolling_at_ns=self._taken_up.at_ns if self._taken_up is not None else 0,
            is_restart=self.keeper.was_ready,
            soundfont=str(settings.soundfont) if settings.soundfont is not None else None,
            audio_driver=machine.audio_driver,
            closing=tuple(bytes((0x80 | channel, pitch, 0)) for channel, pitch in sorted(self._sounding)),
        )

    def _lost(self, text: str) -> None:
        status = self._set.status
        status.stage = None
        status.stage_ended()
        status.restarts += 1
        if status.transport.is_rolling:
            self._taken_up = status.transport  # the next one goes on from where this one would be
        self._set.reporter.tell(text)
