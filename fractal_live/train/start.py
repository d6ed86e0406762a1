"""Fine-tuning: a new run that begins from the weights of a checkpoint, as far as they fit.

Tensors of equal name and shape are taken, even from a checkpoint of another shape or version; which were
not is recorded. A tensor that is there but fits nowhere is an error unless it was named as new.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fractal_live.model.checkpoint import META_KEY, CheckpointError, meaning

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run began. taken: how many tensors came from there; new: those that kept their initial
    values; left: those of the checkpoint that the model has no place for; steps, minutes: its training."""

    checkpoint: str
    steps: int
    minutes: float
    taken: int
    new: tuple[str, ...]
    left: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"new": list(self.new), "left": list(self.left)}


def start_from(model: nn.Module, path: Path, new: tuple[str, ...] = ()) -> Origin:
    """Puts a checkpoint's weights into a model. `new` names tensors (or patterns: `leaf.*`) that keep
    their initial values whatever the checkpoint holds. Raises CheckpointError, changing nothing."""
    header, tensors = _read(path)
    own = model.state_dict()
    is_new = {name for name in own if any(fnmatchcase(name, pattern) for pattern in new)}
    fitting: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name in is_new or name not in own:
            continue
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: tensor {name} has shape {tuple(value.shape)}, the model asks for {tuple(own[name].shape)}; "
                f"use the checkpoint's own --config, or --new '{name}' to learn it anew"
            )
        fitting[name] = value.to(own[name].dtype)
    if not fitting:
        raise CheckpointError(
            f"{path}: none of its {len(tensors)} tensors is one of the model's; nothing to start from"
        )
    model.load_state_dict(fitting, strict=False)
    _warn_of_other_meaning(path, header)
    training = header.get("training", {})
    origin = Origin(
        path.stem,
        int(training.get("step", 0)),
        float(training.get("minutes", 0.0)),
        len(fitting),
        tuple(sorted(own.keys() - fitting.keys())),
        tuple(sorted(tensors.keys() - own.keys())),
    )
    _report(path, origin)
    return origin


def _report(path: Path, origin: Origin) -> None:
    log.info("%s: %d tensors taken", path, origin.taken)
    if origin.new:
        log.warning("%s: not from there, at their initial values: %s", path, ", ".join(origin.new))
    if origin.left:
        log.warning("%s: no place for: %s", path, ", ".join(origin.left))


def _warn_of_other_meaning(path: Path, header: dict[str, Any]) -> None:
    for key, value in meaning().items():
        if header.get(key) != value:
            log.warning(
                "%s: its %s is %r, here it is %r; the weights have to relearn it", path, key, header.get(key), value
            )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors, whatever model they are of."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; give a .safetensors file or train one")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(META_KEY, "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        header = json.loads(text)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    return header if isinstance(header, dict) else {}, tensors
