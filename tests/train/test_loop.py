"""Training: it learns, it goes on where it was killed, and what it saves can be loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fractal_live.model.checkpoint import load
from fractal_live.train.corpus import read_corpus
from fractal_live.train.dataset import Dataset
from fractal_live.train.loop import Trainer, TrainSettings, learning_rate_at, validation_batches
from tests.model.tiny import TINY
from tests.train.songs import write_folder

CONFIG = replace(TINY, plan_bars=8, past_bars=8)
SETTINGS = TrainSettings(steps=6, batch_size=2, warmup_steps=2, validate_every=3, ema_decay=0.9)


def trainer(data: Path, out: Path, settings: TrainSettings = SETTINGS) -> Trainer:
    return Trainer(CONFIG, settings, Dataset(read_corpus(data), CONFIG, crop_bars=8), out)


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_has_the_same_losses_and_weights(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "songs")
    whole = trainer(data, tmp_path / "whole")
    losses = [report.losses for report in whole.run([])]

    first = trainer(data, tmp_path / "parts")
    for report in first.run([]):
        if report.step == 3:
            first.save()
            break
    second = trainer(data, tmp_path / "parts")
    assert second.resume()
    rest = [report.losses for report in second.run([])]
    assert rest == losses[3:]
    for name, value in whole.average.state_dict().items():
        assert torch.equal(second.average.state_dict()[name], value), name


@pytest.mark.slow
def test_training_lowers_every_loss_on_what_it_sees(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "songs", 1)
    settings = replace(SETTINGS, steps=40, warmup_steps=5, learning_rate=3e-3)
    run = trainer(data, tmp_path / "run", settings)
    reports = [report.losses for report in run.run([])]
    for name in ("pitch", "velocity", "duration", "chroma", "onsets", "plan"):
        first = sum(report[name] for report in reports[:4]) / 4
        last = sum(report[name] for report in reports[-4:]) / 4
        assert last < 0.9 * first, name


def test_the_saved_checkpoint_loads_and_tells_how_it_was_made(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "songs", 2)
    run = trainer(data, tmp_path / "run", replace(SETTINGS, steps=3))
    bits = [report.bits_per_note for report in run.run(validation_batches(run.dataset, count=2, batch_size=2))]
    loaded = load(tmp_path / "run" / "model.safetensors")
    assert bits[:2] == [None, None] and bits[2] is not None
    assert loaded.training["step"] == 3
    assert loaded.training["history"][0]["valid_bits_per_note"] == bits[2]
    assert loaded.model.config == CONFIG
    card = (tmp_path / "run" / "model.md").read_text(encoding="utf-8")
    assert f"| 3 | {loaded.training['history'][0]['valid_pitch']:.3f} |" in card
    assert "| steps | 3 of 3 |" in card


def test_the_rate_warms_up_stays_and_falls_to_nothing() -> None:
    settings = TrainSettings(steps=100, warmup_steps=10, decay_share=0.5, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert set(rates[10:50]) == {1.0}
    assert rates[50:] == pytest.approx([(100 - step) / 50 for step in range(50, 100)])
