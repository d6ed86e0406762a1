"""What OSC subscribers are told: the state, each bar with its plan, each note as it sounds.

Floats and whole numbers only, one value per address where a client wires it to a channel.
"""

from __future__ import annotations

import numpy as np

from fractal_live.music.meter import PPQN, Meter
from fractal_live.music.plan import ATTRIBUTES, PlanTable
from fractal_live.ports.osc_out import OscOut
from fractal_live.ports.pipes import Sounded, StageHealth, TransportState

NOTE_OFF, NOTE_ON = 0x80, 0x90
NOT_IMAGINED = -1.0


def tell_state(osc_out: OscOut, meter: Meter, transport: TransportState, health: StageHealth, lead_bars: int) -> None:
    """Position and health; meant for about ten times a second."""
    bar, inside = meter.bar_at(max(0, transport.tick))
    osc_out.send("/fractal/out/beat", bar, inside // PPQN, (inside % PPQN) / PPQN)
    osc_out.send("/fractal/out/state/lead", lead_bars)
    osc_out.send("/fractal/out/state/underruns", health.underruns)
    osc_out.send("/fractal/out/state/lateness_ms", health.lateness_p99_ns / 1e6)
    osc_out.send("/fractal/out/state/tempo", transport.tempo_bpm)


def tell_bar(osc_out: OscOut, bar_index: int, plan: PlanTable) -> None:
    """A bar has begun: its index, and the plan (32, 6) from it on, a message per attribute; what is not
    imagined yet is sent as -1, because a NaN would stay in a client's filters."""
    osc_out.send("/fractal/out/bar", bar_index)
    known = np.where(np.isnan(plan), NOT_IMAGINED, plan)
    for column, attribute in enumerate(ATTRIBUTES):
        osc_out.send(f"/fractal/out/plan/{attribute.name}", *(float(value) for value in known[:, column]))


def tell_note(osc_out: OscOut, sounded: Sounded) -> None:
    """A note as it sounds: pitch, velocity (0 when it ends), channel 1 to 16."""
    if sounded.message[0] & 0xF0 not in (NOTE_OFF, NOTE_ON):
        return
    status, pitch, velocity = sounded.message
    if status & 0xF0 in (NOTE_OFF, NOTE_ON):
        osc_out.send("/fractal/out/note", pitch, velocity if status & 0xF0 == NOTE_ON else 0, (status & 0x0F) + 1)
