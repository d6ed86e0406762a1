"""From scores to a choice: filters in their order, guidance, temperature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fractal_live.model.fractal import Fractal
from fractal_live.model.sampling import draw, filtered, guidance, guided
from fractal_live.model.unfold import next_plan, unfold_bar
from fractal_live.music.request import BarRequest, Sampling
from tests.model.material import dense, played
from tests.model.tiny import lively

SHARES = torch.tensor([0.05, 0.4, 0.1, 0.3, 0.15])


def left(sampling: Sampling, shares: torch.Tensor = SHARES) -> list[int]:
    """Which of the choices remain."""
    return torch.nonzero(~torch.isinf(filtered(shares.log()[None], sampling))[0])[:, 0].tolist()


@pytest.mark.parametrize(
    ("sampling", "remaining"),
    [
        (Sampling(), [0, 1, 2, 3, 4]),
        (Sampling(top_k=2), [1, 3]),
        (Sampling(top_k=99), [0, 1, 2, 3, 4]),
        (Sampling(top_p=0.4), [1]),
        (Sampling(top_p=0.41), [1, 3]),
        (Sampling(top_p=0.86), [1, 2, 3, 4]),
        (Sampling(top_p=0.01), [1]),
        (Sampling(mask_k=1), [0, 2, 3, 4]),
        (Sampling(mask_k=3), [0, 2]),
        (Sampling(mask_k=99), [0]),
        (Sampling(mask_p=0.3), [0, 2, 3, 4]),
        (Sampling(mask_p=0.5), [0, 2, 4]),
        (Sampling(mask_p=1.0), [0]),
        (Sampling(top_k=3, mask_k=1), [3, 4]),
        (Sampling(top_k=2, mask_p=0.5), [3]),
        (Sampling(top_k=1, mask_k=1), [1]),
        (Sampling(top_p=0.71, mask_k=2), [4]),
        (Sampling(top_k=4, top_p=0.89), [1, 3, 4]),
    ],
    ids=str,
)
def test_filters_leave_what_they_say_in_their_order(sampling: Sampling, remaining: list[int]) -> None:
    """Shares of what top-k leaves are those that top-p adds up; the masks never take the last choice away."""
    assert left(sampling) == remaining


def test_something_is_always_left_and_never_what_cannot_be_chosen() -> None:
    rng = np.random.default_rng(0)
    chance = torch.Generator().manual_seed(0)
    for _ in range(200):
        scores = torch.from_numpy(rng.normal(0, 4, (3, 7)).astype(np.float32))
        scores[torch.from_numpy(rng.random((3, 7)) < 0.5)] = float("-inf")
        scores[:, int(rng.integers(7))] = 0.0
        sampling = Sampling(
            float(rng.uniform(0.1, 2)),
            top_k=int(rng.integers(0, 9)),
            top_p=float(rng.uniform(0.01, 1)),
            mask_k=int(rng.integers(0, 9)),
            mask_p=float(rng.uniform(0, 1)),
        )
        drawn = draw(scores, sampling, chance)
        assert torch.isfinite(scores.gather(1, drawn[:, None])).all(), sampling


def test_draws_follow_the_shares_and_temperature_flattens_them() -> None:
    """5000 draws of five choices; each share is missed by 0.03 with odds below 1 in 10 000."""
    chance = torch.Generator().manual_seed(1)
    for temperature in (0.5, 1.0, 2.0):
        expected = (SHARES.log() / temperature).softmax(-1)
        drawn = draw(SHARES.log().expand(5000, -1), Sampling(temperature), chance)
        assert torch.allclose(torch.bincount(drawn, minlength=5) / 5000, expected, atol=0.03)


def test_guidance_moves_scores_away_from_the_unguided_and_one_or_zero_are_the_ends() -> None:
    scores = torch.tensor([[1.0, 2.0, float("-inf")], [3.0, 0.0, float("-inf")]])
    assert guided(scores, 1.0).tolist() == [[1.0, 2.0, float("-inf")]]
    assert guided(scores, 0.0).tolist() == [[3.0, 0.0, float("-inf")]]
    assert guided(scores, 2.0).tolist() == [[-1.0, 4.0, float("-inf")]]
    assert guided(scores[:1], 5.0).tolist() == scores[:1].tolist()


def test_guidance_grows_with_what_is_made_and_each_level_takes_its_part() -> None:
    constant = Sampling(cfg_scale=3.0, cfg_levels=(0.0, 0.5, 1.0))
    linear = replace(constant, cfg_schedule="linear")
    assert [guidance(constant, level, 0.3) for level in range(3)] == [1.0, 2.0, 3.0]
    assert [guidance(linear, level, 0.5) for level in range(3)] == [1.0, 1.5, 2.0]
    assert [guidance(linear, 2, opened) for opened in (0.0, 1.0)] == [1.0, 3.0]


def made(model: Fractal, sampling: Sampling, seed: int = 0, gain: float = 0.0) -> dict[str, object]:
    plan = dense(12)
    plan[:3, 1:] = float("nan")
    request = BarRequest(3, played(3), plan, latent=(1.5,) * 16, latent_gain=gain, sampling=sampling)
    with torch.inference_mode():
        result = unfold_bar(model, request, torch.Generator().manual_seed(seed))
    decided = (result.echo[0], result.onsets[0], result.chroma[0].tolist())  # before any note
    return {"plan": result.plan.tolist(), "phrase": decided, "notes": result.bars}


def test_a_level_that_takes_no_part_in_guidance_is_the_unguided_one() -> None:
    """With one level guided, those above it are bit for bit the unguided ones, and it is not."""
    model = lively(1)
    plain = made(model, Sampling(), gain=1.0)
    for level, name in enumerate(("plan", "phrase", "notes")):
        parts = (float(level == 0), float(level == 1), float(level == 2))
        found = made(model, Sampling(cfg_scale=5.0, cfg_levels=parts), gain=1.0)
        for index, other in enumerate(("plan", "phrase", "notes")):
            if index < level:
                assert found[other] == plain[other], (name, other)
        assert found[name] != plain[name]
    assert made(model, Sampling(cfg_scale=5.0, cfg_levels=(0.0, 0.0, 0.0)), gain=1.0) == plain


def test_guidance_of_one_is_the_unguided_bar() -> None:
    model = lively(2)
    for schedule in ("constant", "linear"):
        assert made(model, Sampling(cfg_scale=1.0, cfg_schedule=schedule)) == made(model, Sampling())
    assert made(model, Sampling(cfg_scale=4.0)) != made(model, Sampling())


def first_half(found: dict[str, object]) -> list[object]:
    """What is struck there; how long it sounds may depend on what is struck later."""
    notes = found["notes"][0]  # type: ignore[index]
    return [(note.onset_tick, note.pitch, note.velocity) for note in notes if note.onset_tick < 8 * 120]


def test_under_a_linear_schedule_the_first_half_bar_is_unguided_and_the_second_is_not() -> None:
    model = lively(3)
    later_moved = 0
    for seed in range(6):
        plain = made(model, Sampling(), seed)
        linear = made(model, Sampling(cfg_scale=5.0, cfg_schedule="linear", cfg_levels=(0.0, 1.0, 1.0)), seed)
        assert first_half(linear) == first_half(plain)
        later_moved += linear["notes"] != plain["notes"]
    assert later_moved


@pytest.mark.parametrize(
    "sampling", [Sampling(top_k=1), Sampling(top_p=0.05), Sampling(mask_k=3), Sampling(mask_p=0.6)], ids=str
)
def test_every_filter_reaches_the_notes(sampling: Sampling) -> None:
    model = lively(4)
    assert made(model, sampling)["notes"] != made(model, Sampling())["notes"]


def entropy(values: list[object]) -> float:
    """In bits, of how often each value was found."""
    share = np.unique(np.array([str(value) for value in values]), return_counts=True)[1] / len(values)
    return float(-(share * np.log2(share)).sum())


def test_temperature_moves_every_level() -> None:
    """Over 16 bars the entropy of plan cells, echoes, harmony, onsets, pitches, velocities and durations rises with the
    temperature. Everything is seeded; entropies of 16 draws or more vary by some tenths of a bit, so that half a bit
    of difference is no accident in one of a thousand seeds."""
    model, found = lively(5), {}
    for temperature in (0.05, 2.0):
        bars = []
        for seed in range(16):
            request = BarRequest(2, played(2), dense(12), sampling=Sampling(temperature, iterations=1))
            request.plan[0, 1:] = float("nan")
            with torch.inference_mode():
                bars.append(unfold_bar(model, request, torch.Generator().manual_seed(seed)))
        notes = [note for bar in bars for note in bar.bars[0]]
        found[temperature] = {
            "plan": entropy([bar.plan[0].tolist() for bar in bars]),
            "echo": entropy([bar.echo for bar in bars]),
            "chroma": entropy([bar.chroma.tolist() for bar in bars]),
            "onsets": entropy([bar.onsets for bar in bars]),
            "pitch": entropy([note.pitch for note in notes]),
            "velocity": entropy([note.velocity for note in notes]),
            "duration": entropy([note.duration_ticks for note in notes]),
        }
    for name in found[2.0]:
        assert found[0.05][name] + 0.5 < found[2.0][name], (name, found)


def test_the_plan_that_is_asked_for_alone_is_the_one_that_is_unfolded() -> None:
    model = lively(6)
    request = BarRequest(3, played(3), latent=(0.5,) * 16, latent_gain=0.7, sampling=Sampling(cfg_scale=2.0))
    with torch.inference_mode():
        alone = next_plan(model, request, torch.Generator().manual_seed(3))
        whole = unfold_bar(model, request, torch.Generator().manual_seed(3))
    assert np.array_equal(alone, whole.plan)
