"""Weights and everything needed to read them, in one safetensors file; refuses what does not fit.

The header carries the model's config, what the plan's columns and the grid meant when it was trained, and
how it was trained. Nothing in a checkpoint is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fractal_live.model.config import ConfigError, ModelConfig
from fractal_live.model.fractal import Fractal
from fractal_live.music.meter import STEPS_PER_BEAT
from fractal_live.music.plan import ATTRIBUTES

FORMAT = "fractal-live 1"
META_KEY = "fractal_live"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model ready to be asked. `training` is free text values for the model card."""

    model: Fractal
    checkpoint_id: str
    training: dict[str, Any]


def meaning() -> dict[str, Any]:
    """What numbers in a checkpoint mean; must be equal when it is loaded."""
    return {
        "format": FORMAT,
        "steps_per_beat": STEPS_PER_BEAT,
        "plan": [[attribute.name, attribute.low, attribute.high] for attribute in ATTRIBUTES],
    }


def save(model: Fractal, path: Path, training: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
    """Writes under a temporary name, then renames: a reader never sees half a file."""
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()}
    header = meaning() | {"config": model.config.as_dict(), "training": training}
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata={META_KEY: json.dumps(header)})
    os.replace(temporary, path)


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """The model in float32 on a device, ready for inference. Raises CheckpointError."""
    header, tensors = _read(path)
    wanted = meaning()
    for key, value in wanted.items():
        if header.get(key) != value:
            raise CheckpointError(f"{path}: its {key} is {header.get(key)!r}, this version needs {value!r}")
    try:
        model = Fractal(ModelConfig.from_dict(header["config"]))
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its model config cannot be built: {error}") from error
    _check_shapes(path, model, tensors)
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return Checkpoint(
        model.to(device).eval().requires_grad_(False), f"{path.stem}-{digest}", header.get("training", {})
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; give a .safetensors file or train one")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(META_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); pickled checkpoints (.pt, .ckpt) are never opened"
        ) from error
    if text is None:
        raise CheckpointError(f"{path}: a safetensors file, but not one of fractal-live (its header has no config)")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is not a table")
    return header, tensors


def _check_shapes(path: Path, model: Fractal, tensors: dict[str, torch.Tensor]) -> None:
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: tensor {name} has shape {found.get(name, 'none')}, "
                f"its config asks for {wanted.get(name, 'none')}"
            )
