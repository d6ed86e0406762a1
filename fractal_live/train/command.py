"""A whole training run, from a folder of MIDI files to a checkpoint: what `fractal-live train` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fractal_live.baselines.event_transformer import EventConfig
from fractal_live.model.config import ModelConfig
from fractal_live.train.board import Board
from fractal_live.train.corpus import read_corpus
from fractal_live.train.dataset import Dataset
from fractal_live.train.distributed import joined
from fractal_live.train.event_dataset import EventDataset, event_task, event_validation
from fractal_live.train.latent import LATENT_STEPS
from fractal_live.train.loop import Trainer
from fractal_live.train.objective import Figures
from fractal_live.train.schedule import TrainSettings
from fractal_live.train.start import Origin, start_from
from fractal_live.train.task import Task, fractal_task, validation_batches

SPLITS = ("train", "valid")


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What to train, on what, where to. settings: keys of TrainSettings; config: the model's shape as a table; start,
    new: a checkpoint to begin from, and what of it to learn anew."""

    data: Path
    out: Path
    model: str = "fractal"
    config: dict[str, Any] = field(default_factory=dict)
    start: Path | None = None
    new: tuple[str, ...] = ()
    tensorboard: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def run_training(request: TrainRequest, out: Console, err: Console) -> None:
    """Trains, resuming what is there. Raises ValueError, naming what was wrong."""
    settings = TrainSettings(**request.settings)
    torch.set_num_threads(settings.threads)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with joined(settings.device) as (ranks, device):
        settings = replace(settings, device=device)
        with Progress(*columns, console=err, disable=not (err.is_terminal and ranks.is_first)) as bar:
            task, validation = _prepared(request, settings, bar)
            trainer = Trainer(task, settings, request.out, ranks, _begun(request, task))
            if trainer.resume() and ranks.is_first:
                err.print(f"going on from step {trainer.step}", highlight=False)
            board = Board(request.out / "board", trainer.step) if request.tensorboard and ranks.is_first else None
            try:
                _run(trainer, validation, bar, board, out)
            finally:
                if board is not None:
                    board.close()
        if ranks.is_first:
            trainer.draw()
            out.print(f"checkpoint: {request.out / 'model.safetensors'}", highlight=False)


def _prepared(request: TrainRequest, settings: TrainSettings, bar: Progress) -> tuple[Task, list[Any]]:
    """The task and its held-out batches, from the request's files."""
    reading = bar.add_task("reading", total=None)

    def on_file(path: Path) -> None:
        bar.advance(reading)

    request.out.mkdir(parents=True, exist_ok=True)
    songs, held_out = _songs(request, on_file)
    bar.remove_task(reading)
    if request.model == "event-transformer":
        rival = EventConfig.from_dict(request.config)
        validation = event_validation(EventDataset(held_out, rival)) if held_out else []
        return event_task(rival, EventDataset(songs, rival), settings.seed), validation
    config = ModelConfig.from_dict(request.config)
    validation = (
        validation_batches(Dataset(held_out, config)) if held_out else []
    )  # refused before the latent is fitted
    is_fitted = request.start is not None or (request.out / "state.pt").is_file()
    latent_steps = 0 if is_fitted else min(LATENT_STEPS, settings.steps)  # short for a short run
    task = fractal_task(config, Dataset(songs, config), settings.seed, latent_steps)
    return task, validation


def _songs(request: TrainRequest, on_file: Callable[[Path], None]) -> tuple[list[Any], list[Any]]:
    train, valid = (request.data / split for split in SPLITS)
    folder = train if train.is_dir() else request.data
    songs = read_corpus(folder, on_file, cache=request.out / "train.npz")
    held_out = read_corpus(valid, on_file, cache=request.out / "valid.npz") if valid.is_dir() else []
    return songs, held_out


def _begun(request: TrainRequest, task: Task) -> Origin | None:
    """Where the weights come from, unless a run is resumed or begins anew."""
    if request.start is None or (request.out / "state.pt").is_file():
        return None
    return start_from(task.model, request.start, request.new)


def _run(trainer: Trainer, validation: list[Any], bar: Progress, board: Board | None, out: Console) -> None:
    training = bar.add_task("training", total=1.0)
    for report in trainer.run(validation):
        bar.update(training, completed=report.share, description=f"step {report.step} {_shown(report.learned)}")
        if board is not None:
            board.write(report)
        if report.held_out is not None:
            out.print(f"step {report.step}, held-out songs: {_bits(report.held_out)}", highlight=False)


def _shown(figures: Figures) -> str:
    losses = " ".join(f"{name} {value:.2f}" for name, value in figures.losses.items())
    return f"{losses} | {_bits(figures)}"


def _bits(figures: Figures) -> str:
    if figures.bits_per_note is None or figures.bits_per_step is None:
        return "no notes"
    return f"{figures.bits_per_note:.3f} bits per note, {figures.bits_per_step:.3f} per step"
