"""Fractals small enough for tests, one of every shape, with random weights that let every path carry something."""

from __future__ import annotations

from dataclasses import replace

import torch

from fractal_live.model.config import LeafConfig, LevelConfig, ModelConfig
from fractal_live.model.fractal import Fractal

TINY_BARS = 8


def shape(
    generators: str, spans: tuple[int, ...] = (16, 8, 4, 1), windows: tuple[int, ...] = (0, 0, 4, 8)
) -> ModelConfig:
    """A fractal of eight bars; `generators` are one letter a level, m for mar and a for ar."""
    kinds = {"m": "mar", "a": "ar"}
    return ModelConfig(
        levels=tuple(
            LevelConfig(TINY_BARS * 16 // span, 32, 2, 2, kinds[letter], 16 if span > 1 else 24, window)
            for letter, span, window in zip(generators, spans, windows, strict=True)
        ),
        leaf=LeafConfig(embed_dim=32, num_blocks=2, num_heads=2),
        step_dim=24,
        conv_channels=8,
        guide_dim=16,
        recall_channels=6,
        past_bars=TINY_BARS,
    )


TINY = shape("mmaa")
"""As the live model: masked above, sequential below."""

CONFIGS = {
    "live": TINY,
    "all-mar": shape("mmmm"),
    "all-ar": shape("aaaa"),
    "three-levels": shape("mmm", (16, 8, 1), (0, 0, 8)),
    "five-levels": shape("mamam", (16, 8, 4, 2, 1), (0, 3, 4, 4, 8)),
    "bands-column": replace(shape("mmma"), pitch_bands=2, scan_order="column_major"),
    "bands-column-mar": replace(shape("mmam"), pitch_bands=3, scan_order="column_major"),
    "bands-row": replace(shape("mmam"), pitch_bands=2, scan_order="row_major"),
    "bands-row-ar": replace(shape("mmaa"), pitch_bands=2, scan_order="row_major"),
    "lstm-leaf": replace(TINY, leaf=LeafConfig("lstm", 32, 2, 2)),
    "88-keys": replace(TINY, pitch_low=21, pitch_high=108),
    "no-windows": shape("mmaa", windows=(0, 0, 0, 0)),
}


def lively(seed: int, config: ModelConfig = TINY, scale: float = 0.1) -> Fractal:
    """Zero-initialised modulations are moved off zero, so that nothing is silent by construction."""
    model = Fractal(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * max(scale, fan_in**-0.5))
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    balance = model.heads.balance
    for weights in (balance.lags, balance.lasting, balance.foreign):
        weights.copy_(torch.randn(weights.shape, generator=generator) * scale)
    return model
