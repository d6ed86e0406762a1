"""Level 0: the plan. A masked model over rows (one per bar) whose cells are given or imagined.

Knows no notes. Every subset of cells may be known; the others are predicted from them, from the past
rows and from the latent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fractal_live.model.config import PLAN_BINS, ModelConfig
from fractal_live.model.latent import LatentGate
from fractal_live.model.layers import PLAN_COLUMNS, Trunk

FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 16.0)


class Structure(nn.Module):
    """Rows are (past_bars + plan_bars): past first, then the horizon."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.structure.embed_dim
        self.cell = nn.Parameter(torch.randn(PLAN_COLUMNS, 1 + 2 * len(FREQUENCIES), dim) * 0.2)
        self.unknown = nn.Parameter(torch.randn(PLAN_COLUMNS, dim) * 0.2)
        self.absent = nn.Parameter(torch.randn(dim) * 0.02)
        self.is_past = nn.Parameter(torch.randn(dim) * 0.02)
        self.latent = LatentGate(config, config.guide_dim)
        self.trunk = Trunk(config.structure, config.guide_dim, config.mlp_ratio)
        self.head = nn.Linear(dim, PLAN_COLUMNS * PLAN_BINS)
        self.down = nn.Linear(dim, config.structure.compressed_dim)
        self.past_bars = config.past_bars
        self.latent_dims = config.latent_dims

    def imagine(self, plan: Tensor, is_present: Tensor, z: Tensor, gain: Tensor) -> Tensor:
        """plan (B, R, 6) scaled to 0..1, NaN where to be predicted; is_present (B, R) False for rows
        before the music began; z (B, 16) stands for the horizon, gain (B,). Hidden states (B, R, dim)."""
        is_past = torch.arange(plan.shape[1], device=plan.device) < self.past_bars
        rows = self._rows(plan) + is_past[:, None] * self.is_past
        return self._read(rows, is_present, self.latent(z, gain))

    def hand_down(self, plan: Tensor, is_present: Tensor) -> Tensor:
        """What a complete plan says to the level below: (B, R, compressed). Past and future rows are alike
        here, because the bars below stand anywhere in the window."""
        B = len(plan)
        no_latent = self.latent(plan.new_zeros(B, self.latent_dims), plan.new_zeros(B))
        out: Tensor = self.down(self._read(self._rows(plan), is_present, no_latent))
        return out

    def _rows(self, plan: Tensor) -> Tensor:
        known = ~torch.isnan(plan)
        values = torch.nan_to_num(plan)[..., None]  # (B, R, 6, 1)
        angles = values * (math.pi * values.new_tensor(FREQUENCIES))
        features = torch.cat([values, angles.sin(), angles.cos()], dim=-1)
        given = torch.einsum("brcf,cfd->brcd", features, self.cell)
        rows: Tensor = torch.where(known[..., None], given, self.unknown).sum(2)  # (B, R, dim)
        return rows

    def _read(self, rows: Tensor, is_present: Tensor, cond: Tensor) -> Tensor:
        rows = torch.where(is_present[..., None], rows, self.absent)
        positions = torch.arange(rows.shape[1], device=rows.device)
        hidden: Tensor = self.trunk(rows, cond[:, None], positions, is_present[:, None, None, :])
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, R, dim) to (B, R, 6, bins)."""
        out: Tensor = self.head(hidden).view(*hidden.shape[:-1], PLAN_COLUMNS, PLAN_BINS)
        return out


def plan_bin(plan: Tensor) -> Tensor:
    """Scaled plan (NaN allowed, becomes 0) to bin indices, int64."""
    return (torch.nan_to_num(plan) * (PLAN_BINS - 1)).round().long().clamp(0, PLAN_BINS - 1)


def plan_of_bin(index: Tensor) -> Tensor:
    return index.float() / (PLAN_BINS - 1)
