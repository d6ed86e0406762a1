"""What is minimised: sums of nats and counts of things, weighed, whatever the model and on however many devices.

A model says its losses as `Fractal.losses` does: sums of nats by name, each beside its `<name>_count`.
It may also count without a loss of that name: `notes_count` and `steps_count`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fractal_live.train.distributed import Ranks

COUNT = "_count"
LN2 = math.log(2)

# Per note the leaf, per half bar the harmony and the onsets, per cell the plan: near their share of the
# bits of a half bar, with the rare ones raised so that the upper levels learn as fast as the leaf. The
# latent's kl and sketch have none: it is fitted before (`train.latent`) and held still.
WEIGHTS = {
    "pitch": 1.0,
    "velocity": 1.0,
    "duration": 1.0,
    "chroma": 0.3,
    "onsets": 1.0,
    "plan": 0.5,
    "echo": 0.3,
}
NOTE_LOSSES = ("pitch", "velocity", "duration")


@dataclass(frozen=True, slots=True)
class Objective:
    """weights: of each loss, in nats per thing; a loss without one is only logged. note_losses: those
    that make up the cost of a note, given all above it. lower: those ramped in at the start."""

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    note_losses: tuple[str, ...] = NOTE_LOSSES
    lower: tuple[str, ...] = NOTE_LOSSES

    def weights_at(self, lower_weight: float) -> dict[str, float]:
        return {name: value * (lower_weight if name in self.lower else 1.0) for name, value in self.weights.items()}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a batch or a validation set cost: nats per thing, and bits of notes per note and per step
    (None where the model counts no notes or the batch no steps)."""

    losses: dict[str, float]
    bits_per_note: float | None
    bits_per_step: float | None

    def row(self, prefix: str) -> dict[str, float]:
        """As columns of the history: `valid_pitch`, `valid_bits_per_note`."""
        bits = {"bits_per_note": self.bits_per_note, "bits_per_step": self.bits_per_step}
        known = {name: value for name, value in bits.items() if value is not None}
        return {f"{prefix}_{name}": value for name, value in (self.losses | known).items()}


def loss_names(sums: Mapping[str, Any]) -> list[str]:
    return [name for name in sums if not name.endswith(COUNT)]


def figures(sums: Mapping[str, float], objective: Objective) -> Figures:
    """From sums and counts, of one batch or of many added up."""
    losses = {name: sums[name] / max(1.0, sums[name + COUNT]) for name in loss_names(sums)}
    known = [name for name in objective.note_losses if name in sums]
    bits = sum(sums[name] for name in known) / LN2
    notes = sums.get("notes_count", sums[known[0] + COUNT] if known else 0.0)
    steps = sums.get("steps_count", 0.0)
    return Figures(losses, bits / notes if known and notes else None, bits / steps if known and steps else None)


def counted_losses(model: nn.Module, batch: Any) -> dict[str, Tensor]:
    """A model's losses; the steps of a batch on the grid are counted where the model does not."""
    found: dict[str, Tensor] = model.losses(batch)  # type: ignore[operator]
    is_valid = getattr(batch, "is_valid", None)
    if "steps_count" not in found and is_valid is not None:
        found = found | {"steps_count": is_valid.sum()}
    return found


class Weighed(nn.Module):
    """The model with its losses weighed into one number; the module that several devices share.

    Each loss is the sum over all ranks divided by the count over all ranks, not a mean of the ranks'
    means: a rank whose crops hold few notes does not count its notes more. The gradients of the ranks are
    averaged afterwards, hence the factor of their number.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        self.model, self.ranks = model, ranks

    def forward(self, batch: Any, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, float]]:
        """The rank's part of the loss, to be differentiated, and sums and counts over all ranks."""
        found = counted_losses(self.model, batch)
        everywhere = self.ranks.summed({name: value.detach() for name, value in found.items()})
        parts = [
            weights[name] / max(1.0, everywhere[name + COUNT]) * found[name]
            for name in loss_names(found)
            if name in weights
        ]
        if not parts:
            raise ValueError(f"no loss has a weight; the model's are {loss_names(found)}, weights for {list(weights)}")
        return self.ranks.size * torch.stack(parts).sum(), everywhere
