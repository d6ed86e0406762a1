"""The latent z: sixteen numbers that stand for 32 rows of plan.

The first five dimensions are not learned but measured, so that a fader means something: density level,
density slope, register, loudness and tempo, each in standard deviations over the training songs. The
others are learned (a variational autoencoder) and carry what those five leave out. All sixteen together are drawn
out into a sketch of the plan, row by row, which level 0 then follows: a vector alone is too easily ignored.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.config import ModelConfig
from fractal_live.model.layers import PLAN_COLUMNS
from fractal_live.music.plan import COLUMN

ALIGNED = ("density level", "density slope", "register", "loudness", "tempo")
FREE_BITS = 0.25
ALIGNED_NOISE = 0.2
SKETCH_DEVIATION = 0.03


def plan_summary(plan: Tensor) -> Tensor:
    """The five aligned quantities of plans (B, R, 6) scaled to 0..1, NaN ignored: (B, 5)."""
    known = ~torch.isnan(plan)
    values = torch.nan_to_num(plan)
    mean = values.sum(1) / known.sum(1).clamp(min=1)  # (B, 6)
    density = COLUMN["density"]
    time = torch.linspace(-1, 1, plan.shape[1], device=plan.device, dtype=plan.dtype)
    centred = (values[:, :, density] - mean[:, None, density]) * known[:, :, density]
    slope = (centred * time).sum(1) / (time**2 * known[:, :, density]).sum(1).clamp(min=1e-3)
    columns = [mean[:, COLUMN[name]] for name in ("register", "loudness", "tempo")]
    return torch.stack([mean[:, density], slope, *columns], dim=-1)


class LatentEncoder(nn.Module):
    """q(z | plan). `summary_mean` and `summary_std` are those of the training songs."""

    summary_mean: Tensor
    summary_std: Tensor
    plan_mean: Tensor
    stretch: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.latent_dims = config.latent_dims
        self.learned_dims = config.latent_dims - len(ALIGNED)
        self.register_buffer("summary_mean", torch.zeros(len(ALIGNED)))
        self.register_buffer("summary_std", torch.ones(len(ALIGNED)))
        self.register_buffer("plan_mean", torch.full((PLAN_COLUMNS,), 0.5))
        self.register_buffer("stretch", torch.ones(PLAN_COLUMNS))
        width = 128
        self.row = nn.Linear(2 * PLAN_COLUMNS, width)
        self.time = nn.Parameter(torch.randn(config.plan_bars, width) * 0.02)
        self.mix = nn.Linear(config.plan_bars * 16, width)
        self.narrow = nn.Linear(width, 16)
        self.out = nn.Linear(width, 2 * self.learned_dims)
        self.plan_bars = config.plan_bars
        self.draw_out = nn.Sequential(
            nn.Linear(config.latent_dims, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, config.plan_bars * PLAN_COLUMNS),
        )

    def aligned(self, plan: Tensor) -> Tensor:
        return (plan_summary(plan) - self.summary_mean) / self.summary_std

    def forward(self, plan: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """plan (B, 32, 6), noise (B, 16) from N(0, 1). Returns a sample z (B, 16) and the KL of its
        learned part in nats, free bits taken off: (B,)."""
        known = ~torch.isnan(plan)
        cells = torch.cat([torch.nan_to_num(plan), known.to(plan.dtype)], dim=-1)
        rows = F.gelu(self.narrow(F.gelu(self.row(cells) + self.time)))  # (B, 32, 16)
        mean, log_var = self.out(F.gelu(self.mix(rows.flatten(1)))).float().chunk(2, dim=-1)
        log_var = log_var.clamp(-8, 4)
        n = len(ALIGNED)
        learned = mean + (0.5 * log_var).exp() * noise[:, n:]
        kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var)  # (B, learned)
        z = torch.cat([self.aligned(plan) + ALIGNED_NOISE * noise[:, :n], learned], dim=-1)
        return z, kl.clamp(min=FREE_BITS).sum(-1) - FREE_BITS * self.learned_dims

    def sketch(self, z: Tensor) -> Tensor:
        """The plan that z stands for, in broad strokes: (B, 32, 6) scaled to 0..1."""
        drawn: Tensor = self.draw_out(z).view(-1, self.plan_bars, PLAN_COLUMNS)
        return drawn

    def vivid_sketch(self, z: Tensor) -> Tensor:
        """The sketch as it is followed in play: a reconstruction is paler than what it was learned from, so that it is
        stretched about the songs' mean until drawn latents vary as much as songs do."""
        return self.plan_mean + self.stretch * (self.sketch(z) - self.plan_mean)

    def sketch_nll(self, sketch: Tensor, plan: Tensor) -> Tensor:
        """How far sketches lie from plans (B, 32, 6), NaN ignored: (B,) nats under a Gaussian of fixed width."""
        known = ~torch.isnan(plan)
        away = torch.where(known, (sketch.float() - torch.nan_to_num(plan)) / SKETCH_DEVIATION, 0.0)
        return 0.5 * away.square().sum((1, 2))


class LatentGate(nn.Module):
    """z and its gain as a condition: gain 0 is exactly the learned null, whatever z is."""

    def __init__(self, config: ModelConfig, dim: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(config.latent_dims, 128), nn.GELU(), nn.Linear(128, dim))
        self.null = nn.Parameter(torch.zeros(dim))

    def forward(self, z: Tensor, gain: Tensor) -> Tensor:
        """z (B, 16), gain (B,) 0 to 1: (B, dim)."""
        out: Tensor = self.null + gain[:, None] * (self.embed(z) - self.null)
        return out
