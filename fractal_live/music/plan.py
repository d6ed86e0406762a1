"""The plan: level 0 of the hierarchy, a table with one row of readable numbers per bar.

Each attribute can be measured on notes, so that obeying the plan is a number. An unknown cell
(not given, or not measurable because the bar is empty) is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar

PLAN_BARS = 32

PlanTable = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One column of the plan: `low` and `high` bound what may be asked for, in `unit`."""

    name: str
    low: float
    high: float
    unit: str
    help: str


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("density", 0, 47, "onsets per bar", "how many notes begin in a bar"),
    Attribute("tempo", 40, 200, "bpm", "beats per minute"),
    Attribute("polyphony", 0, 10, "pitches", "mean number of pitches sounding at once"),
    Attribute("duration", 0, 16, "steps", "mean length of a note"),
    Attribute("register", 36, 96, "MIDI pitch", "mean pitch"),
    Attribute("loudness", 1, 127, "MIDI velocity", "mean velocity"),
)
COLUMN: dict[str, int] = {attribute.name: column for column, attribute in enumerate(ATTRIBUTES)}
LOW = np.array([attribute.low for attribute in ATTRIBUTES], dtype=np.float32)
HIGH = np.array([attribute.high for attribute in ATTRIBUTES], dtype=np.float32)


def unknown_plan(bars: int = PLAN_BARS) -> PlanTable:
    """A plan in which nothing is known: (bars, 6) of NaN."""
    return np.full((bars, len(ATTRIBUTES)), np.nan, dtype=np.float32)


def clamped(plan: PlanTable) -> PlanTable:
    """The plan with every known cell inside its attribute's range; NaN stays NaN."""
    return np.clip(plan, LOW, HIGH).astype(np.float32)


def measure(bar: Bar) -> PlanTable:
    """The plan row that a bar's own notes realise: (6,). What an empty bar leaves undefined
    (duration, register, loudness) is NaN."""
    row = np.full(len(ATTRIBUTES), np.nan, dtype=np.float32)
    row[COLUMN["density"]] = len(bar.notes)
    row[COLUMN["tempo"]] = bar.tempo_bpm
    end = bar.meter.ticks_per_bar
    inside = sum(min(note.duration_ticks, end - note.onset_tick) for note in bar.notes)
    row[COLUMN["polyphony"]] = inside / end
    if bar.notes:
        count = len(bar.notes)
        row[COLUMN["duration"]] = sum(note.duration_ticks for note in bar.notes) / count / TICKS_PER_STEP
        row[COLUMN["register"]] = sum(note.pitch for note in bar.notes) / count
        row[COLUMN["loudness"]] = sum(note.velocity for note in bar.notes) / count
    return row
