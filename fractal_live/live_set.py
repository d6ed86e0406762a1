"""The set that is played, as every part of the daemon sees it: what is wanted, what is known, where it is told and
recorded."""

from __future__ import annotations

import asyncio

from fractal_live.feedback import Feedback
from fractal_live.link_leader import LinkLeader
from fractal_live.live.controls import Controls
from fractal_live.live.listening import Listening
from fractal_live.live.midi_map import MidiHands
from fractal_live.live.planner import Planner
from fractal_live.ports.osc_in import OscIn
from fractal_live.ports.osc_out import OscOut
from fractal_live.ports.pipes import TransportState
from fractal_live.recording import Recording
from fractal_live.reporter import Reporter
from fractal_live.settings import RunSettings
from fractal_live.status import Status


class LiveSet:
    """For the event loop. `wakes` is set when the planning has something new to look at. `osc_in` is there once it
    listens, `link` once a session was joined."""

    def __init__(self, settings: RunSettings, now_ns: int) -> None:
        patch = settings.patch
        self.settings = settings
        self.wakes = asyncio.Event()
        self.controls = Controls(patch.controls, patch.plan, settings.seed, patch.points)
        self.planner = Planner(patch.meter, settings.sync != "internal", patch.outfit)
        self.planner.controls_changed(self.controls.snapshot)
        self.hands = MidiHands(patch.midi_map)
        self.listening = Listening(patch.meter, patch.follow, patch.respond, patch.listen_channel)
        self.osc_out = OscOut(patch.osc_out)
        self.osc_in: OscIn | None = None
        self.link: LinkLeader | None = None
        self.feedback = Feedback(self.osc_out, patch.meter)
        self.status = Status(TransportState(False, 0, patch.tempo_bpm, False, now_ns))
        self.status.title = patch.title
        self.reporter = Reporter(self.status, self.osc_out)
        self.recording = Recording(settings, self.reporter.tell)

    def mark(self, text: str) -> None:
        """Into the recording, at the place where the music is."""
        transport = self.status.transport
        self.recording.recorder.mark(transport.tick if transport.is_rolling else None, text)
