"""A model small enough to train in a blink, with all that the loop has to cope with: losses per different
things, dropout, a part that some batches do not use, a loss that is only logged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from fractal_live.model.checkpoint import META_KEY, meaning
from fractal_live.train.loop import Trainer
from fractal_live.train.objective import Objective
from fractal_live.train.schedule import TrainSettings
from fractal_live.train.task import Task

OBJECTIVE = Objective({"pitch": 1.0, "plan": 0.5}, note_losses=("pitch",), lower=("pitch",))
SETTINGS = TrainSettings(
    steps=6,
    batch_size=2,
    learning_rate=1e-2,
    warmup_steps=2,
    warmup_levels_steps=3,
    validate_every=3,
    ema_decay=0.9,
    precision="float32",
    save_minutes=1e9,
)


@dataclass(frozen=True, slots=True)
class ToyConfig:
    dropout: float = 0.1
    width: int = 8

    def as_dict(self) -> dict[str, Any]:
        return {"dropout": self.dropout, "width": self.width}


@dataclass(frozen=True, slots=True)
class ToyBatch:
    """x (B, 6); pitch, plan (B,) classes below 4; is_note (B,): a sample may hold no note; is_valid (B, 6)."""

    x: Tensor
    pitch: Tensor
    plan: Tensor
    is_note: Tensor
    is_valid: Tensor


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential(nn.Linear(6, config.width), nn.GELU(), nn.Dropout(config.dropout))
        self.pitch = nn.Linear(config.width, 4)
        self.plan = nn.Linear(config.width, 4)

    def losses(self, batch: ToyBatch) -> dict[str, Tensor]:
        """The notes' head is used only where there are notes."""
        hidden = self.body(batch.x)
        notes = hidden[batch.is_note]
        pitch = hidden.new_zeros(())
        if len(notes):
            pitch = F.cross_entropy(self.pitch(notes), batch.pitch[batch.is_note], reduction="sum")
        return {
            "pitch": pitch,
            "pitch_count": batch.is_note.sum(),
            "plan": F.cross_entropy(self.plan(hidden), batch.plan, reduction="sum"),
            "plan_count": torch.tensor(len(hidden)),
            "norm": hidden.square().sum(),
            "norm_count": torch.tensor(hidden.numel()),
        }


@dataclass(frozen=True, slots=True)
class ToyDataset:
    """What is drawn depends on the generator alone; `share` of the samples hold a note."""

    share: float = 0.6

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        x = rng.standard_normal(6).astype(np.float32)
        return {
            "x": x,
            "pitch": np.array(int(x[:3].argmax())),
            "plan": np.array(int(x[3:].argmax())),
            "is_note": np.array(rng.random() < self.share),
            "is_valid": x > -1,
        }


def toy_collate(samples: list[dict[str, np.ndarray[Any, Any]]]) -> ToyBatch:
    return ToyBatch(**{key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]})


def write_toy(model: Any, path: Path, training: dict[str, Any]) -> None:
    header = meaning() | {"config": model.config.as_dict(), "training": training}
    save_file(model.state_dict(), path, metadata={META_KEY: json.dumps(header)})


def toy_task(config: ToyConfig = ToyConfig(), seed: int = 0, share: float = 0.6) -> Task:
    torch.manual_seed(seed)
    return Task(Toy(config), ToyDataset(share), toy_collate, write_toy, 3, OBJECTIVE)


def toy_trainer(out: Path, settings: TrainSettings = SETTINGS, config: ToyConfig = ToyConfig()) -> Trainer:
    return Trainer(toy_task(config), settings, out)
