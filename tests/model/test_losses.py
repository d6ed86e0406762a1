"""What training is told to lower: only what is to be predicted, each thing once."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fractal_live.model.batch import Batch
from fractal_live.model.config import ModelConfig
from fractal_live.model.fractal import Fractal, Levels
from fractal_live.train.dataset import Dataset, collate
from tests.model.material import ORDERS, batch_of, random_song
from tests.model.tiny import CONFIGS, TINY, lively

EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
NAMES = {"plan", "kl", "sketch", "echo", "chroma", "onsets", "pitch", "velocity", "duration"}


def losses_of(model: Fractal, batch: Batch) -> dict[str, float]:
    with torch.inference_mode():
        return {name: float(value) for name, value in model.losses(batch).items()}


@EVERY_CONFIG
def test_a_batch_costs_what_its_samples_cost(config: ModelConfig) -> None:
    model, dataset = lively(1, config), Dataset([random_song(1)], config)
    samples = [dataset.draw(np.random.default_rng(seed)) for seed in range(3)]
    whole = losses_of(model, collate(samples))
    single = [losses_of(model, collate([sample])) for sample in samples]
    assert {name for name in whole if not name.endswith("_count")} == NAMES
    for name, value in whole.items():
        assert np.isfinite(value)
        assert value == pytest.approx(sum(each[name] for each in single), rel=1e-4, abs=1e-3), name


def test_only_cells_of_the_plan_that_are_hidden_cost_anything() -> None:
    model, batch = lively(2), batch_of(TINY, random_song(2))
    hidden = torch.zeros_like(batch.hidden_cells)
    hidden[0, -1, 2] = True
    alone = replace(batch.plans, hidden_cells=torch.zeros_like(batch.plans.hidden_cells))
    batch = replace(batch, hidden_cells=hidden, plans=alone)
    found = losses_of(model, batch)
    assert found["plan_count"] == 1 and found["plan"] > 0
    assert losses_of(model, replace(batch, hidden_cells=torch.zeros_like(hidden)))["plan"] == 0


def test_what_lies_past_the_end_costs_nothing() -> None:
    """Of a batch whose last half bars are no part of the music, these may hold anything."""
    model, batch = lively(3), batch_of(TINY, random_song(3), ORDERS["time"])
    is_valid = batch.is_valid.clone()
    is_valid[:, 96:] = False
    ended = replace(batch, is_valid=is_valid)
    found, whole = losses_of(model, ended), losses_of(model, batch)
    assert found["pitch_count"] < whole["pitch_count"] and found["echo_count"] == 12
    chroma = ended.chroma.clone()
    chroma[:, 12:] = 3 - chroma[:, 12:]
    notes = ended.notes.clone()
    notes[notes[:, 0] >= 96, 2] = 0
    assert losses_of(model, replace(ended, chroma=chroma, notes=notes)) == found


@EVERY_CONFIG
def test_every_parameter_is_taught_by_something(config: ModelConfig) -> None:
    """But for those that only speak where nothing is known or given."""
    model, dataset = lively(4, config).requires_grad_(True), Dataset([random_song(4)], config)
    model.requires_grad_(True)
    samples = [dataset.draw(np.random.default_rng(seed)) for seed in range(5)]
    losses = model.losses(collate(samples))
    whole = torch.stack([value for name, value in losses.items() if not name.endswith("_count")]).sum()
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(whole, list(parameters.values()), allow_unused=True)
    idle = [name for name, value in zip(parameters, gradients, strict=True) if value is None or not value.any()]
    for name in idle:
        assert name.endswith(("no_plan", "plan_null", "texture_null", ".null", "absent", ".mask", "is_past")), name


@pytest.mark.parametrize("name", ["live", "all-mar", "all-ar"])
def test_dropout_is_what_the_shape_says_in_training_and_off_otherwise(name: str) -> None:
    config = replace(CONFIGS[name], dropout=0.3)
    model, batch = lively(5, config), batch_of(config, random_song(5))
    active = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p == 0.3]
    assert len(active) >= sum(level.num_blocks for level in config.levels)

    def phrase() -> Tensor:
        with torch.inference_mode():
            levels: Levels = model(batch)
        return levels.phrase

    assert torch.equal(phrase(), phrase())
    model.train()
    assert not torch.equal(phrase(), phrase())


def test_a_batch_is_not_written_into() -> None:
    model, batch = lively(6), batch_of(TINY, random_song(6))
    before = {field.name: getattr(batch, field.name) for field in fields(batch) if field.name != "plans"}
    copies = {name: value.clone() for name, value in before.items()}
    losses_of(model, batch)
    for name, value in before.items():
        assert torch.equal(torch.nan_to_num(value.float()), torch.nan_to_num(copies[name].float())), name
