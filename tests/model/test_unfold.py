"""Train as you sample: what is recorded while notes are drawn is the likelihood that training gives them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fractal_live.model.config import ModelConfig
from fractal_live.model.unfold import Unfolded, unfold_bar, unfold_missing, unfold_piece
from fractal_live.model.unfolding import Unfolding
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.plan import measure, unknown_plan
from fractal_live.music.request import BarRequest, InfillRequest, Sampling, Withdrawn
from tests.model.material import dense, played
from tests.model.teacher import evened, final_bars, recorded, restrikes, steps_of, teacher_forced, watched
from tests.model.tiny import CONFIGS, lively

METERS = (FOUR_FOUR, Meter(3, 4), Meter(7, 8))
EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
CASES = [
    pytest.param(config, meter, id=f"{name}-{meter}")
    for index, (name, config) in enumerate(CONFIGS.items())
    for place, meter in enumerate(METERS)
    if name == "live" or place == index % 3
]
EVERY_CASE = pytest.mark.parametrize(("config", "meter"), CASES)
SOME_CONFIGS = pytest.mark.parametrize(
    "config", [pytest.param(CONFIGS[name], id=name) for name in ("live", "all-mar", "bands-column-mar", "bands-row-ar")]
)


def close(expected: float) -> object:
    """Sums of some hundred float32 scores that were computed in another order."""
    return pytest.approx(expected, abs=2e-3, rel=1e-5)


def taught(config: ModelConfig, done: Unfolding, result: Unfolded, is_given: bool = True) -> float:
    """What training pays for the notes of a piece without a past. The rows that level 0 is shown are the plan's."""
    rows = unknown_plan(config.past_bars + config.plan_bars)
    rows[config.past_bars : config.past_bars + len(result.plan)] = result.plan
    places = np.arange(len(rows)) - config.past_bars
    is_present = (places >= 0) & (places < len(result.plan))
    return teacher_forced(done, rows, is_present, config.past_bars, is_given=is_given)


def comparable(done: Unfolding) -> bool:
    return not restrikes(steps_of(final_bars(done), done))


def unfolded(ask: Callable[[torch.Generator], Unfolded]) -> tuple[Unfolding, Unfolded]:
    """The last unfolding that is begun for the first seed whose notes can be compared, and what comes of it."""
    for seed in range(20):
        with watched() as begun, torch.inference_mode():
            result = ask(torch.Generator().manual_seed(seed))
        if comparable(begun[-1]):
            return begun[-1], result
    raise AssertionError("in every piece some note is struck again while it sounds")


@EVERY_CASE
def test_of_a_bar_the_likelihood_while_sampling_is_that_in_training(config: ModelConfig, meter: Meter) -> None:
    model = evened(lively(7, config))
    past = played(5, meter, config.pitch_low, config.pitch_high)
    request = BarRequest(5, past, dense(7), meter=meter)
    done, result = unfolded(lambda chance: unfold_bar(model, request, chance))
    rows = unknown_plan(config.past_bars + config.plan_bars)
    rows[config.past_bars - 5 : config.past_bars] = [measure(bar) for bar in past]
    rows[config.past_bars :] = result.plan[: config.plan_bars]
    is_present = np.arange(len(rows)) >= config.past_bars - 5
    expected = teacher_forced(done, rows, is_present, config.past_bars - 5)
    assert recorded(done) == close(expected)


@EVERY_CONFIG
def test_of_a_first_bar_that_must_begin_at_once_the_likelihood_is_that_in_training(config: ModelConfig) -> None:
    """The onset that is forced counts for what the model gives it, like one that is given."""
    model = evened(lively(7, config))
    model.leaf.stop.bias += 2.0
    done, result = unfolded(lambda chance: unfold_bar(model, BarRequest(0, plan=dense(3)), chance))
    assert min(note.onset_tick for note in result.bars[0]) == 0
    rows = unknown_plan(config.past_bars + config.plan_bars)
    rows[config.past_bars :] = result.plan[: config.plan_bars]
    is_present = np.arange(len(rows)) >= config.past_bars
    assert recorded(done) == close(teacher_forced(done, rows, is_present, config.past_bars))


