"""A fractal small enough for tests, with random weights that let every path carry something."""

from __future__ import annotations

import torch

from fractal_live.model.config import LevelConfig, ModelConfig
from fractal_live.model.fractal import Fractal

TINY = ModelConfig(
    structure=LevelConfig(32, 2, 2, "mar"),
    phrase=LevelConfig(32, 2, 2, "mar"),
    beat=LevelConfig(32, 2, 2, "ar"),
    content=LevelConfig(32, 2, 2, "ar"),
    leaf=LevelConfig(32, 2, 2, "ar"),
    step_dim=24,
    beat_window=4,
    step_window=8,
)


def lively(seed: int, config: ModelConfig = TINY, scale: float = 0.1) -> Fractal:
    """Zero-initialised modulations are moved off zero, so that nothing is silent by construction."""
    torch.manual_seed(seed)
    model = Fractal(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * scale)
    return model
