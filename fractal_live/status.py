"""What the daemon knows of its children and of the performer, and the dashboard's frame made of it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from fractal_live.dashboard import DashboardState
from fractal_live.live.controls import Controls
from fractal_live.live.planner import Planner
from fractal_live.live.timeline import NS_PER_MINUTE
from fractal_live.music.meter import PPQN, Meter
from fractal_live.music.request import ModelReady
from fractal_live.ports.osc_in import OscCounts, OscIn
from fractal_live.ports.pipes import StageHealth, StageReady, TransportState
from fractal_live.settings import RunSettings

ERRORS_KEPT = 4
COUNTED = ("underruns", "faults", "dropped_clocks", "ignored_song_positions")  # by the stage
BARS_SHOWN = 4


@dataclass(slots=True)
class Status:
    """The newest word of each. `stage` and `model` are None until that process is ready; `health` is of the stage that
    plays; `errors` has the newest last; `title` is the patch's; `peers` are the others in the Link session; `is_ready`:
    the first bars wait at the port; `restarts` of stage and model."""

    transport: TransportState
    health: StageHealth = field(default_factory=lambda: StageHealth(0, 0, 0, 0, 0, 0, 0))
    stage: StageReady | None = None
    model: ModelReady | None = None
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=ERRORS_KEPT))
    last_osc: str = ""
    peers: int = 0
    title: str = ""
    is_ready: bool = False
    restarts: int = 0
    _of_ended: Counter[str] = field(default_factory=Counter)

    def stage_ended(self) -> None:
        """The next one counts from nothing."""
        for name in COUNTED:
            self._of_ended[name] += getattr(self.health, name)
        self.health = replace(self.health, underruns=0, faults=0, dropped_clocks=0, ignored_song_positions=0)

    def counts(self, controls: Controls, osc_in: OscIn | None) -> dict[str, int]:
        """What came in, and what went wrong since the set began."""
        osc = osc_in.counts if osc_in is not None else OscCounts()
        return {
            "osc_datagrams": osc.datagrams,
            "osc_messages": osc.messages,
            "osc_refused": controls.refused + sum(osc.refused.values()),
            "restarts": self.restarts,
            **{name: self._of_ended[name] + getattr(self.health, name) for name in COUNTED},
        }

    @property
    def underruns(self) -> int:
        """Bars that were late."""
        return self._of_ended["underruns"] + self.health.underruns

    def ns_to_next_bar(self, meter: Meter, now_ns: int) -> int | None:
        """The time left to the next bar line; None while nothing rolls."""
        transport = self.transport
        if not transport.is_rolling:
            return None
        tick = self.tick_at(now_ns)
        return round((meter.ticks_per_bar - tick % meter.ticks_per_bar) * self.ns_per_tick)

    @property
    def ns_per_tick(self) -> float:
        return NS_PER_MINUTE / (self.transport.tempo_bpm * PPQN)

    def tick_at(self, time_ns: int) -> float:
        """The position at a time, as far as the last word from the stage tells."""
        transport = self.transport
        if not transport.is_rolling:
            return transport.tick
        return transport.tick + (time_ns - transport.at_ns) / self.ns_per_tick

    def frame(
        self, settings: RunSettings, planner: Planner, controls: Controls, osc_in: OscIn | None
    ) -> DashboardState:
        """Everything the dashboard shows, as it is now."""
        playing = max(0, planner.position)
        transport, health, stage, model = self.transport, self.health, self.stage, self.model
        counts = self.counts(controls, osc_in)
        return DashboardState(
            title=self.title,
            sync=settings.sync,
            peers=self.peers,
            is_rolling=transport.is_rolling,
            is_locked=transport.is_locked,
            tempo_bpm=transport.tempo_bpm,
            meter=settings.patch.meter,
            tick=max(0, transport.tick),
            plan=planner.plan(),
            given=controls.snapshot.plan_from(playing),
            bars=planner.bars_from(playing, BARS_SHOWN),
            controls=controls.snapshot,
            lead_bars=planner.lead_bars,
            loop_bars=0 if planner.loop is None else len(planner.loop.bars),
            generation_ms=planner.took_ns[-1] / 1e6 if planner.took_ns else None,
            lateness_p50_ns=health.lateness_p50_ns,
            lateness_p99_ns=health.lateness_p99_ns,
            lateness_max_ns=health.lateness_max_ns,
            underruns=counts["underruns"],
            xruns=health.xruns,
            is_spared=planner.is_spared,
            sounding=health.sounding,
            osc_messages=counts["osc_messages"],
            osc_refused=counts["osc_refused"],
            osc_last=self.last_osc,
            device=model.device if model is not None else "warming up",
            checkpoint=model.checkpoint_id if model is not None else settings.checkpoint.stem,
            output_port=stage.output_port if stage is not None else "",
            input_port=stage.input_port if stage is not None else "",
            osc_port=f"{settings.machine.osc_host}:{settings.machine.osc_port}",
            recording=str(settings.record),
            errors=tuple(self.errors),
        )
