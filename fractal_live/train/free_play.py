"""What songs cannot teach: how a model drifts that goes on from its own bars. It plays, its pieces are held against
songs, and the few weights that keep the balance are moved until both agree."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fractal_live.model import checkpoint
from fractal_live.model.balance import HARMONY_LAGS, KEY_HALVES, earlier_harmony
from fractal_live.model.config import CHROMA_CENTRES, HALF_STEPS, chroma_level
from fractal_live.model.engine import Engine
from fractal_live.model.fractal import Fractal
from fractal_live.model.grid import IntArray, grid_notes
from fractal_live.model.piece import compose
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import FOUR_FOUR
from fractal_live.music.request import Sampling
from fractal_live.music.structure import RETURN, best_before, likeness
from fractal_live.train.corpus import Song

PLAY_ROUNDS, PLAY_PIECES, PLAY_BARS = 12, 10, 32
PLAYS_AFTER = 1000  # steps of training; after fewer there are fewer rounds and pieces
STEPS, TIRES = np.array([*[8.0] * len(HARMONY_LAGS), 300.0, 12.0]), 2
"""How far a weight is moved at first for a figure that is off by 1: by trial, about what would put it right at once;
and the rounds after which it is moved half as far."""
MOST = np.array([*[np.inf] * len(HARMONY_LAGS), 0.0, 1.0])
"""Strange tones are kept out, never sought. Two nats for what goes on would bring as many bars back as songs do; with
more than one, what does not return is told from songs more easily (docs/experiments.md)."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Some bars in 4/4: notes (N, 4) as in `Song`, from step 0, and chroma levels (halves, 12)."""

    notes: IntArray
    chroma: IntArray


def figures(stretches: list[Stretch]) -> FloatArray:
    """What is to be in balance, one figure for each of the weights: the mean likeness (cosine) of the harmonies of half
    bars HARMONY_LAGS apart; the share of a half bar's harmony that is foreign to those before it, as the balance hears
    it; and the share of bars that are known again: of a likeness (cosine of what is struck) of at
    least RETURN to one before them. NaN where there is nothing to count."""
    alike: list[list[float]] = [[] for _ in HARMONY_LAGS]
    foreign: list[float] = []
    returning: list[float] = []
    for stretch in stretches:
        held = np.array(CHROMA_CENTRES)[stretch.chroma]
        strange = earlier_harmony(torch.from_numpy(stretch.chroma), torch.arange(len(held)))[:, -1].numpy()
        sounds = held.any(axis=1) & (np.arange(len(held)) >= KEY_HALVES // 2)
        foreign += ((held * strange)[sounds].sum(1) / held[sounds].sum(1)).tolist()
        held /= np.maximum(np.linalg.norm(held, axis=1, keepdims=True), 1e-9)
        for found, lag in zip(alike, HARMONY_LAGS, strict=True):
            found += (held[lag:] * held[:-lag]).sum(1).tolist()
        bar, place = np.divmod(stretch.notes[:, 0], FOUR_FOUR.steps_per_bar)
        struck = np.zeros((len(held) // 2, FOUR_FOUR.steps_per_bar, 128))
        struck[bar, place, stretch.notes[:, 1]] = 1
        best = best_before(likeness(struck.reshape(len(struck), -1)), 1)
        returning += (best[1:] >= RETURN).tolist()
    return np.array([np.mean(found) if found else np.nan for found in (*alike, foreign, returning)])


def stretches_of(songs: list[Song], bars: int) -> list[Stretch]:
    """Of those songs that stay in 4/4, one after another."""
    found, halves = [], bars * FOUR_FOUR.steps_per_bar // HALF_STEPS
    for song in songs:
        if (song.bar_steps != FOUR_FOUR.steps_per_bar).any():
            continue
        for low in range(0, len(song.chroma) - halves + 1, halves):
            begin, end = low * HALF_STEPS, (low + halves) * HALF_STEPS
            inside = (song.notes[:, 0] >= begin) & (song.notes[:, 0] < end)
            found.append(Stretch(song.notes[inside] - np.array([begin, 0, 0, 0]), song.chroma[low : low + halves]))
    return found


def played(engine: Engine, bars: int, seed: int) -> Stretch:
    """What is invented with nothing asked for."""
    piece = compose(engine, bars, seed, Sampling()).bars
    return Stretch(grid_notes(piece), chroma_level(np.concatenate([chroma_of_bar(bar) for bar in piece])))


def fit_balance(
    model: Fractal, songs: list[Song], rounds: int, seed: int, pieces: int = PLAY_PIECES, bars: int = PLAY_BARS
) -> tuple[FloatArray, FloatArray]:
    """Moves the weights of `Balance` until invented pieces have the figures of songs: stochastic approximation (Robbins
    and Monro 1951), of which the mean of the second half stays. Returns by how much the figures were off at first, and
    in the mean of that half."""
    wanted, balance = figures(stretches_of(songs, bars)), model.heads.balance
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        checkpoint.save(model, path, {})
        engine = Engine(path, "cpu")
    now = np.concatenate([balance.weights.numpy(), balance.lasting.numpy()]).astype(np.float64)
    weights, gaps = [now], []
    for turn in range(rounds):
        _tell(engine.model, weights[-1])
        seeds = np.random.SeedSequence([seed, 8, turn]).generate_state(pieces) >> 1
        gaps.append(np.nan_to_num(wanted - figures([played(engine, bars, int(own)) for own in seeds])))
        weights.append(np.minimum(weights[-1] + STEPS / (1 + turn / TIRES) * gaps[-1], MOST))
    half = (rounds + 1) // 2
    _tell(model, np.mean(weights[half:], axis=0))
    return gaps[0], np.mean(gaps[half - 1 :], axis=0)


def _tell(model: Fractal, weights: FloatArray) -> None:
    told = torch.from_numpy(weights.astype(np.float32))
    balance, lags = model.heads.balance, len(HARMONY_LAGS)
    balance.lags.copy_(told[:lags])
    balance.foreign.copy_(told[lags:-1])
    balance.lasting.copy_(told[-1:])
