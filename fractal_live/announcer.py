"""What OSC subscribers are told again and again, and all that one is told who asks."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_live import feedback
from fractal_live.live_set import LiveSet
from fractal_live.ports.osc_out import Peer

HEARTBEAT_S = 1.0
BEAT_OUT_S = 0.05
AFTER_LINE_S = 0.0005


class Announcer:
    """For the event loop."""

    def __init__(self, live_set: LiveSet) -> None:
        self._set = live_set
        self._heartbeats = 0

    def state(self, to: Sequence[Peer] | None = None) -> None:
        """How it goes, to these or to every subscriber."""
        live = self._set
        status, lead_bars = live.status, live.planner.lead_bars
        feedback.tell_state(
            live.osc_out,
            status.transport,
            status.health.lateness_p99_ns,
            lead_bars,
            status.counts(live.controls, live.osc_in),
            to,
        )

    def heartbeat(self, elapsed_s: float) -> None:
        """Once a second of the time that this run has taken."""
        if elapsed_s >= self._heartbeats * HEARTBEAT_S:
            self._set.osc_out.send("/fractal/out/heartbeat", self._heartbeats)
            self._heartbeats += 1

    def beat(self, now_ns: int) -> float:
        """The position; returns the seconds until it is to be told again: now and then, and at every beat."""
        status = self._set.status
        tick = max(0.0, status.tick_at(now_ns))
        line_tick = self._set.feedback.position(tick)
        if not status.transport.is_rolling:
            return BEAT_OUT_S
        return min(BEAT_OUT_S, (line_tick - tick) * status.ns_per_tick * 1e-9 + AFTER_LINE_S)

    def everything(self, to: Sequence[Peer]) -> None:
        """What an asker cannot know yet."""
        live = self._set
        model, playing = live.status.model, max(0, live.planner.position)
        live.feedback.settings(
            live.status.title,
            model.device if model is not None else "",
            live.controls.values(),
            live.planner.plan(),
            live.controls.snapshot.latent_at(playing),
            to,
        )
        live.osc_out.send("/fractal/out/playing", float(live.status.transport.is_rolling), to=to)
        self.state(to)
