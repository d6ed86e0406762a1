"""The balance of free play: what is measured of stretches, and weights that move until pieces have songs' figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fractal_live.model.balance import HARMONY_LAGS, KEY_HALVES, RARE, earlier_harmony
from fractal_live.model.config import CHROMA_CENTRES
from fractal_live.train import free_play
from fractal_live.train.free_play import STEPS, Stretch, figures, fit_balance, stretches_of
from tests.model.material import random_song
from tests.model.tiny import TINY, lively

MAJOR, MINOR = np.array([3, 0, 0, 0, 3, 0, 0, 3, 0, 0, 0, 0]), np.array([0, 0, 0, 3, 0, 0, 0, 0, 3, 0, 0, 3])


def stretch(halves: list[int]) -> Stretch:
    """Half bars by number: the same number is the same notes; harmonies alternate by even and odd."""
    notes = [[place * 8 + step, 40 + 2 * own + step, 80, 1] for place, own in enumerate(halves) for step in (0, 3)]
    return Stretch(np.array(notes), np.array([MINOR if own % 2 else MAJOR for own in halves]))


def test_likeness_is_by_distance_and_nothing_where_no_half_bars_are_so_far_apart() -> None:
    assert HARMONY_LAGS == (1, 2, 4)
    assert figures([stretch([0, 1] * 6)])[:3].round(6).tolist() == [0.0, 1.0, 1.0]
    found = figures([stretch([0, 1, 0, 1])])
    assert found[:2].round(6).tolist() == [0.0, 1.0] and np.isnan(found[2])


def test_a_bar_that_returns_is_one_that_is_known_again_whatever_half_bars_return() -> None:
    first = [0, 2, 4, 6, 8, 10]
    assert figures([stretch([*first, *first])])[-1] == pytest.approx(3 / 5), "of the bars that have one before them"
    assert figures([stretch([*first, 0, 20, 4, 22])])[-1] == 0.0, "half of it is not enough"
    assert figures([stretch(first)])[-1] == 0.0


def test_what_is_foreign_is_the_share_of_a_half_bar_that_those_before_it_hardly_held() -> None:
    """The odd half bars' harmony has no note of the even ones': all of it is foreign until it has been heard."""
    assert KEY_HALVES == 16 and figures([stretch([0] * 12)])[3] == 0.0
    assert figures([stretch([0] * 10 + [1, 1])])[3] == pytest.approx(1 / 4), "of the last four, whose key is known"
    touched = stretch([0] * 12)
    touched.chroma[2:, 1], touched.chroma[11:, 2] = 1, 1
    own = CHROMA_CENTRES[1] / (3 * CHROMA_CENTRES[3] + 2 * CHROMA_CENTRES[1])
    assert RARE < CHROMA_CENTRES[1] * 6 / 8
    assert figures([touched])[3] == pytest.approx(own / 4), "one class is at home by then, the other is new"
    assert np.isnan(figures([stretch([0] * 8)])[3]), "no half bar has as many before it as tell a key"


def test_songs_are_cut_into_stretches_whose_notes_begin_at_their_own_first_step() -> None:
    song = random_song(1, bars=10)
    found = stretches_of([song], 4)
    assert [len(each.chroma) for each in found] == [8, 8]
    low, high = found[1].notes[:, 0].min(), found[1].notes[:, 0].max()
    assert 0 <= low and high < 64
    inside = (song.notes[:, 0] >= 64) & (song.notes[:, 0] < 128)
    assert np.array_equal(found[1].notes + np.array([64, 0, 0, 0]), song.notes[inside])


def test_harmony_is_told_of_known_half_bars_alone_and_about_its_mean() -> None:
    chroma = torch.from_numpy(np.stack([MAJOR, MINOR, MAJOR]))
    told = earlier_harmony(chroma, torch.tensor([0, 5, 1]))
    centred = torch.tensor(CHROMA_CENTRES)[chroma]
    centred = centred - centred.mean(-1, keepdim=True)
    assert torch.equal(told[1, 0], centred[0]), "the half bar before"
    assert not told[2, 0].any(), "not known yet"
    assert torch.equal(told[2, 1], centred[0]), "two before"
    assert not told[0].any() and not told[:, 2:].any()


def test_a_class_is_foreign_where_enough_half_bars_are_known_and_hardly_hold_it() -> None:
    chroma = torch.from_numpy(np.stack([MAJOR] * KEY_HALVES + [MINOR] * 3))
    group = torch.arange(len(chroma))
    foreign = earlier_harmony(chroma, group)[:, -1]
    half = KEY_HALVES // 2
    assert not foreign[:half].any()
    assert torch.equal(foreign[half], 1 - torch.from_numpy(MAJOR > 0).float())
    assert torch.equal(foreign[KEY_HALVES + 1], foreign[half] * torch.from_numpy(MINOR == 0)), "one half bar is enough"
    group[:half] = len(group)
    assert not earlier_harmony(chroma, group)[half:KEY_HALVES, -1].any(), "too few are known"


def test_the_weights_move_against_what_is_off_and_what_was_last_tried_is_averaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that answers each weight by itself: it is found where its figures are those of songs."""
    model, right = lively(3), np.array([0.3, -0.5, 0.2, -2.0, 0.4])
    balance = model.heads.balance
    for weights in (balance.lags, balance.foreign, balance.lasting):
        weights.zero_()
    wanted = np.full(len(right), 0.5)
    song = random_song(2, bars=8)

    def heard(stretches: list[Stretch]) -> np.ndarray:
        if not isinstance(stretches[0], Stretch):  # a piece of the model: it was told these weights
            now = np.concatenate([played_by.heads.balance.weights, played_by.heads.balance.lasting])
            return wanted + (now - right) / STEPS
        return wanted

    played_by = model

    def piece(engine: free_play.Engine, bars: int, seed: int) -> object:
        nonlocal played_by
        played_by = engine.model
        return None

    monkeypatch.setattr(free_play, "figures", heard)
    monkeypatch.setattr(free_play, "played", piece)
    first, last = fit_balance(model, [song], rounds=16, seed=0, pieces=1, bars=4)
    found = np.concatenate([balance.weights, balance.lasting])
    assert np.abs(found - right).max() < 0.02
    assert np.abs(last).max() < np.abs(first).max() / 10


def test_a_model_plays_and_nothing_but_its_balance_moves() -> None:
    model = lively(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit_balance(model, [random_song(3, bars=12)], rounds=2, seed=0, pieces=1, bars=6)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"heads.balance.lags", "heads.balance.foreign", "heads.balance.lasting"}
    assert TINY == model.config
