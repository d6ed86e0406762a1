"""What held-out music costs the fractal, so that it can be set beside what it costs an event transformer.

Comparable bits: of the same crops (32 full bars, `event_dataset.comparable_crops`) the same notes after the same
quantisation, knowing nothing of what came before the crop. The fractal says a crop level by level, and everything it
says is paid: the plan cell by cell in time, each given those before it and quantised to its bins before anything
below sees it; then per half bar echo, harmony and onsets; then the notes. Guides are functions of the notes, so that
the sum is an upper bound of what the notes alone cost. Tempo is neither told nor paid, by either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fractal_live.model.fractal import Fractal
from fractal_live.model.structure import Wish, plan_bin, plan_of_bin
from fractal_live.music.plan import COLUMN
from fractal_live.train.dataset import Dataset, collate
from fractal_live.train.event_dataset import Crop

PAID = ("echo", "chroma", "onsets", "pitch", "velocity", "duration")
BATCH = 4


@dataclass(frozen=True, slots=True)
class FractalBits:
    """Bits in all, by what they were paid for, and the notes they were paid for."""

    notes: int
    parts: dict[str, float]

    @property
    def per_note(self) -> float:
        return sum(self.parts.values()) / max(1, self.notes)


def comparable_bits(model: Fractal, crops: list[Crop]) -> FractalBits:
    """What crops of `plan_bars` bars cost, every token paid once."""
    rng = np.random.default_rng(0)
    parts, notes = dict.fromkeys(("plan", *PAID), 0.0), 0
    given = np.array(True)
    for low in range(0, len(crops), BATCH):
        samples = []
        for crop in crops[low : low + BATCH]:
            dataset = Dataset([crop.song], model.config)
            group = np.arange(dataset.steps // 8)
            sample = dataset.sample(crop.song, crop.first_bar, 0, rng, group=group)
            samples.append({**sample, "plan_given": given, "texture_given": given})
        batch = collate(samples)
        past = model.config.past_bars
        plan = plan_of_crops(crops[low : low + BATCH], model)
        is_present = torch.arange(plan.shape[1]) >= past
        batch = replace(batch, plan=plan, is_present=is_present.expand(len(plan), -1))
        with torch.inference_mode():
            parts["plan"] += plan_nats(model, plan, batch.is_present)
            found = model.losses(batch)
        for name in PAID:
            parts[name] += float(found[name])
        notes += int(found["pitch_count"])
    return FractalBits(notes, {name: nats / math.log(2) for name, nats in parts.items()})


def plan_of_crops(crops: list[Crop], model: Fractal) -> Tensor:
    """Plans as the levels below may know them: no past, no tempo, every cell at the middle of its bin (B, R, 6)."""
    rows = []
    for crop in crops:
        plan, _ = Dataset([crop.song], model.config).plan_at(crop.song, crop.first_bar, 0)
        plan[: model.config.past_bars] = np.nan
        plan[:, COLUMN["tempo"]] = np.nan
        rows.append(plan)
    plans = torch.from_numpy(np.stack(rows))
    return torch.where(torch.isnan(plans), plans, plan_of_bin(plan_bin(plans)))


def plan_nats(model: Fractal, plan: Tensor, is_present: Tensor) -> float:
    """What the known cells of plans (B, R, 6) cost, one after another in time."""
    past, structure = model.config.past_bars, model.structure
    known = torch.full_like(plan, float("nan"))
    z = plan.new_zeros(len(plan), model.config.latent_dims)
    wish = Wish(z, model.latent.sketch(z), plan.new_zeros(len(plan)))
    total = 0.0
    for row in range(past, plan.shape[1]):
        for column in range(plan.shape[2]):
            wanted = plan[:, row, column]
            is_there = ~torch.isnan(wanted)
            if not is_there.any():
                continue
            scores = structure.scores(known, known, is_present, wish)[:, row, column]
            nats = F.cross_entropy(scores.float(), plan_bin(wanted), reduction="none")
            total += float((nats * is_there).sum())
            known[:, row, column] = wanted
    return total
