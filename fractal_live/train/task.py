"""What is trained: a model, where its samples come from, what is minimised and how it is written.

The loop knows no model; the fractal and each rival of it is one `Task`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fractal_live.model import checkpoint
from fractal_live.model.config import HALF_STEPS, ModelConfig
from fractal_live.model.fractal import Fractal
from fractal_live.train.copies import COPY_STEPS, RETURN_STEPS, fit_copies, fit_returns
from fractal_live.train.dataset import Dataset, collate
from fractal_live.train.free_play import PLAY_BARS, PLAY_PIECES, PLAY_ROUNDS, PLAYS_AFTER, fit_balance
from fractal_live.train.halves import HALF_CROPS, half_bars
from fractal_live.train.harmony import HARMONY_STEPS, RUN_STEPS, fit_harmony, fit_runs
from fractal_live.train.latent import LATENT_STEPS, SKETCH_STEPS, fit_latent, fit_sketch
from fractal_live.train.objective import Figures, Objective, counted_losses, figures

log = logging.getLogger(__name__)


class Draws(Protocol):
    """A source of samples; what is drawn depends on the generator alone."""

    def draw(self, rng: np.random.Generator) -> Any: ...


@dataclass(frozen=True, slots=True)
class Task:
    """model: has `losses(batch)` and a `config` with `as_dict()`; collate: samples to a batch, a dataclass
    or dict of tensors; finish: what the averaged model still learns when a run of so many steps is over;
    write: averaged model, path of the checkpoint and the training record to a file."""

    model: nn.Module
    dataset: Draws
    collate: Callable[[list[Any]], Any]
    write: Callable[[Any, Path, dict[str, Any]], None]
    songs: int
    objective: Objective = field(default_factory=Objective)
    data_note: str = "MIDI files."
    finish: Callable[[Any, int], None] | None = None


def fractal_task(
    config: ModelConfig,
    dataset: Dataset,
    seed: int,
    latent_steps: int = LATENT_STEPS,
    sketch_steps: int = SKETCH_STEPS,
    return_steps: int = RETURN_STEPS,
    copy_steps: int = COPY_STEPS,
    play_rounds: int = PLAY_ROUNDS,
    harmony_steps: int = HARMONY_STEPS,
    run_steps: int = RUN_STEPS,
) -> Task:
    """A fractal with fresh weights, its latent fitted to the songs' plans (not at all with 0 steps: for a start
    from a checkpoint, which brings its own) and held still from then on; in the end level 0 learns for so many
    steps to follow it, its rows for so many to return, pitch classes for so many to go together, sections for so many
    to go on, and echoes for so many to follow their sources; and it plays for so many rounds, to learn its balance."""
    torch.manual_seed(seed)
    model = Fractal(config)
    if latent_steps:
        found = fit_latent(model, dataset, latent_steps, seed)
        log.info("latent: %s", ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    model.latent.requires_grad_(False)

    def finish(averaged: Fractal, trained: int) -> None:
        """No part of it is longer than the run was."""
        first, last = fit_sketch(averaged, dataset, min(sketch_steps, trained), seed)
        log.info("sketch: plan %.3f nats per cell, then %.3f", first, last)
        if return_steps:
            first, last = fit_returns(averaged, dataset, min(return_steps, trained), seed)
            log.info("returns: plan %.3f nats per cell, then %.3f", first, last)
        if harmony_steps or run_steps:
            halves = half_bars(averaged, dataset, min(HALF_CROPS, trained), seed)
            if harmony_steps:
                first, last = fit_harmony(averaged, halves, min(harmony_steps, trained), seed)
                log.info("harmony: %.3f nats per half bar, then %.3f", first, last)
            if run_steps:
                first, last = fit_runs(averaged, halves, min(run_steps, trained), seed)
                log.info("sections: %.3f nats per half bar, then %.3f", first, last)
        if copy_steps:
            first, last = fit_copies(averaged, dataset, min(copy_steps, trained), seed)
            log.info("copies: %.3f nats per half bar, then %.3f", first, last)
        if play_rounds:
            share = min(1.0, trained / PLAYS_AFTER)
            rounds, pieces = (max(1, round(share * number)) for number in (play_rounds, PLAY_PIECES))
            gaps = fit_balance(averaged, dataset.songs, rounds, seed, pieces, min(PLAY_BARS, trained))
            log.info("free play: off by %s, then by %s", *(np.round(gap, 3).tolist() for gap in gaps))

    return Task(model, dataset, collate, checkpoint.save, len(dataset.songs), finish=finish)


def batch_at(task: Task, seed: int, step: int, indices: range) -> Any:
    """The samples of a step with these numbers: each a function of seed, step and its number alone, so
    that resumed runs go on exactly, and several ranks draw what one would have drawn."""
    return task.collate([task.dataset.draw(np.random.default_rng([seed, step, index])) for index in indices])


def moved(batch: Any, device: str) -> Any:
    """A batch with its tensors on a device, those of batches inside it too."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{item.name: moved(getattr(batch, item.name), device) for item in fields(batch)})
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    return batch


def validation_batches(dataset: Dataset, count: int = 16, batch_size: int = 4) -> list[Any]:
    """A fixed set of crops, untransposed, in order of time with everything given."""
    rng = np.random.default_rng(1)
    time_order = np.arange(dataset.steps // HALF_STEPS)
    given = np.array(True)
    samples = []
    for place in range(count):
        song = dataset.songs[place * len(dataset.songs) // count]
        sample = dataset.sample(song, 4, 0, rng, group=time_order)
        samples.append({**sample, "plan_given": given, "texture_given": given})
    return [collate(samples[low : low + batch_size]) for low in range(0, count, batch_size)]


def validated(model: nn.Module, batches: list[Any], objective: Objective, device: str) -> Figures:
    """What held-out batches cost, all their things counted alike, in full precision."""
    totals: dict[str, float] = {}
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in batches:
            for name, value in counted_losses(model, moved(batch, device)).items():
                totals[name] = totals.get(name, 0.0) + float(value)
    model.train(was_training)
    return figures(totals, objective)
