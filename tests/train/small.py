"""A fractal of eight bars that trains in a moment."""

from __future__ import annotations

from fractal_live.model.config import LeafConfig, LevelConfig, ModelConfig

SMALL = ModelConfig(
    levels=(
        LevelConfig(8, 32, 1, 2, "mar"),
        LevelConfig(16, 32, 1, 2, "mar"),
        LevelConfig(32, 32, 1, 2, "ar", window=4),
        LevelConfig(128, 32, 1, 2, "ar", window=8),
    ),
    leaf=LeafConfig(embed_dim=32, num_blocks=1, num_heads=2),
    step_dim=24,
    past_bars=8,
)
