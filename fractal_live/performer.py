"""What the performer moves and asks for, over OSC or with MIDI hands, and who sees to it."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_live.announcer import Announcer
from fractal_live.live.controls import Outcome
from fractal_live.live_set import LiveSet
from fractal_live.ports.osc_out import Peer
from fractal_live.ports.pipes import ControlInput
from fractal_live.repertoire import Repertoire
from fractal_live.stage_side import StageSide
from fractal_live.transport_control import TransportControl

REPLAN_NS = 40_000_000
NOBODY = ("", 0)  # who plays by MIDI has no address that could be answered


class Performer:
    """For the event loop; times are `time.monotonic_ns`'s."""

    def __init__(
        self,
        live_set: LiveSet,
        stage: StageSide,
        control: TransportControl,
        repertoire: Repertoire,
        announcer: Announcer,
    ) -> None:
        self._set = live_set
        self._stage = stage
        self._control = control
        self._repertoire = repertoire
        self._announcer = announcer
        self._moved: set[str] = set()  # controls that have changed and were not planned for yet
        self._planned_ns = -REPLAN_NS

    def obey(self, address: str, arguments: Sequence[object], peer: Peer, now_ns: int) -> None:
        """One message of a burst. What its values mean for the coming bars is seen to before something is done, and
        else when the burst is over: not a hundred times for a hundred values."""
        live = self._set
        live.osc_out.heard(peer)
        outcome = live.controls.apply(address, arguments, now_ns)
        shown = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in arguments[:3])
        live.status.last_osc = f"{address} {shown}".strip()[:70]
        if outcome.error:
            live.reporter.tell(outcome.error, outcome.about, peer)
        if outcome.changed or outcome.action not in (None, "subscribe", "unsubscribe", "query"):
            live.recording.moved(address, arguments, live.status.transport, now_ns)
        self._moved.update(outcome.changed)
        if outcome.action is not None:
            self.plan_for_moved(now_ns)
            self._act(outcome, peer)

    def after_burst(self, now_ns: int) -> None:
        """A sender that moves something in every video frame is planned for less often, at the latest when this is
        called in the planning's turn: each time all that waits is dressed anew and sent to the stage."""
        if now_ns - self._planned_ns >= REPLAN_NS:
            self.plan_for_moved(now_ns)

    def plan_for_moved(self, now_ns: int) -> None:
        """What has changed, for the coming bars."""
        if not self._moved:
            return
        moved, self._moved = self._moved, set()
        self._planned_ns = now_ns
        with self._set.reporter.carrying_on("obeying OSC"):
            self._stage.controls_moved()
            if "plan_tempo" in moved:
                self._control.follow_plan_tempo()
        self._set.wakes.set()

    def play(self, message: ControlInput, now_ns: int) -> None:
        """A knob, a key or a program change came in: what the patch maps it to, as if it had come over OSC. What is
        not mapped may be music."""
        live = self._set
        meant = live.hands.hear(message.message)
        if meant is None:
            tick = round(live.status.tick_at(message.at_ns))
            live.listening.hear(message.message, tick, live.status.transport.is_rolling)
            return
        for address, arguments in meant:
            self.obey(address, arguments, NOBODY, now_ns)
        self.after_burst(now_ns)

    def _act(self, outcome: Outcome, peer: Peer) -> None:
        action, argument, osc_out = outcome.action, outcome.argument, self._set.osc_out
        if action == "subscribe":
            port = int(argument) if argument else peer[1]
            if not osc_out.subscribe(peer[0], port):
                self._set.reporter.tell(f"no more subscribers: {peer[0]} port {port} is not told anything")
        elif action == "unsubscribe":
            osc_out.unsubscribe(peer[0], int(argument) if argument else peer[1])
        elif action == "query":
            askers = [(peer[0], int(argument))] if argument else osc_out.subscribed_by(peer) or [peer]
            self._announcer.everything(askers)
        elif action in ("patch", "score"):
            self._repertoire.fetch(action, outcome.name)
        elif action in ("freeze", "infill"):
            self._repertoire.go_round(action, outcome.arguments)
        elif action in ("generate", "reroll"):
            self._set.mark(f"{action} {argument or ''}".strip())
            self._control.fresh_start(is_new_cycle=action == "generate")
        elif action is not None:
            self._control.command(action, argument or 0.0)
