"""The latent is learned first, from plans alone, and then held still while the levels learn to follow it.

Plans are small: thousands of them pass in a minute, many more than the music itself can bring.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fractal_live.model.batch import Plans
from fractal_live.model.fractal import Fractal
from fractal_live.model.latent import LatentEncoder, plan_summary
from fractal_live.train.dataset import Dataset
from fractal_live.train.few import fit_few

LATENT_STEPS = 2500
PLANS = 4096
BATCH = 128
SKETCH_STEPS = 600
SKETCH_BATCH = 32
LEAST_DEVIATION = 0.02  # of a quantity that all songs share; keeps its dimension finite


def fit_latent(model: Fractal, dataset: Dataset, steps: int, seed: int, rate: float = 2e-3) -> dict[str, float]:
    """Trains `model.latent` on random plans of the songs and freezes it. Returns the last mean KL and sketch error,
    in nats per plan, and the share of the plans' variance that their sketches explain."""
    rng = np.random.default_rng([seed, 1])
    plans = torch.from_numpy(np.stack([dataset.draw_plan(rng) for _ in range(PLANS)]))
    latent: LatentEncoder = model.latent
    measure_summary(latent, plans)
    optimiser = torch.optim.AdamW(latent.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    device = next(latent.parameters()).device
    for _ in range(steps):
        plan = plans[torch.from_numpy(rng.integers(0, PLANS, BATCH))].to(device)
        noise = torch.from_numpy(rng.standard_normal((BATCH, latent.latent_dims)).astype(np.float32)).to(device)
        z, kl = latent(plan, noise)
        loss = (kl + latent.sketch_nll(latent.sketch(z), plan)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(latent.parameters(), 10.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
    latent.requires_grad_(False)
    measure_spread(latent, plans.to(device))
    return explained(latent, plans.to(device))


def measure_summary(latent: LatentEncoder, plans: torch.Tensor) -> None:
    """Mean and deviation of the readable quantities over plans (N, 32, 6)."""
    summary = plan_summary(plans)
    latent.summary_mean.copy_(summary.mean(0))
    latent.summary_std.copy_(summary.std(0).clamp(min=LEAST_DEVIATION))


@torch.no_grad()
def measure_spread(latent: LatentEncoder, plans: torch.Tensor, most: float = 1.6) -> None:
    """How far sketches of drawn latents must be stretched to vary as plans (N, 32, 6) do, at most `most` times."""
    known = ~torch.isnan(plans)
    count = known.sum((0, 1)).clamp(min=1)
    mean = torch.nan_to_num(plans).sum((0, 1)) / count
    spread = (torch.where(known, mean - torch.nan_to_num(plans), 0.0).square().sum((0, 1)) / count).sqrt()
    drawn = torch.randn(1024, latent.latent_dims, generator=torch.Generator().manual_seed(0)).to(plans.device)
    own = latent.sketch(drawn).flatten(0, 1).std(0)
    latent.plan_mean.copy_(mean)
    latent.stretch.copy_((spread / own.clamp(min=1e-3)).clamp(1.0, most))


@torch.no_grad()
def explained(latent: LatentEncoder, plans: torch.Tensor) -> dict[str, float]:
    """KL and sketch error per plan, and the share of variance that sketches of posterior means explain."""
    z, kl = latent(plans, plans.new_zeros(len(plans), latent.latent_dims))
    sketch = latent.sketch(z)
    known = ~torch.isnan(plans)
    left = torch.where(known, sketch - torch.nan_to_num(plans), 0.0).square().sum()
    mean = torch.nan_to_num(plans).sum((0, 1)) / known.sum((0, 1))
    whole = torch.where(known, mean - torch.nan_to_num(plans), 0.0).square().sum()
    return {
        "kl": float(kl.mean()),
        "sketch": float(latent.sketch_nll(sketch, plans).mean()),
        "explained": float(1 - left / whole),
    }


def fit_sketch(model: Fractal, dataset: Dataset, steps: int, seed: int, rate: float = 1e-2) -> tuple[float, float]:
    """The last stage: level 0 learns how far to trust sketches, and which row of the horizon is which, on plans alone,
    while all that the levels below hear of it is held still. Returns the plan's nats per cell, first and last."""
    structure = model.structure
    learned = [structure.row, structure.sketched, structure.trust, *structure.latent.embed.parameters()]
    return fit_few(model, learned, plan_cost(model, dataset, [seed, 2], SKETCH_BATCH), steps, rate)


def plan_cost(model: Fractal, dataset: Dataset, seed: list[int], batch: int) -> Callable[[int], Tensor]:
    """The nats per cell of the plans of a step, so many of them, drawn from its number."""

    def cost(step: int) -> Tensor:
        rng = np.random.default_rng([*seed, step])
        samples = [dataset.draw_planned(rng) for _ in range(batch)]
        plans = Plans(**{name: torch.from_numpy(np.stack([each[name] for each in samples])) for name in samples[0]})
        found = model.structure_losses(plans)
        return found["plan"] / found["plan_count"].clamp(min=1)

    return cost
