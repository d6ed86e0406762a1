"""Training: it learns, it goes on where it was killed, and what it saves can be loaded."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fractal_live.model.checkpoint import load
from fractal_live.train.corpus import read_corpus
from fractal_live.train.dataset import Dataset
from fractal_live.train.loop import Trainer, TrainError
from fractal_live.train.schedule import TrainSettings
from fractal_live.train.state import StateError
from fractal_live.train.task import fractal_task, validation_batches
from tests.train.small import SMALL
from tests.train.songs import write_folder
from tests.train.toy import SETTINGS, ToyConfig, toy_collate, toy_task, toy_trainer

FRACTAL = replace(SETTINGS, learning_rate=1e-3, precision="auto")


def fractal_trainer(data: Path, out: Path, settings: TrainSettings = FRACTAL) -> Trainer:
    return Trainer(
        fractal_task(
            SMALL,
            Dataset(read_corpus(data), SMALL),
            settings.seed,
            latent_steps=0,
            sketch_steps=2,
            return_steps=2,
            copy_steps=2,
        ),
        settings,
        out,
    )


def assert_equal_state(one: Trainer, other: Trainer) -> None:
    """Weights, averaged weights and the optimiser's moments, to the bit."""
    for a, b in ((one.model, other.model), (one.average, other.average)):
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())
    moments, others = one.optimiser.state_dict()["state"], other.optimiser.state_dict()["state"]
    assert moments.keys() == others.keys()
    for key, values in moments.items():
        assert all(torch.equal(value, others[key][name]) for name, value in values.items())


def test_a_resumed_run_is_the_uninterrupted_run_to_the_bit(tmp_path: Path) -> None:
    """With dropout: what the model throws dice for goes on as well."""
    whole = toy_trainer(tmp_path / "whole")
    reports = list(whole.run([]))

    first = toy_trainer(tmp_path / "parts")
    for report in first.run([]):
        if report.step == 4:
            first.save()
        if report.step == 5:  # lost
            break
    second = toy_trainer(tmp_path / "parts")
    assert second.resume()
    assert list(second.run([])) == reports[4:]
    assert_equal_state(whole, second)
    assert [(row["step"], row["train_pitch"]) for row in second.history] == [
        (row["step"], row["train_pitch"]) for row in whole.history
    ]


PROGRAM = """
import sys
from pathlib import Path
from tests.train.toy import toy_trainer

trainer = toy_trainer(Path(sys.argv[1]))
trainer.resume()
for report in trainer.run([]):
    print(report.step, report.learned.losses["pitch"].hex(), flush=True)
    if report.step == 2:
        trainer.save()
    if report.step == 4 and sys.argv[2] == "stop":
        sys.stdin.read()
"""


