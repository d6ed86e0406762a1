"""Structure: what returns is seen to return, and shuffling is seen to break it."""

from __future__ import annotations

import numpy as np
import pytest

from fractal_live.music.excerpt import Excerpt, FloatArray, in_order
from fractal_live.music.structure import (
    best_before,
    best_paths,
    by_lag,
    fitness,
    likeness,
    long_term,
    sectioning,
    self_similarity,
    structure_features,
    structure_names,
)
from tests.music.test_metrics import drawn


def returning(every: int, bars: int, seed: int = 0) -> Excerpt:
    """The same few bars again and again."""
    return in_order(drawn(seed, bars=every), [bar % every for bar in range(bars)])


def test_likeness_by_lag_of_rows_that_come_back() -> None:
    rows = np.eye(2)[[0, 1, 0, 1]]
    assert by_lag(likeness(rows), (1, 2, 9)).tolist() == [0, 1, 0]


def test_an_empty_bar_is_like_nothing_and_counts_for_nothing() -> None:
    alike = likeness(np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))
    assert by_lag(alike, (1, 2)).tolist() == [0, 1]
    assert best_before(alike, 1).tolist() == [0, 0, pytest.approx(1)]


def slow_best_path(band: FloatArray) -> tuple[float, float, float]:
    """One band (N, M), cell by cell, as the recurrence is written down."""
    rows, width = band.shape
    never = (-1e9, 0.0, 0.0)
    table = [[never] * (width + 1) for _ in range(rows + 1)]
    table[0][0] = (0.0, 0.0, 0.0)
    for n in range(1, rows + 1):
        table[n][0] = max(table[n - 1][0], table[n - 1][width], key=lambda state: state[0])
        for m in range(1, width + 1):
            if m == 1:
                choices = [(*table[n][0], 1)]
            else:
                choices = [(*table[n - 1][m - 1], 1)]
                if m > 2:
                    choices.append((*table[n - 1][m - 2], 1))
                if n > 1:
                    choices.append((*table[n - 2][m - 1], 2))
            score, cells, covered, moved = max(choices, key=lambda choice: choice[0])
            table[n][m] = (score + band[n - 1, m - 1], cells + 1, covered + moved)
    return max(table[rows][0], table[rows][width], key=lambda state: state[0])


@pytest.mark.parametrize("seed", range(4))
def test_paths_side_by_side_are_those_found_cell_by_cell(seed: int) -> None:
    bands = np.random.default_rng(seed).uniform(-1, 1, (5, 14, 4))
    fast = np.stack(best_paths(bands), axis=1)
    assert np.allclose(fast, [slow_best_path(band) for band in bands])


def test_a_stretch_that_comes_back_all_the_time_explains_everything_but_itself() -> None:
    grid = np.where(np.equal.outer(np.arange(32) % 8, np.arange(32) % 8), 1.0, -1.0)
    assert fitness(grid, 8).max() == pytest.approx(2 * 0.75 * 0.75 / 1.5)
    assert fitness(np.where(np.eye(32, dtype=bool), 1.0, -1.0), 8).max() == 0


@pytest.mark.slow
def test_sections_that_return_are_heard_and_shuffling_breaks_them() -> None:
    piece = returning(8, 32)
    rng = np.random.default_rng(0)
    shuffled = in_order(piece, rng.permutation(32).tolist())
    assert (sectioning(piece) > sectioning(shuffled) + 0.1).all()


def test_self_similarity_keeps_a_fifth() -> None:
    grid = self_similarity(drawn(0, bars=16))
    kept = grid > -1
    assert np.allclose(np.diagonal(grid), 1)
    assert 0.19 < kept.mean() < 0.23


@pytest.mark.slow
def test_structure_features_are_named_and_see_the_period() -> None:
    named = dict(zip(structure_names(), structure_features(returning(4, 32)), strict=True))
    assert named["onset_lag_4"] == pytest.approx(1) and named["onset_lag_8"] == pytest.approx(1)
    assert named["onset_lag_3"] < 0.3
    assert named["repeated"] == pytest.approx(28 / 31)


def test_a_loop_returns_and_sticks_to_nothing() -> None:
    found = long_term(returning(4, 64), 16)
    assert (found["theme_return"], found["novel"], found["repeated"], found["stuck"]) == (1, 0, 1, 0)
    assert found["harmony_drift"] == pytest.approx(1, abs=1e-4) and found["density_sd"] == 0


def test_one_bar_for_ever_is_stuck_and_ever_new_bars_are_novel() -> None:
    assert long_term(returning(1, 64))["stuck"] == pytest.approx(63 / 64)
    fresh = long_term(drawn(0, bars=64, per_bar=6))
    assert fresh["novel"] > 0.9 and fresh["theme_return"] == 0
