"""What each rank does in test_distributed: trains, and writes down all that it saw."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fractal_live.train.corpus import read_corpus
from fractal_live.train.dataset import Dataset
from fractal_live.train.distributed import Ranks, joined
from fractal_live.train.loop import Trainer
from fractal_live.train.schedule import TrainSettings
from fractal_live.train.task import Task, fractal_task
from tests.train.small import SMALL
from tests.train.toy import SETTINGS, ToyConfig, toy_task

SIZE = 2
SHARE = 0.4
"""Of the toy's samples that hold a note: few, so that now a rank and now both do not use the notes' head."""
TOY = replace(SETTINGS, seed=1)
FRACTAL = replace(SETTINGS, steps=2, batch_size=1, learning_rate=1e-3)


def watched(task: Task, settings: TrainSettings, out: Path, ranks: Ranks | None = None) -> dict[str, Any]:
    """A run's reports, the gradients that each step of the optimiser got, and the weights in the end."""
    trainer = Trainer(task, settings, out, ranks or Ranks())
    trainer.resume()
    gradients: list[dict[str, torch.Tensor | None]] = []

    def remember(*_: object) -> None:
        named = trainer.model.named_parameters()
        gradients.append({name: None if p.grad is None else p.grad.clone() for name, p in named})

    trainer.optimiser.register_step_pre_hook(remember)
    reports = [(report.step, report.learned.losses) for report in trainer.run([])]
    return {"reports": reports, "gradients": gradients, "weights": trainer.model.state_dict()}


def own_clock(ranks: Ranks) -> Callable[[], float]:
    """Runs at another speed on each rank."""
    return map(float, itertools.count(step=1 + 3 * ranks.rank)).__next__


def main(out: Path, songs: Path) -> None:
    with joined("cpu") as (ranks, device):
        settings = replace(TOY, device=device)
        toy = toy_task(ToyConfig(dropout=0.0), share=SHARE)
        found = {"toy": watched(toy, settings, out / "toy", ranks)}
        longer = replace(settings, steps=8)
        found["resumed"] = watched(toy_task(ToyConfig(dropout=0.0), seed=5, share=SHARE), longer, out / "toy", ranks)
        found["fractal"] = watched(fractal(songs), FRACTAL, out / "fractal", ranks)
        timed = replace(settings, steps=10**6, minutes=0.5)
        trainer = Trainer(toy_task(), timed, out / f"timed-{ranks.rank}", ranks, clock=own_clock(ranks))
        found["timed"] = {"reports": [(report.step, report.share) for report in trainer.run([])]}
        found["counted"] = {"ranks": (ranks.rank, ranks.size)}
        torch.save(found, out / f"rank-{ranks.rank}.pt")


def fractal(songs: Path) -> Task:
    return fractal_task(
        SMALL, Dataset(read_corpus(songs), SMALL), 0, latent_steps=0, sketch_steps=2, return_steps=2, copy_steps=2
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
