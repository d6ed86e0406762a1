"""Sums and counts to figures, and to the one number that is minimised."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fractal_live.train.distributed import Ranks
from fractal_live.train.objective import Objective, Weighed, figures
from fractal_live.train.schedule import TrainSettings
from fractal_live.train.task import validated
from tests.train.toy import OBJECTIVE, Toy, ToyConfig, toy_collate, toy_task

NAT = math.log(2)


def test_bits_are_those_of_the_notes_over_notes_and_over_steps() -> None:
    sums = {"pitch": 6 * NAT, "pitch_count": 4, "velocity": 2 * NAT, "velocity_count": 4, "plan": 9.0, "plan_count": 3}
    found = figures(sums | {"steps_count": 16}, Objective())
    assert found.losses == pytest.approx({"pitch": 1.5 * NAT, "velocity": 0.5 * NAT, "plan": 3.0})
    assert (found.bits_per_note, found.bits_per_step) == pytest.approx((2.0, 0.5))
    assert figures(sums, Objective()).bits_per_step is None


def test_a_model_of_other_losses_counts_its_notes_itself() -> None:
    sums = {"event": 12 * NAT, "event_count": 30, "notes_count": 10, "steps_count": 4}
    found = figures(sums, Objective({"event": 1.0}, note_losses=("event",), lower=()))
    assert (found.losses, found.bits_per_note, found.bits_per_step) == ({"event": 0.4 * NAT}, 1.2, 3.0)
    assert figures(sums, Objective()).bits_per_note is None


def test_nothing_counted_is_no_loss_and_no_bits() -> None:
    found = figures({"pitch": 0.0, "pitch_count": 0.0, "steps_count": 8.0}, Objective())
    assert (found.losses, found.bits_per_note) == ({"pitch": 0.0}, None)


def test_a_row_of_the_history_names_only_what_is_known() -> None:
    found = figures({"pitch": NAT, "pitch_count": 2}, Objective())
    assert found.row("valid") == {"valid_pitch": 0.5 * NAT, "valid_bits_per_note": 0.5}


def test_what_is_minimised_is_the_weighed_sum_of_nats_per_thing() -> None:
    task = toy_task(ToyConfig(dropout=0.0))
    batch = toy_collate([task.dataset.draw(np.random.default_rng(seed)) for seed in range(8)])
    total, sums = Weighed(task.model, Ranks())(batch, {"pitch": 2.0, "norm": 0.25})
    expected = 2.0 * sums["pitch"] / sums["pitch_count"] + 0.25 * sums["norm"] / sums["norm_count"]
    assert 0 < sums["pitch_count"] < 8
    assert total.item() == pytest.approx(expected)
    assert sums["steps_count"] == int(batch.is_valid.sum())


def test_validation_counts_all_things_alike_whatever_batch_they_are_in() -> None:
    """Without dropout, and leaving the model as it was."""
    task = toy_task(ToyConfig(dropout=0.5))
    rng = np.random.default_rng(0)
    samples = [task.dataset.draw(rng) for _ in range(12)]
    model = task.model.train()
    whole = validated(model, [toy_collate(samples)], OBJECTIVE, "cpu")
    parts = validated(model, [toy_collate(samples[:2]), toy_collate(samples[2:])], OBJECTIVE, TrainSettings().device)
    assert whole.losses == pytest.approx(parts.losses)
    assert whole.bits_per_note == pytest.approx(parts.bits_per_note)
    assert isinstance(model, Toy) and model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
