from __future__ import annotations

import numpy as np
import pytest

from fractal_live.model.heights import MOST_LEAN, STRENGTH, Heights
from fractal_live.music.plan import COLUMN, unknown_plan


def asked(register: float) -> np.ndarray:
    plan = unknown_plan(1)
    plan[0, COLUMN["register"]] = register
    return plan


def shares(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


@pytest.fixture
def scores() -> np.ndarray:
    drawn = np.random.default_rng(4).normal(0, 2, 129).astype(np.float32)
    drawn[:20] = -np.inf
    return drawn


def test_where_nothing_is_asked_or_nothing_is_off_nothing_leans(scores: np.ndarray) -> None:
    free = Heights(unknown_plan(1), np.array([9]))
    free.told(0, 30)
    assert free.leaning(0, scores) is scores
    assert np.allclose(Heights(asked(60), np.array([9])).leaning(0, scores), scores, atol=1e-5)


@pytest.mark.parametrize(("so_far", "sign"), [(40, 1), (80, -1)])
def test_what_is_off_leans_the_notes_to_come_the_other_way_and_the_stop_keeps_its_chance(
    scores: np.ndarray, so_far: int, sign: int
) -> None:
    heights = Heights(asked(60), np.array([9]))
    means = []
    for _ in range(4):
        now = shares(heights.leaning(0, scores))
        assert now[-1] == pytest.approx(shares(scores)[-1], rel=1e-4)
        assert not now[:20].any()
        means.append(float(now[:-1] @ np.arange(128)))
        heights.told(0, so_far)
    assert np.all(sign * np.diff(means) > 0)


def test_however_much_is_owed_the_lean_is_bounded(scores: np.ndarray) -> None:
    heights = Heights(asked(127), np.array([2]))
    heights.told(0, 0)
    slope = np.diff(heights.leaning(0, scores)[20:128] - scores[20:128])
    assert np.allclose(slope, MOST_LEAN, atol=1e-4) and STRENGTH * 127 > MOST_LEAN


def test_where_no_pitch_is_free_there_is_nothing_to_lean(scores: np.ndarray) -> None:
    scores[:-1] = -np.inf
    heights = Heights(asked(60), np.array([9]))
    heights.told(0, 30)
    assert heights.leaning(0, scores) is scores


def test_a_bar_that_has_all_its_notes_leans_no_more(scores: np.ndarray) -> None:
    heights = Heights(asked(60), np.array([1]))
    heights.told(0, 10)
    assert heights.leaning(0, scores) is scores
