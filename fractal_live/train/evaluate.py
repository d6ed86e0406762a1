"""How a checkpoint plays, in numbers, beside real music: distributions of what it invents, and how nearly it
plays the plans it is given.

Real songs that were held out stand beside the model in every table, so that a figure can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fractal_live.model.config import DURATIONS, duration_class
from fractal_live.model.engine import Engine
from fractal_live.model.piece import compose
from fractal_live.music.harmony import scale_consistency
from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note, on_grid
from fractal_live.music.plan import ATTRIBUTES, COLUMN, measure
from fractal_live.music.request import Sampling
from fractal_live.train.corpus import Song

FloatArray = npt.NDArray[np.float64]
STEPS = 16
LAGS = (1, 4, 8)


@dataclass(frozen=True, slots=True)
class Features:
    """Histograms and means over 4/4 pieces: onsets by sixteenth (16), pitches (128), durations by class, mean
    scale consistency of a piece (0 to 1), onsets per bar (mean, standard deviation), mean polyphony, and how alike
    bars are that lie so many bars apart (0 to 1)."""

    onset: FloatArray
    pitch: FloatArray
    duration: FloatArray
    scale: float
    density: float
    density_sd: float
    polyphony: float
    similarity: dict[int, float]


def features(pieces: Sequence[Sequence[Bar]]) -> Features:
    """Features of pieces whose bars lie on the grid and have 16 steps."""
    notes = [note for bars in pieces for bar in bars for note in bar.notes]
    steps = np.array([note.onset_tick // TICKS_PER_STEP for note in notes])
    durations = duration_class(np.array([note.duration_ticks // TICKS_PER_STEP for note in notes]))
    rows = np.stack([measure(bar) for bars in pieces for bar in bars])
    return Features(
        np.bincount(steps, minlength=STEPS).astype(float),
        np.bincount([note.pitch for note in notes], minlength=128).astype(float),
        np.bincount(durations, minlength=len(DURATIONS)).astype(float),
        float(np.mean([scale_consistency([note.pitch for bar in bars for note in bar.notes]) for bars in pieces])),
        float(rows[:, COLUMN["density"]].mean()),
        float(rows[:, COLUMN["density"]].std()),
        float(rows[:, COLUMN["polyphony"]].mean()),
        {lag: similarity(pieces, lag) for lag in LAGS},
    )


def similarity(pieces: Sequence[Sequence[Bar]], lag: int) -> float:
    """Mean cosine of the onset rolls of bars `lag` bars apart; 0 where pieces are too short to tell."""
    cosines = []
    for bars in pieces:
        struck = [{(note.onset_tick, note.pitch) for note in bar.notes} for bar in bars]
        for here, there in zip(struck, struck[lag:], strict=False):
            if here and there:
                cosines.append(len(here & there) / np.sqrt(len(here) * len(there)))
    return float(np.mean(cosines)) if cosines else 0.0


def divergence(p: FloatArray, q: FloatArray) -> float:
    """Jensen-Shannon divergence of two histograms in bits, 0 to 1."""
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    total = 0.0
    for share in (p, q):
        there = share > 0
        total += 0.5 * float(np.sum(share[there] * np.log2(share[there] / middle[there])))
    return total


def windows(songs: Sequence[Song], bars: int, count: int) -> list[tuple[Bar, ...]]:
    """Up to `count` runs of `bars` full 4/4 bars, from the middle of as many songs as there are."""
    found: list[tuple[Bar, ...]] = []
    for song in songs:
        full = song.bar_steps == STEPS
        for first in range(song.bars // 3, song.bars - bars):
            if full[first : first + bars].all():
                found.append(_bars_of(song, first, bars))
                break
        if len(found) == count:
            break
    return found


def _bars_of(song: Song, first: int, count: int) -> tuple[Bar, ...]:
    result = []
    for index in range(first, first + count):
        start = song.bar_start[index]
        inside = song.notes[(song.notes[:, 0] >= start) & (song.notes[:, 0] < start + STEPS)]
        notes = [
            Note(int(step - start) * TICKS_PER_STEP, int(pitch), int(steps) * TICKS_PER_STEP, int(velocity))
            for step, pitch, velocity, steps in inside
        ]
        tempo_bpm = float(song.plan[index, COLUMN["tempo"]])
        result.append(Bar(index - first, tuple(sorted(notes)), tempo_bpm=tempo_bpm))
    return tuple(result)


def quality(
    engine: Engine,
    real: Sequence[Sequence[Bar]],
    other_real: Sequence[Sequence[Bar]],
    pieces: int,
    bars: int,
    seed: int,
    on_piece: Callable[[], None],
) -> dict[str, dict[str, float]]:
    """Rows `model`, `real` (other songs) and `noise` against `real` songs: divergences of onset place, pitch and
    duration; scale consistency; onsets per bar; polyphony; likeness of bars 1, 4 and 8 apart."""
    invented = []
    for index in range(pieces):
        invented.append(compose(engine, bars, seed + index, Sampling()).bars)
        on_piece()
    anchor = features(real)
    rng = np.random.default_rng(seed)
    noise = [_noise(rng, bars, anchor.density) for _ in range(pieces)]
    table = {"model": features(invented), "real": features(other_real), "noise": features(noise)}
    return {name: _row(found, anchor) for name, found in table.items()}


def _row(found: Features, anchor: Features) -> dict[str, float]:
    return {
        "onset_jsd": divergence(found.onset, anchor.onset),
        "pitch_jsd": divergence(found.pitch, anchor.pitch),
        "duration_jsd": divergence(found.duration, anchor.duration),
        "scale_consistency": found.scale,
        "onsets_per_bar": found.density,
        "onsets_per_bar_sd": found.density_sd,
        "polyphony": found.polyphony,
        **{f"alike_{lag}": value for lag, value in found.similarity.items()},
    }


def _noise(rng: np.random.Generator, bars: int, density: float) -> tuple[Bar, ...]:
    """Bars of notes drawn evenly from everything: what no metric should like."""
    result = []
    for index in range(bars):
        notes = [
            Note(int(step) * TICKS_PER_STEP, int(pitch), int(steps) * TICKS_PER_STEP, 80)
            for step, pitch, steps in zip(
                rng.integers(0, STEPS, round(density)),
                rng.integers(36, 90, round(density)),
                rng.integers(1, 9, round(density)),
                strict=True,
            )
        ]
        result.append(on_grid(Bar(index, tuple(sorted(set(notes))))))
    return tuple(result)


def plan_adherence(
    engine: Engine, real: Sequence[Sequence[Bar]], sampling: Sampling, seed: int, on_piece: Callable[[], None]
) -> dict[str, dict[str, float]]:
    """Plans of real pieces given whole, bar by bar; per attribute the correlation of what was asked with what was
    played over all bars (`pooled_r`), and the mean absolute error in its unit (`mae`)."""
    asked, played = [], []
    for index, bars in enumerate(real):
        plan = np.stack([measure(bar) for bar in bars])
        made = compose(engine, len(bars), seed + index, sampling, plan).bars
        asked.append(plan)
        played.append(np.stack([measure(bar) for bar in made]))
        on_piece()
    wanted, found = np.concatenate(asked), np.concatenate(played)
    result = {}
    for column, attribute in enumerate(ATTRIBUTES):
        if attribute.name == "tempo":
            continue  # a bar's tempo is the plan's: nothing is played that could differ
        both = ~np.isnan(wanted[:, column]) & ~np.isnan(found[:, column])
        a, b = wanted[both, column], found[both, column]
        result[attribute.name] = {"pooled_r": float(np.corrcoef(a, b)[0, 1]), "mae": float(np.abs(a - b).mean())}
    return result
