"""Where the music is: what follows when the stage says that the transport moved, a bar began, a note sounded."""

from __future__ import annotations

from fractal_live.live_set import LiveSet
from fractal_live.music.meter import PPQN
from fractal_live.ports.pipes import BarStarted, Sounded, TransportState
from fractal_live.stage_side import StageSide
from fractal_live.transport_control import TransportControl


class Playhead:
    """For the event loop. `is_at_end`: the set has stopped at the bar where it was to end."""

    def __init__(self, live_set: LiveSet, stage: StageSide, control: TransportControl) -> None:
        self.is_at_end = False
        self._set = live_set
        self._stage = stage
        self._control = control

    def sounded(self, message: Sounded) -> None:
        """A note began or ended at the port."""
        self._stage.sounded(message.message)
        self._set.recording.recorder.sounded(message.tick, message.message)
        self._set.feedback.note(message, self._set.planner.bars_from)

    def transport_moved(self, state: TransportState) -> None:
        """Also the word, ten times a second, that it goes on as before."""
        live = self._set
        before, live.status.transport = live.status.transport, state
        was_rolling = before.is_rolling
        bar_index = live.settings.patch.meter.bar_at(state.tick)[0]
        if state.is_rolling != was_rolling:
            if state.is_rolling:
                live.recording.went_on_at(state)
            live.osc_out.send("/fractal/out/playing", float(state.is_rolling))
        elif state.is_rolling and state.tick < before.tick - PPQN:  # a Start while it plays
            live.recording.went_on_at(state)
        if state.is_rolling:  # a position that is only set, in a DAW that stands, is no time that passes
            live.recording.tempo_of(state)
        live.planner.transport_moved(state.is_rolling, bar_index, state.tempo_bpm)
        self._stage.forget_bars()
        if was_rolling and not state.is_rolling:
            live.recording.save()
            self.is_at_end = live.settings.bars is not None and bar_index >= live.settings.bars
        live.wakes.set()

    def bar_began(self, message: BarStarted) -> None:
        """Its first tick has come."""
        live, index = self._set, message.bar.index
        offers = live.planner.bar_began(message.bar, message.version, message.is_fallback)
        live.recording.bar_began(message, live.planner.raw(index))
        self._stage.forget_bars()
        self._stage.offer(offers)
        live.controls.playhead_in(index)
        self._stage.controls_moved()  # curves are laid anew when the position jumped back
        live.recording.save()
        live.feedback.bar(message.bar, live.planner.plan(), live.controls.snapshot.latent_at(index))
        self._control.follow_plan_tempo()
        live.wakes.set()
