"""Generators whose scores are known, and songs of our own making for the judges to hear beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fractal_live.music.consensus import CANDIDATES
from fractal_live.music.harmony import HALF_BAR_STEPS
from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note, Score, without_overlaps
from fractal_live.music.plan import ATTRIBUTES, COLUMN, PLAN_BARS, PlanTable
from fractal_live.music.request import BarReply, BarRequest, InfillRequest
from fractal_live.train.corpus import Song, song_from_score

MIDDLE = np.array([12, 90, 3, 4, 64, 80], dtype=np.float32)
WIDTH = np.array([4, 12, 0.4, 0.6, 4, 8], dtype=np.float32)


def drawn_bar(index: int, rng: np.random.Generator, notes: int = 12, low: int = 48) -> Bar:
    chosen = [
        Note(int(step) * TICKS_PER_STEP, low + int(pitch), int(steps) * TICKS_PER_STEP, int(velocity))
        for step, pitch, steps, velocity in zip(
            rng.integers(0, 16, notes),
            rng.integers(0, 30, notes),
            rng.integers(1, 6, notes),
            rng.integers(50, 110, notes),
            strict=True,
        )
    ]
    return Bar(index, without_overlaps(chosen), tempo_bpm=90.0)


def song(seed: int, bars: int = 34, period: int = 8) -> Song:
    """Drawn bars that come back, each time with a bar of their own between."""
    rng = np.random.default_rng(seed)
    themes = [drawn_bar(0, rng, int(rng.integers(8, 18))) for _ in range(period)]
    made = [themes[index % period] if index % 5 else drawn_bar(0, rng) for index in range(bars)]
    tempo_bpm = 70.0 + 5 * (seed % 8)
    bars_made = tuple(replace(bar, index=place, tempo_bpm=tempo_bpm) for place, bar in enumerate(made))
    return song_from_score(f"song-{seed}", Score(bars_made))


class Silent:
    """The least that a generator may answer: bars without notes, where a plan is unknown the middle of everything."""

    checkpoint_id = "fake"
    parameters = 0

    def __init__(self) -> None:
        self.training: dict[str, Any] = {}

    def bar(self, request: BarRequest) -> BarReply:
        plan = np.where(np.isnan(request.plan), MIDDLE, request.plan).astype(np.float32)
        return BarReply(Bar(request.index, meter=request.meter, seed=request.seed), plan, 0, 0)

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
        pairs = zip(request.bars, request.is_missing, strict=True)
        return tuple(replace(bar, notes=()) if is_missing else bar for bar, is_missing in pairs)


class Wild(Silent):
    """Plays drawn bars whatever it is asked."""

    def bar(self, request: BarRequest) -> BarReply:
        rng = np.random.default_rng([request.seed, request.index])
        bar = replace(drawn_bar(request.index, rng, int(rng.integers(4, 20))), seed=request.seed)
        return BarReply(bar, np.where(np.isnan(request.plan), MIDDLE, request.plan), 0, 0)


class Repeating(Wild):
    """Plays the bars of one song over and over."""

    def __init__(self, bars: Sequence[Bar]) -> None:
        super().__init__()
        self.bars = bars

    def bar(self, request: BarRequest) -> BarReply:
        reply = super().bar(request)
        return replace(reply, bar=self.bars[request.index % len(self.bars)].moved_to(request.index))


class Obedient(Silent):
    """Plays exactly so many notes as its plan says, at its register and loudness, in its harmony. `slip` notes are
    added or left out by chance, fewer the more guidance is asked for."""

    def __init__(self, slip: float = 0.0) -> None:
        super().__init__()
        self.slip = slip

    def bar(self, request: BarRequest) -> BarReply:
        rng = np.random.default_rng([request.seed, request.index])
        plan = np.where(np.isnan(request.plan), MIDDLE, request.plan).astype(np.float32)
        row = plan[0]
        slip = self.slip / request.sampling.cfg_scale
        notes = int(max(0, np.round(row[COLUMN["density"]] + slip * rng.standard_normal())))
        played = self._notes(min(notes, 47), row, request, slip, rng)
        return BarReply(Bar(request.index, played, tempo_bpm=float(row[COLUMN["tempo"]])), plan, 0, 0)

    def _notes(
        self, count: int, row: PlanTable, request: BarRequest, slip: float, rng: np.random.Generator
    ) -> tuple[Note, ...]:
        register = row[COLUMN["register"]] + slip * rng.standard_normal()
        cells = [(step, pitch) for step in range(16) for pitch in range(36, 100)]
        if request.chroma is not None and request.chroma.any():
            rules = request.chroma.argmax(1)
            cells = [(step, pitch) for step, pitch in cells if pitch % 12 == rules[step // HALF_BAR_STEPS]]
        cells.sort(key=lambda cell: (abs(cell[1] - register) // 6, (7 * cell[0]) % 16, cell[1]))
        steps = max(1, round(float(row[COLUMN["duration"]])))
        loudness = int(np.clip(round(float(row[COLUMN["loudness"]])), 1, 127))
        return tuple(
            sorted(
                Note(step * TICKS_PER_STEP, pitch, steps * TICKS_PER_STEP, loudness) for step, pitch in cells[:count]
            )
        )


class Dreaming(Obedient):
    """Its latent decides its plan as `dream` says; what the latent leaves open is drawn, `loose` of it."""

    def __init__(self, dream: Callable[[np.ndarray], np.ndarray], loose: float = 0.1) -> None:
        super().__init__()
        self.dream, self.loose = dream, loose

    def imagine(self, request: BarRequest) -> PlanTable:
        rng = np.random.default_rng([request.seed, 7])
        latent = np.array(request.latent, dtype=np.float64)
        decided = self.dream(latent) if request.latent_gain else np.zeros((PLAN_BARS, len(ATTRIBUTES)))
        cells = decided + self.loose * rng.standard_normal((PLAN_BARS, len(ATTRIBUTES)))
        return (MIDDLE + WIDTH * cells).astype(np.float32)


def aligned_dream(latent: np.ndarray) -> np.ndarray:
    """The first five dimensions move what they name; the others bend the shape."""
    time = np.linspace(-1, 1, PLAN_BARS)
    cells = np.zeros((PLAN_BARS, len(ATTRIBUTES)))
    cells[:, COLUMN["density"]] = latent[0] + latent[1] * time + latent[5] * np.sin(3 * time)
    cells[:, COLUMN["register"]] = latent[2] + latent[6] * np.cos(4 * time)
    cells[:, COLUMN["loudness"]] = latent[3] + latent[7] * np.sin(5 * time)
    cells[:, COLUMN["tempo"]] = latent[4]
    cells[:, COLUMN["polyphony"]] = latent[8] + latent[9] * time
    cells[:, COLUMN["duration"]] = latent[10] + latent[11] * time
    return cells


class Knowing(Silent):
    """Fills gaps with what it was told beforehand stood there."""

    def __init__(self, truths: Sequence[Sequence[Bar]]) -> None:
        super().__init__()
        self.truths = truths
        self.asked: list[InfillRequest] = []

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
        self.asked.append(request)
        return tuple(self.truths[(len(self.asked) - 1) // CANDIDATES])


class Copying(Silent):
    """Fills gaps with the bars before them; `spoils` what it was to leave alone, if told so."""

    def __init__(self, bars_back: int = 4, spoils: bool = False) -> None:
        super().__init__()
        self.bars_back, self.spoils = bars_back, spoils

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
        made = list(request.bars)
        for place, gone in enumerate(request.is_missing):
            if gone:
                made[place] = made[place - self.bars_back].moved_to(place)
        if self.spoils:
            made[0] = Bar(0, (Note(0, 21, 120, 1),))
        return tuple(made)