@pytest.mark.slow
def test_a_run_killed_between_saves_goes_on_from_the_last_save_with_the_same_losses(tmp_path: Path) -> None:
    whole = [f"{report.step} {report.learned.losses['pitch'].hex()}" for report in toy_trainer(tmp_path).run([])]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    first = subprocess.Popen([*command, "stop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdin is not None
    seen = [first.stdout.readline().strip() for _ in range(4)]
    first.kill()
    first.communicate(timeout=30)
    second = subprocess.run([*command, "on"], capture_output=True, text=True, timeout=60, check=True)
    assert seen == whole[:4]
    assert second.stdout.splitlines() == whole[2:]


def test_a_save_that_is_killed_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = toy_trainer(tmp_path)
    list(trainer.run([]))
    trainer.step = 7

    def killed(state: object, file: object) -> None:
        file.write(b"half of a sta")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.save()
    monkeypatch.undo()
    again = toy_trainer(tmp_path)
    assert again.resume() and again.step == 6


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_damaged_state_is_refused_by_name_with_the_remedy(tmp_path: Path, share: float) -> None:
    trainer = toy_trainer(tmp_path)
    list(trainer.run([]))
    path = tmp_path / "state.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(StateError, match=r"state\.pt: damaged.*--out.*--start"):
        toy_trainer(tmp_path).resume()


def test_a_state_with_a_flipped_bit_is_refused_or_was_not_hurt(tmp_path: Path) -> None:
    """Wherever the bit is: in a weight, in the pickle, in the table of contents, or in the padding between."""
    run = toy_trainer(tmp_path)
    list(run.run([]))
    path = tmp_path / "state.pt"
    whole = path.read_bytes()
    refused = 0
    for place in np.random.default_rng(0).integers(0, len(whole), 60).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        again = toy_trainer(tmp_path)
        try:
            again.resume()
        except StateError as error:
            assert "state.pt: damaged" in str(error)
            refused += 1
        else:
            assert_equal_state(run, again)
    assert refused > 10


def test_a_state_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    list(toy_trainer(tmp_path).run([]))
    with pytest.raises(StateError, match=r"state\.pt: of a model of another shape .*--out"):
        toy_trainer(tmp_path, config=ToyConfig(width=12)).resume()
    for stranger, reason in (
        ({"step": 3}, "of a run of this version"),
        (Path("a"), "damaged, or not the state of a run; give"),
    ):
        torch.save(stranger, tmp_path / "state.pt")
        with pytest.raises(StateError, match=reason):
            toy_trainer(tmp_path).resume()


def test_what_a_resumed_run_does_otherwise_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    list(toy_trainer(tmp_path).run([]))
    longer = replace(SETTINGS, steps=8, seed=3, learning_rate=0.5)
    trainer = toy_trainer(tmp_path, longer)
    with caplog.at_level(logging.WARNING):
        assert trainer.resume()
    assert [record.getMessage() for record in caplog.records] == [
        "going on with learning_rate 0.5; until now it was 0.01",
        "going on with seed 3; until now it was 0",
    ]
    assert [report.step for report in trainer.run([])] == [7, 8]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    list(toy_trainer(tmp_path).run([]))
    before = (tmp_path / "state.pt").read_bytes()
    again = toy_trainer(tmp_path)
    assert again.resume()
    assert list(again.run([])) == []
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_run_of_so_many_minutes_ends_then_with_its_rate_at_the_floor(tmp_path: Path) -> None:
    """A second passes each time the clock is read; the steps alone would go on for ever."""
    ticks = iter(range(10**6))
    settings = replace(SETTINGS, steps=10**6, minutes=1.0, floor_share=0.1, warmup_steps=1)
    trainer = Trainer(toy_task(), settings, tmp_path, clock=lambda: float(next(ticks)))
    reports = list(trainer.run([]))
    assert reports[-1].share == 1 and trainer.seconds >= 60
    assert reports[-1].learning_rate == pytest.approx(0.1 * settings.learning_rate, rel=0.05)
    assert all(report.learning_rate > 0.1 * settings.learning_rate for report in reports)
    assert trainer.history[-1]["step"] == reports[-1].step


def test_a_loss_without_a_weight_is_logged_and_pulls_at_nothing(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, replace(SETTINGS, weight_decay=0.0))
    plan_alone = replace(trainer.task.objective, weights={"plan": 1.0})
    trainer.task = replace(trainer.task, objective=plan_alone)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    reports = list(trainer.run([]))
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"body.0.weight", "body.0.bias", "plan.weight", "plan.bias"}
    assert all(set(report.learned.losses) == {"pitch", "plan", "norm"} for report in reports)


def test_weights_that_name_no_loss_are_an_error(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path)
    trainer.task = replace(trainer.task, objective=replace(trainer.task.objective, weights={"pich": 1.0}))
    with pytest.raises(ValueError, match=r"no loss has a weight; the model's are .*'pitch'.*'pich'"):
        next(trainer.run([]))


def test_a_loss_that_is_no_number_ends_the_run_before_it_touches_the_weights(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with torch.no_grad():
        trainer.model.plan.bias.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(TrainError, match="step 0: plan is not a finite number"):
        next(trainer.run([]))
    own = trainer.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in before.items() if name != "plan.bias")


def test_decay_pulls_on_matrices_alone(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path)
    decay = {id(p): group["weight_decay"] for group in trainer.optimiser.param_groups for p in group["params"]}
    found = {name: decay[id(parameter)] for name, parameter in trainer.model.named_parameters()}
    assert found == {name: SETTINGS.weight_decay if "weight" in name else 0.0 for name in found}


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    """A twin made by hand: w <- w + (1 - decay) (model - w) with the decay rising to its value."""
    trainer = toy_trainer(tmp_path)
    twin = trainer.model.plan.weight.detach().clone()  # type: ignore[union-attr,operator]
    for report in trainer.run([]):
        decay = min(SETTINGS.ema_decay, report.step / (report.step + 9))
        twin = twin + (1 - decay) * (trainer.model.plan.weight.detach() - twin)  # type: ignore[union-attr,operator]
        assert torch.allclose(trainer.average.plan.weight, twin, atol=1e-7)  # type: ignore[union-attr,arg-type]


def test_a_row_of_the_history_is_the_mean_of_the_steps_since_the_last(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path)
    held_out = toy_collate([trainer.task.dataset.draw(np.random.default_rng(seed)) for seed in range(4)])
    reports = list(trainer.run([held_out]))
    assert [row["step"] for row in trainer.history] == [3, 6]
    assert [report.held_out is not None for report in reports] == [False, False, True, False, False, True]
    plan = [report.learned.losses["plan"] for report in reports]
    assert [row["train_plan"] for row in trainer.history] == pytest.approx([sum(plan[:3]) / 3, sum(plan[3:]) / 3])
    last = reports[-1].held_out
    assert last is not None
    assert {name: trainer.history[-1][f"valid_{name}"] for name in last.losses} == last.losses
    assert trainer.history[-1]["valid_bits_per_step"] == last.bits_per_step


@pytest.mark.slow
def test_a_killed_fractal_that_is_resumed_has_the_same_losses_and_weights(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "songs")
    whole = fractal_trainer(data, tmp_path / "whole")
    reports = list(whole.run([]))

    first = fractal_trainer(data, tmp_path / "parts")
    for report in first.run([]):
        if report.step == 3:
            first.save()
            break
    second = fractal_trainer(data, tmp_path / "parts")
    assert second.resume()
    assert list(second.run([])) == reports[3:]
    assert_equal_state(whole, second)


@pytest.mark.slow
def test_training_lowers_every_loss_on_what_it_sees(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "songs", 1)
    settings = replace(FRACTAL, steps=40, warmup_steps=5, warmup_levels_steps=5, learning_rate=3e-3, floor_share=1.0)
    reports = [report.learned.losses for report in fractal_trainer(data, tmp_path / "run", settings).run([])]
    for name in ("pitch", "velocity", "duration", "chroma", "onsets", "plan"):
        first = sum(report[name] for report in reports[:4]) / 4
        last = sum(report[name] for report in reports[-4:]) / 4
        assert last < 0.9 * first, name


@pytest.mark.slow
def test_the_saved_checkpoint_loads_and_tells_how_it_was_made(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "songs", 2)
    settings = replace(FRACTAL, steps=3)
    run = fractal_trainer(data, tmp_path / "run", settings)
    held_out = validation_batches(Dataset(read_corpus(data), SMALL), count=2, batch_size=2)
    reports = list(run.run(held_out))
    assert reports[:2] == [replace(report, held_out=None) for report in reports[:2]]
    figures = reports[2].held_out
    assert figures is not None and figures.bits_per_note is not None and figures.bits_per_step is not None
    loaded = load(tmp_path / "run" / "model.safetensors")
    assert loaded.training["step"] == 3
    assert loaded.training["history"][0]["valid_bits_per_note"] == figures.bits_per_note
    assert loaded.model.config == SMALL
    card = (tmp_path / "run" / "model.md").read_text(encoding="utf-8")
    assert f"{figures.losses['pitch']:.3f}" in card
    assert "| steps | 3 of 3 |" in card
