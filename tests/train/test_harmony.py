"""Chords and sections: which pitch classes belong together, in one key for all, and how long what returns goes on
returning, are learned by themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fractal_live.model.config import CHROMA_LEVELS
from fractal_live.model.phrase import Consonance
from fractal_live.train.dataset import Dataset
from fractal_live.train.halves import half_bars
from fractal_live.train.harmony import fit_harmony, fit_runs
from tests.model.material import random_song
from tests.model.tiny import TINY, lively

LEARNED = {"heads.own.weight", "heads.own.bias", "heads.pair", "heads.copied_chroma"}
TRIAD = np.array([3, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0])


def moved_lively() -> Consonance:
    consonance = Consonance().requires_grad_(False)
    torch.manual_seed(1)
    consonance.out.weight.normal_()
    return consonance


def test_a_class_hears_those_before_it_and_no_other() -> None:
    consonance, rng = moved_lively(), np.random.default_rng(1)
    expected = torch.from_numpy(rng.standard_normal((1, 12, CHROMA_LEVELS)).astype(np.float32))
    chroma = torch.from_numpy(rng.integers(0, CHROMA_LEVELS, (1, 12)))
    before = consonance(expected, chroma)
    for changed in range(12):
        other = chroma.clone()
        other[0, changed] = (other[0, changed] + 1) % CHROMA_LEVELS
        differs = (consonance(expected, other) - before).abs().sum(-1)[0] > 0
        assert differs.tolist() == [place > changed for place in range(12)]


def test_chords_that_are_learned_make_held_out_harmony_cheaper_and_move_nothing_else() -> None:
    """Songs whose half bars are triads of any root."""
    rng, model = np.random.default_rng(3), lively(2)
    songs = []
    for seed in range(3):
        song = random_song(seed, bars=24)
        roots = rng.integers(0, 12, len(song.chroma))
        songs.append(replace(song, chroma=np.stack([np.roll(TRIAD, root) for root in roots])))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held_out = half_bars(model, Dataset(songs[2:], TINY), 8, seed=9)

    def nats() -> float:
        with torch.inference_mode():
            scores = model.heads.chroma_scores(held_out.hidden, held_out.chroma, held_out.source)
            return float(torch.nn.functional.cross_entropy(scores.flatten(0, 1), held_out.chroma.flatten())) * 12

    dear = nats()
    halves = half_bars(model, Dataset(songs[:2], TINY), 24, seed=0)
    first, last = fit_harmony(model, halves, 150, seed=0)
    assert last < first
    assert nats() < dear / 2
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in moved if "consonance" not in name} == LEARNED
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_sections_that_are_learned_go_on_the_longer_they_have_gone_on_and_move_nothing_else() -> None:
    """A song that says the same four bars again and again echoes them from one distance for as long as it lasts."""
    model, song = lively(2), random_song(3, bars=24)
    size = int(song.bar_start[4])
    phrase = song.notes[song.notes[:, 0] < size]
    notes = np.concatenate([phrase + np.array([turn * size, 0, 0, 0]) for turn in range(6)])
    dataset = Dataset([replace(song, notes=notes)], TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, last = fit_runs(model, half_bars(model, dataset, 24, seed=0), 150, seed=0)
    assert last < first
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"heads.continued", "heads.lasting"}
    exactly = (model.heads.lasting - before["heads.lasting"])[:, 3]
    assert float(exactly[4:8].mean()) > 0.5
    assert not any(parameter.requires_grad for parameter in model.parameters())
