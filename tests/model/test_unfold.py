"""Train as you sample, and the same request is the same bar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fractal_live.model.config import HALF_STEPS, chroma_level, duration_class, velocity_bin
from fractal_live.model.fractal import Batch, Fractal
from fractal_live.model.grid import (
    bar_starts,
    grid_notes,
    remaining_onsets,
    scaled_plan,
    steps_left,
    visible_content,
)
from fractal_live.model.unfold import Unfolded, unfold
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import COLUMN, measure, unknown_plan
from fractal_live.music.request import BarRequest, Sampling
from tests.model.tiny import lively


def sampled(model: Fractal, request: BarRequest, seed: int = 0) -> Unfolded:
    with torch.inference_mode():
        return unfold(model, request, torch.Generator().manual_seed(seed), scores_forced=True)


def played(bars: int, meter: Meter = FOUR_FOUR) -> tuple[Bar, ...]:
    """A past of short random notes, none across a bar line."""
    rng = np.random.default_rng(bars)
    past = []
    for index in range(bars):
        onsets = rng.integers(0, meter.steps_per_bar - 3, 10) * 120
        notes = [
            Note(int(onset), int(pitch), int(steps) * 120, int(velocity) * 4 + 2)
            for onset, pitch, steps, velocity in zip(
                onsets, rng.permutation(128)[:10], rng.integers(1, 4, 10), rng.integers(1, 31, 10), strict=True
            )
        ]
        past.append(Bar(index, tuple(sorted(notes)), meter))
    return tuple(past)


def teacher_forced(model: Fractal, request: BarRequest, result: Unfolded) -> float:
    """The log-likelihood that training would give the sampled bar."""
    config = model.config
    new = Bar(request.index, result.notes, request.meter)
    bars = (*request.past, new)
    starts = bar_starts(bars)
    steps = int(starts[-1])
    notes = grid_notes(bars)
    lengths = np.array([bar.meter.steps_per_bar for bar in bars])
    bar_of_step = np.repeat(np.arange(len(bars)), np.diff(starts))
    step_in_bar = np.arange(steps) - starts[bar_of_step]
    is_valid = step_in_bar < lengths[bar_of_step]
    rows = np.full((config.past_bars + config.plan_bars, 6), np.nan, dtype=np.float32)
    for place, bar in enumerate(request.past):
        rows[config.past_bars - len(request.past) + place] = measure(bar)
    rows[config.past_bars :] = result.plan
    chroma = [chroma_level(chroma_of_bar(bar)) for bar in request.past] + [chroma_level(result.chroma)]
    remaining = remaining_onsets(notes, steps)
    order = np.arange(steps // HALF_STEPS)
    tokens = np.stack([notes[:, 0], notes[:, 1], velocity_bin(notes[:, 2]), duration_class(notes[:, 3])], 1)
    batch = Batch(
        content=torch.from_numpy(visible_content(notes, order, steps))[None],
        order=torch.from_numpy(order)[None],
        step_in_bar=torch.from_numpy(step_in_bar)[None],
        bar_len=torch.from_numpy(lengths[bar_of_step])[None],
        is_valid=torch.from_numpy(is_valid & (np.arange(steps) >= starts[-2]))[None],
        bar_of_half=torch.from_numpy(bar_of_step[::HALF_STEPS] - len(request.past))[None],
        plan=torch.from_numpy(scaled_plan(rows))[None],
        is_present=torch.from_numpy(np.arange(len(rows)) >= config.past_bars - len(request.past))[None],
        hidden_cells=torch.zeros(1, len(rows), 6, dtype=torch.bool),
        chroma=torch.from_numpy(np.concatenate(chroma))[None],
        remaining=torch.from_numpy(remaining)[None],
        steps_left=torch.from_numpy(steps_left(is_valid))[None],
        notes=torch.from_numpy(tokens),
        plan_given=torch.tensor([True]),
        chroma_given=torch.tensor([True]),
        latent_given=torch.tensor([False]),
        noise=torch.zeros(1, config.latent_dims),
    )
    with torch.no_grad():
        losses = model.losses(batch)
    return -float(losses["pitch"] + losses["velocity"] + losses["duration"])


@pytest.mark.parametrize("bars", [0, 1, 6])
@pytest.mark.parametrize("meter", [FOUR_FOUR, Meter(3, 4), Meter(7, 8)], ids=str)
def test_the_likelihood_while_sampling_is_the_likelihood_in_training(bars: int, meter: Meter) -> None:
    """Holds where the bar met its onsets (what a given number rules out is not a choice) and restruck no
    sounding pitch (that shortens a duration after it was drawn)."""
    model = lively(7, scale=0.03)
    past = played(bars, meter)
    compared = 0
    for seed in range(10):
        request = BarRequest(bars, past, unknown_plan(), meter=meter)
        request.plan[:, COLUMN["density"]] = 10
        result = sampled(model, request, seed)
        struck = [0] * len(result.onsets)
        for note in result.notes:
            struck[note.onset_tick // (120 * HALF_STEPS)] += 1
        if tuple(struck) != result.onsets or restrikes(result.notes):
            continue
        compared += 1
        assert result.log_likelihood + result.forced_log_likelihood == pytest.approx(
            teacher_forced(model, request, result), abs=2e-3
        )
    assert compared >= 2


def restrikes(notes: tuple[Note, ...]) -> bool:
    return len({note.pitch for note in notes}) < len(notes)


def test_the_same_request_is_the_same_bar_and_another_seed_is_another() -> None:
    model = lively(5)
    request = BarRequest(3, played(3))
    assert sampled(model, request, 1).notes == sampled(model, request, 1).notes
    assert sampled(model, request, 1).notes != sampled(model, request, 2).notes


@pytest.mark.parametrize("density", [0, 1, 7, 24, 47])
def test_a_bar_never_has_more_onsets_than_its_plan_gives(density: int) -> None:
    model = lively(6)
    plan = unknown_plan()
    plan[:, COLUMN["density"]] = density
    for seed in range(4):
        result = sampled(model, BarRequest(0, (), plan), seed)
        assert len(result.notes) <= density
        assert sum(result.onsets) == density


@pytest.mark.parametrize("meter", [FOUR_FOUR, Meter(3, 4), Meter(6, 8), Meter(7, 8), Meter(5, 4)], ids=str)
@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(2.0), Sampling(0.1), Sampling(cfg_scale=0.0), Sampling(cfg_scale=5.0, top_k=1)]
)
def test_the_density_is_met_by_the_number_however_wild_the_draw(meter: Meter, sampling: Sampling) -> None:
    model = lively(13)
    for seed, density in enumerate((0, 3, 14, 30)):
        plan = unknown_plan()
        plan[:, COLUMN["density"]] = density
        result = sampled(model, BarRequest(2, played(2, meter), plan, meter=meter, sampling=sampling), seed)
        assert len(result.notes) == density


def test_given_cells_of_the_plan_come_back_bit_for_bit() -> None:
    model = lively(8)
    rng = np.random.default_rng(0)
    plan = unknown_plan()
    given = rng.random(plan.shape) < 0.5
    plan[given] = np.broadcast_to(rng.uniform(37, 47, plan.shape).astype(np.float32), plan.shape)[given]
    result = sampled(model, BarRequest(0, (), plan))
    assert np.array_equal(result.plan[given], plan[given])
    assert not np.isnan(result.plan).any()


def test_guidance_of_one_is_the_unguided_bar_and_other_scales_differ() -> None:
    model = lively(9)
    request = BarRequest(2, played(2))
    plain = sampled(model, request).notes
    assert sampled(model, replace(request, sampling=Sampling(cfg_scale=1.0))).notes == plain
    assert sampled(model, replace(request, sampling=Sampling(cfg_scale=4.0))).notes != plain


def test_a_latent_of_gain_zero_changes_nothing_and_of_gain_one_changes_the_plan() -> None:
    model = lively(10)
    plain = sampled(model, BarRequest(0)).plan
    off = sampled(model, BarRequest(0, latent=(3.0,) * 16, latent_gain=0.0)).plan
    on = sampled(model, BarRequest(0, latent=(3.0,) * 16, latent_gain=1.0)).plan
    assert np.array_equal(plain, off)
    assert not np.array_equal(plain, on)


def test_given_harmony_is_what_the_bar_carries() -> None:
    model = lively(11)
    chroma = np.zeros((2, 12), dtype=np.float32)
    chroma[:, [0, 4, 7]] = 1
    result = sampled(model, BarRequest(0, chroma=chroma))
    assert np.array_equal(result.chroma, chroma)
