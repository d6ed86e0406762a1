"""Event transformers small enough for tests, and bars for them to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fractal_live.baselines.event_checkpoint import save
from fractal_live.baselines.event_transformer import EventConfig, EventTransformer
from fractal_live.model.config import DURATIONS, velocity_of_bin
from fractal_live.music.meter import FOUR_FOUR, TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar, Note, without_overlaps

SMALL = EventConfig(dim=16, blocks=2, heads=2, mlp_ratio=2, context=256)


def needs_miditok() -> None:
    """Skips a module whose tokens need the extra `baselines`."""
    pytest.importorskip("miditok", reason="MidiTok is not installed (extra `baselines`)")


def small_transformer(seed: int, config: EventConfig = SMALL) -> EventTransformer:
    """Weights large enough that every path carries something."""
    torch.manual_seed(seed)
    model = EventTransformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(0.25 * torch.randn(parameter.shape, generator=generator))
    return model


def small_checkpoint(folder: Path, seed: int = 1) -> Path:
    path = folder / "events.safetensors"
    save(small_transformer(seed), path, {"steps": 3})
    return path


def random_bars(seed: int, count: int, meter: Meter = FOUR_FOUR, most: int = 10) -> tuple[Bar, ...]:
    """Bars on the grid whose notes the tokens can say exactly; some are empty."""
    rng = np.random.default_rng(seed)
    bars = []
    for index in range(count):
        notes = [
            Note(
                int(rng.integers(meter.steps_per_bar)) * TICKS_PER_STEP,
                int(rng.integers(128)),
                int(rng.choice(DURATIONS[:8])) * TICKS_PER_STEP,
                velocity_of_bin(int(rng.integers(32))),
            )
            for _ in range(rng.integers(most))
        ]
        bars.append(Bar(index, without_overlaps(notes), meter, 90.0))
    return tuple(bars)
