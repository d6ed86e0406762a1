"""A Link session as the daemon's leader: what it tells the stage, and what our own commands mean to it."""

from __future__ import annotations

from dataclasses import replace

from fractal_live.music.meter import PPQN, Meter
from fractal_live.ports.link_sync import LinkSession, open_link
from fractal_live.ports.pipes import LinkState
from fractal_live.settings import Patch


class LinkLeader:
    """For the event loop. `peers`: how many others are in the session."""

    def __init__(self, session: LinkSession, meter: Meter) -> None:
        self.session = session
        self.peers = 0
        self._meter = meter

    @classmethod
    def joined(cls, patch: Patch) -> LinkLeader:
        """In the session that is there, or in a new one. Raises LinkError."""
        quantum = patch.meter.ticks_per_bar / PPQN
        return cls(open_link(patch.tempo_bpm, quantum, patch.link_start_stop), patch.meter)

    def state(self, is_ready: bool) -> LinkState:
        """Where the session is. That it plays is for a stage that has something to play (`is_ready`)."""
        state = self.session.state()
        self.peers = state.peers
        return replace(state, is_playing=state.is_playing and is_ready)

    def command(self, kind: str, value: float, tick: int) -> None:
        """What the performer commands, as far as it concerns the others. `tick`: where we are."""
        if kind == "tempo":
            self.session.set_tempo(value)
        elif kind == "stop":
            self.session.stop()
        elif kind in ("start", "continue"):
            self.session.start(self._meter.bar_at(tick if kind == "continue" else 0)[1] / PPQN)
