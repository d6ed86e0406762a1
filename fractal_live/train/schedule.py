"""How a run goes: its settings, how far it is, and what rate and what weights hold there.

Everything is a function of the step and of the time spent, so that a resumed run is where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

PRECISIONS = ("auto", "bfloat16", "float32")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A run of so many steps, or of so many `minutes` where those are sooner over.

    learning_rate: the peak. 1e-4 suits tens of millions of parameters; models of a few million, trained
    for an hour, were measured best at 1e-3. floor_share: the rate at the end, as a share of the peak.
    warmup_steps: of the rate. warmup_levels_steps: over so many steps the weight of the lower levels'
    losses rises from `lower_start` to 1. precision: of the forward pass; `auto` is bfloat16 where the device
    computes in it. save_minutes, validate_every: how often, in minutes and steps.
    """

    steps: int = 7500
    batch_size: int = 4
    learning_rate: float = 1e-4
    floor_share: float = 0.02
    weight_decay: float = 0.05
    warmup_steps: int = 200
    warmup_levels_steps: int = 500
    lower_start: float = 0.1
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    precision: str = "auto"
    save_minutes: float = 3.0
    validate_every: int = 500
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")
        if min(self.steps, self.batch_size, self.warmup_steps, self.validate_every) < 1:
            raise ValueError("steps, batch_size, warmup_steps and validate_every must be at least 1")
        if not 0 <= self.floor_share <= 1 or not 0 <= self.lower_start <= 1:
            raise ValueError("floor_share and lower_start must lie in 0 to 1")


def resolved(settings: TrainSettings) -> TrainSettings:
    """The settings with `auto` replaced by what it means here. A processor without bfloat16 arithmetic
    emulates it, measured ten times slower than float32."""
    if settings.precision != "auto":
        return settings
    able = torch.cpu.get_capabilities()
    is_able = not settings.device.startswith("cpu") or able.get("amx_bf16") or able.get("avx512_bf16")
    return replace(settings, precision="bfloat16" if is_able else "float32")


def share_done(step: int, seconds: float, settings: TrainSettings) -> float:
    """How much of the run is over, 0 to 1: by steps or by time, whichever is further. A run bounded by
    `minutes` decays fully however slow the machine."""
    by_time = 0.0 if settings.minutes is None else seconds / (60 * settings.minutes)
    return min(1.0, max(step / settings.steps, by_time))


def learning_rate_at(step: int, share: float, settings: TrainSettings) -> float:
    """A half cosine over the run from the peak to the floor, times a linear warm-up."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return settings.learning_rate * warm * (settings.floor_share + (1 - settings.floor_share) * cosine)


def lower_weight_at(step: int, settings: TrainSettings) -> float:
    """What the lower levels' losses are multiplied by: a straight ramp to 1, so that the structure is
    learned before the notes rely on it. A hard switch would jolt the averages of the optimiser."""
    if step >= settings.warmup_levels_steps:
        return 1.0
    return settings.lower_start + (1 - settings.lower_start) * step / settings.warmup_levels_steps
