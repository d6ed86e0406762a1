"""What starts and stops the music and sets its tempo, as far as that is ours: commands to the stage and to a Link
session."""

from __future__ import annotations

from fractal_live.link_leader import LinkLeader
from fractal_live.live_set import LiveSet
from fractal_live.ports.pipes import LinkState, TransportCommand
from fractal_live.stage_side import StageSide


class TransportControl:
    """For the event loop."""

    def __init__(self, live_set: LiveSet, stage: StageSide) -> None:
        self._set = live_set
        self._stage = stage
        self._is_started = False
        self._starts_when_fresh = False
        self._plan_bpm = self._planned_bpm()

    def command(self, kind: str, value: float = 0.0) -> None:
        """To the stage, and to the Link session what concerns it."""
        link = self._set.link
        if link is not None:
            link.command(kind, value, self._set.status.transport.tick)
            self._stage.send(self.link_state(link))
        self._stage.send(TransportCommand(kind, value))

    def tell_link(self) -> None:
        """Tells the stage where the Link session is."""
        if self._set.link is not None:
            state = self.link_state(self._set.link)
            if self._set.status.stage is not None:
                self._stage.send(state)

    def link_state(self, link: LinkLeader) -> LinkState:
        """Where the session is, for a stage that may have nothing to play yet."""
        state = link.state(self._set.status.is_ready)
        self._set.status.peers = link.peers
        return state

    def fresh_start(self, is_new_cycle: bool) -> None:
        """Led by OSC bangs, a new cycle asked for while nothing rolls is meant to be heard."""
        live = self._set
        self._starts_when_fresh = is_new_cycle and live.settings.sync == "osc" and not live.status.transport.is_rolling

    def start_when_ready(self) -> None:
        """With our own clock, or in a Link session that does not start us, the music begins as soon as the first bars
        are there; after a generate while an OSC leader is silent, as soon as the new cycle's are."""
        live = self._set
        if self._starts_when_fresh and live.planner.is_start_fresh:
            self._starts_when_fresh = False
            self._stage.send(TransportCommand("start"))
        is_alone = live.link is not None and not live.link.session.shares_start_stop
        starts_itself = live.settings.sync == "internal" or is_alone
        if starts_itself and live.status.is_ready and live.status.stage is not None and not self._is_started:
            self._is_started = True
            self.command("start")

    def follow_plan_tempo(self) -> None:
        """With our own clock a held plan tempo is the tempo. A Link session is told when it changes, and no more:
        the others may have moved the tempo since."""
        before, self._plan_bpm = self._plan_bpm, self._planned_bpm()
        if self._plan_bpm is None:
            return
        if self._set.settings.sync == "internal":
            self._stage.send(TransportCommand("tempo", self._plan_bpm))
        elif self._set.link is not None and self._plan_bpm != before:
            self._set.link.session.set_tempo(self._plan_bpm)

    def _planned_bpm(self) -> float | None:
        """The tempo that is held for the playing bar."""
        given = float(self._set.controls.snapshot.plan_from(max(0, self._set.planner.position))[0, 1])
        return given if given == given else None  # NaN: nothing is held
