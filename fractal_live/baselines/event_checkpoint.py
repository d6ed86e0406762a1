"""The event transformer's weights in a file, with its config and the words of its vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fractal_live.baselines.event_transformer import EventConfig, EventTransformer
from fractal_live.model import checkpoint
from fractal_live.model.checkpoint import CheckpointError
from fractal_live.model.config import ConfigError


@dataclass(frozen=True, slots=True)
class EventCheckpoint:
    """A model ready to be asked. `training` is the record of how it was made."""

    model: EventTransformer
    checkpoint_id: str
    training: dict[str, Any]


def save(model: EventTransformer, path: Path, training: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
    header = {
        "kind": EventTransformer.KIND,
        "config": model.config.as_dict(),
        "words": list(model.words.words),
        "training": training,
    }
    checkpoint.write(model, path, header, dtype)


def load(path: Path, device: torch.device | str = "cpu") -> EventCheckpoint:
    """The model in float32 on a device, ready for inference. Raises CheckpointError."""
    header, tensors = checkpoint.read(path, EventTransformer.KIND)
    try:
        model = EventTransformer(EventConfig.from_dict(header["config"]))
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its model config cannot be built: {error}") from error
    if header.get("words") != list(model.words.words):
        raise CheckpointError(f"{path}: its tokens are not those of the MidiTok that is installed")
    checkpoint.fill(model, path, tensors)
    model.to(device).eval().requires_grad_(False)
    return EventCheckpoint(model, checkpoint.identity(path), header.get("training", {}))
