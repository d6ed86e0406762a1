"""A few weights learned by themselves, while all others are held still."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def fit_few(
    model: nn.Module,
    learned: Sequence[nn.Parameter],
    cost: Callable[[int], Tensor],
    steps: int,
    rate: float,
    decay: float = 0.0,
) -> tuple[float, float]:
    """Lowers the cost of a step by `learned` alone; the mean cost of the first and of the last tenth of the steps."""
    was_learned = [parameter.requires_grad for parameter in model.parameters()]
    was_training = model.training
    model.eval().requires_grad_(False)
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(learned, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    costs = []
    for step in range(steps):
        found = cost(step)
        torch.autograd.backward(found)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        costs.append(float(found.detach()))
    for parameter, was in zip(model.parameters(), was_learned, strict=True):
        parameter.requires_grad_(was)
    model.train(was_training)
    tenth = max(1, steps // 10)
    return float(np.mean(costs[:tenth])), float(np.mean(costs[-tenth:]))
