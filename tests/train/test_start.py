"""Fine-tuning: what fits is taken, what is new is listed, what clashes is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fractal_live.model.checkpoint import CheckpointError, save
from fractal_live.model.fractal import Fractal
from fractal_live.train.loop import Trainer
from fractal_live.train.start import start_from
from tests.train.small import SMALL
from tests.train.toy import SETTINGS, ToyConfig, toy_task, toy_trainer


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The checkpoint of a run of six steps."""
    list(toy_trainer(tmp_path / "before").run([]))
    return tmp_path / "before" / "model.safetensors"


def test_a_run_begins_with_the_weights_of_the_checkpoint(trained: Path, tmp_path: Path) -> None:
    task = toy_task(seed=9)
    origin = start_from(task.model, trained)
    old = Trainer(toy_task(), SETTINGS, trained.parent)
    assert old.resume()
    assert all(torch.equal(value, old.average.state_dict()[name]) for name, value in task.model.state_dict().items())
    assert (origin.checkpoint, origin.steps, origin.taken, origin.new, origin.left) == ("model", 6, 6, (), ())


def test_tensors_that_the_checkpoint_lacks_stay_and_are_listed_in_log_and_card(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = toy_task(seed=9)
    task.model.register_parameter("echo", torch.nn.Parameter(torch.full((3,), 0.7)))
    del task.model.plan
    with caplog.at_level(logging.WARNING):
        origin = start_from(task.model, trained)
    assert (origin.new, origin.left) == (("echo",), ("plan.bias", "plan.weight"))
    assert torch.equal(task.model.state_dict()["echo"], torch.full((3,), 0.7))
    assert "at their initial values: echo" in caplog.text and "no place for: plan.bias, plan.weight" in caplog.text


def test_where_a_run_began_is_on_its_card_and_outlives_a_kill(trained: Path, tmp_path: Path) -> None:
    task = toy_task(seed=9)
    origin = start_from(task.model, trained, new=("plan.*",))
    list(Trainer(task, SETTINGS, tmp_path / "after", origin=origin).run([]))
    card = (tmp_path / "after" / "model.md").read_text(encoding="utf-8")
    assert "| began from | `model` (6 steps, 0 minutes before), 4 tensors taken, new: plan.bias, plan.weight |" in card
    again = toy_trainer(tmp_path / "after")
    assert again.resume() and again.origin == origin.as_dict()


def test_a_shape_that_clashes_is_refused_by_name_and_nothing_is_changed(trained: Path) -> None:
    task = toy_task(ToyConfig(width=12))
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"tensor body\.0\.\w+ has shape \(8.*asks for \(12.*--new 'body\.0\."):
        start_from(task.model, trained)
    assert all(torch.equal(task.model.state_dict()[name], value) for name, value in before.items())


def test_a_shape_that_clashes_is_no_matter_where_it_is_named_as_new(trained: Path) -> None:
    task = toy_task(ToyConfig(width=12))
    origin = start_from(task.model, trained, new=("body.*", "*.weight"))
    assert origin.new == ("body.0.bias", "body.0.weight", "pitch.weight", "plan.weight")
    assert origin.taken == 2


def test_what_is_no_checkpoint_or_has_nothing_in_common_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    save_file({"stranger": torch.zeros(1)}, tmp_path / "stranger.safetensors")
    for name, reason in (("none", "no such"), ("cut", "not a whole"), ("stranger", "nothing to start from")):
        with pytest.raises(CheckpointError, match=rf"{name}\.safetensors: .*{reason}"):
            start_from(toy_task().model, tmp_path / f"{name}.safetensors")


@pytest.mark.slow
def test_a_fractal_begins_from_a_half_precision_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, model = Fractal(SMALL), Fractal(SMALL)
    save(source, tmp_path / "source.safetensors", {"step": 10, "minutes": 2.0})
    origin = start_from(model, tmp_path / "source.safetensors")
    assert (origin.steps, origin.minutes, origin.new, origin.left) == (10, 2.0, (), ())
    for name, value in model.state_dict().items():
        assert value.dtype == source.state_dict()[name].dtype
        assert torch.equal(value, source.state_dict()[name].half().to(value.dtype)), name
