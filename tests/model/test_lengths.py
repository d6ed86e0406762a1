"""Note lengths keep to what was asked of a bar, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from fractal_live.model.config import DURATIONS
from fractal_live.model.lengths import LENGTHS, Lengths
from fractal_live.music.plan import COLUMN, unknown_plan

STEPS = np.array([16])


def asked(**wishes: float) -> np.ndarray:
    plan = unknown_plan(1)
    for name, value in wishes.items():
        plan[0, COLUMN[name]] = value
    return plan


def scores_of(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 2, len(DURATIONS)).astype(np.float32)


def share(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores.astype(np.float64) - scores.max())
    return np.asarray(weights / weights.sum())


def played(lengths: Lengths, notes: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(step, length) of notes drawn one after another from drawn distributions."""
    made = []
    for step in sorted(rng.integers(0, 16, notes).tolist()):
        length = int(rng.choice(DURATIONS, p=share(lengths.tilted(0, step, scores_of(rng)))))
        lengths.told(0, step, length)
        made.append((step, length))
    return made


def test_what_was_not_asked_for_is_left_as_it_is() -> None:
    lengths = Lengths(asked(density=9, register=60), np.array([9]), STEPS)
    scores = scores_of(np.random.default_rng(1))
    assert lengths.tilted(0, 3, scores) is scores
    lengths.told(0, 3, 4)
    assert lengths.tilted(0, 5, scores) is scores


@pytest.mark.parametrize("duration", [1.5, 2.0, 4.0, 9.0])
def test_every_notes_mean_is_its_share_of_what_is_owed(duration: float) -> None:
    rng = np.random.default_rng(2)
    tilted = Lengths(asked(duration=duration), np.array([8]), STEPS).tilted(0, 0, scores_of(rng))
    assert share(tilted) @ LENGTHS == pytest.approx(duration, rel=1e-3)


@pytest.mark.parametrize("duration", [1.5, 3.0, 6.0])
def test_bars_have_the_mean_length_that_was_asked(duration: float) -> None:
    rng = np.random.default_rng(3)
    means = []
    for _ in range(40):
        made = played(Lengths(asked(duration=duration), np.array([14]), STEPS), 14, rng)
        means.append(np.mean([length for _, length in made]))
    assert np.mean(np.abs(np.array(means) - duration)) < 0.12 * duration


@pytest.mark.parametrize("polyphony", [1.0, 2.5, 4.0])
def test_bars_have_the_polyphony_that_was_asked_counted_inside_the_bar(polyphony: float) -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(40):
        made = played(Lengths(asked(polyphony=polyphony), np.array([14]), STEPS), 14, rng)
        found.append(sum(min(length, 16 - step) for step, length in made) / 16)
    assert np.mean(np.abs(np.array(found) - polyphony)) < 0.15 * polyphony


def test_the_mean_length_comes_before_the_polyphony_where_both_are_asked() -> None:
    scores = scores_of(np.random.default_rng(5))
    both = Lengths(asked(duration=3, polyphony=9), np.array([6]), STEPS).tilted(0, 0, scores)
    assert both == pytest.approx(Lengths(asked(duration=3), np.array([6]), STEPS).tilted(0, 0, scores))


def test_what_cannot_be_reached_is_approached_and_never_fails() -> None:
    lengths = Lengths(asked(duration=16), np.array([3]), STEPS)
    for length in (64, 64, 64, 64):  # more and longer notes than were asked for
        tilted = lengths.tilted(0, 15, scores_of(np.random.default_rng(6)))
        assert np.isfinite(tilted).all()
        lengths.told(0, 15, length)
