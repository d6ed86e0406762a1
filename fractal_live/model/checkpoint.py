"""Weights and everything needed to read them, in one safetensors file; refuses what does not fit.

The header carries the kind of model, its config, what the plan's columns and the grid meant when it was trained,
and how it was trained. Nothing in a checkpoint is ever executed. A rival of the fractal keeps its weights in the same
form under a kind of its own.
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
from torch import nn

from fractal_live.model.config import ConfigError, ModelConfig
from fractal_live.model.fractal import Fractal
from fractal_live.music.meter import STEPS_PER_BEAT
from fractal_live.music.plan import ATTRIBUTES

FORMAT = "fractal-live 1"
META_KEY = "fractal_live"
KIND = "fractal"


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
    """Writes a fractal's checkpoint."""
    write(model, path, {"kind": KIND, "config": model.config.as_dict(), "training": training}, dtype)


def write(model: nn.Module, path: Path, header: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
    """Any model's weights below a header of JSON values. Writes under a temporary name, then renames: a reader
    never sees half a file."""
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()}
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata={META_KEY: json.dumps(meaning() | header)})
    os.replace(temporary, path)


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """The model in float32 on a device, ready for inference. Raises CheckpointError."""
    header, tensors = read(path, KIND)
    try:
        model = Fractal(ModelConfig.from_dict(header["config"]))
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its model config cannot be built: {error}") from error
    fill(model, path, tensors)
    model = model.to(device).eval().requires_grad_(False)
    return Checkpoint(model, identity(path), header.get("training", {}))


def read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a checkpoint of this kind that means what this version does. Raises CheckpointError."""
    header, tensors = _read(path)
    found = header.get("kind", KIND)
    if found != kind:
        raise CheckpointError(f"{path}: its kind is {found!r}, here {kind!r} is needed")
    for key, value in meaning().items():
        if header.get(key) != value:
            raise CheckpointError(f"{path}: its {key} is {header.get(key)!r}, this version needs {value!r}")
    return header, tensors


def fill(model: nn.Module, path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Puts a checkpoint's tensors into a model, all of them, in float32. Raises CheckpointError."""
    _check_shapes(path, model, tensors)
    model.load_state_dict({name: value.float() for name, value in tensors.items()})


def identity(path: Path) -> str:
    """Name and digest of a checkpoint, as bars carry it."""
    return f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


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


def _check_shapes(path: Path, model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: tensor {name} has shape {found.get(name, 'none')}, "
                f"its config asks for {wanted.get(name, 'none')}"
            )