@EVERY_CASE
def test_of_a_gap_the_likelihood_while_sampling_is_that_in_training(config: ModelConfig, meter: Meter) -> None:
    """Three bars of six, opened in three rounds, with music on both sides."""
    model = evened(lively(8, config))
    bars = played(6, meter, config.pitch_low, config.pitch_high, count=6)
    is_missing = (False, True, True, False, True, False)
    request = InfillRequest(bars, is_missing, dense(5, 6), Sampling(iterations=3))
    done, result = unfolded(lambda chance: unfold_missing(model, request, chance))
    assert recorded(done) == close(taught(config, done, result))


@EVERY_CONFIG
def test_of_a_piece_in_rounds_the_likelihood_while_sampling_is_that_in_training(config: ModelConfig) -> None:
    model, meter = evened(lively(9, config)), METERS[len(config.levels) % 3]
    rounds = Sampling(iterations=3)
    done, result = unfolded(lambda chance: unfold_piece(model, dense(6, 3), rounds, chance, (0.0,) * 16, 0.0, meter))
    assert recorded(done) == close(taught(config, done, result))


@SOME_CONFIGS
def test_of_pitches_made_between_locked_ones_the_likelihood_is_that_in_training(config: ModelConfig) -> None:
    """Locked notes are told, not drawn, and count for as much as training would have them count."""
    model = evened(lively(10, config))
    bars = played(4, low=config.pitch_low, high=config.pitch_high, count=6)
    request = InfillRequest(bars, (False, True, True, False), dense(10, 4), Sampling(iterations=2), low=50, high=80)
    done, result = unfolded(lambda chance: unfold_missing(model, request, chance))
    assert recorded(done) == close(taught(config, done, result))


@SOME_CONFIGS
def test_of_what_is_drawn_again_the_likelihood_is_that_in_training(config: ModelConfig) -> None:
    model = evened(lively(11, config))
    bars = played(4, low=config.pitch_low, high=config.pitch_high)
    request = InfillRequest(bars, (False, True, True, False), dense(6, 4), Sampling(iterations=2, refine=0.5))
    done, result = unfolded(lambda chance: unfold_missing(model, request, chance))
    assert (done.page.group >= done.page.first_group).sum() == 2, "half of four half bars"
    assert recorded(done) == close(taught(config, done, result))


@SOME_CONFIGS
def test_without_plan_and_texture_sampling_scores_what_training_scores(config: ModelConfig) -> None:
    """Guidance of 0 draws from the branch that knows neither: the nulls are those of training, at every level."""
    model = evened(lively(12, config))
    bars = played(3, low=config.pitch_low, high=config.pitch_high)
    request = InfillRequest(bars, (False, True, False), dense(8, 3), Sampling(cfg_scale=0.0, iterations=2))
    done, result = unfolded(lambda chance: unfold_missing(model, request, chance))
    free = taught(config, done, result, is_given=False)
    assert recorded(done) == close(free)
    assert abs(free - taught(config, done, result)) > 0.1, "what is hidden matters"


@SOME_CONFIGS
def test_a_bar_that_nobody_wants_any_more_is_given_up_at_any_look_and_leaves_no_trace(config: ModelConfig) -> None:
    model = lively(7, config)
    request = BarRequest(5, played(5, FOUR_FOUR, config.pitch_low, config.pitch_high), dense(7))

    def notes(looks: int) -> tuple[object, int]:
        """What comes of it if it is wanted so many times, and how often that was asked."""
        left = iter(range(looks))
        with torch.inference_mode():
            made = unfold_bar(
                model, request, torch.Generator().manual_seed(3), is_wanted=lambda: next(left, None) is not None
            )
        return made.bars, looks - len(list(left))

    whole, times = notes(1000)
    assert times > 4, "for every step that is made, besides before every stage"
    for looks in (0, 1, 2, times // 2, times - 1):
        with pytest.raises(Withdrawn):
            notes(looks)
    assert notes(times) == (whole, times)
