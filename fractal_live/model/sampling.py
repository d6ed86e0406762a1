"""From scores to a choice: temperature, filters, guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from fractal_live.music.request import Sampling


def guided(scores: Tensor, cfg_scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): scores (2, ...) of the conditional and the
    unconditional branch to (1, ...); scores (1, ...) pass. What cannot be chosen stays so."""
    if scores.shape[0] == 1:
        return scores
    given, free = scores[:1], scores[1:]
    mixed = free + cfg_scale * (given - free)
    return torch.where(torch.isinf(given), given, mixed)


def draw(scores: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """One choice per row of scores (..., n): int64 (...). Temperature divides; top-k keeps the k best;
    top-p the fewest that hold that share."""
    scores = scores.float() / max(sampling.temperature, 1e-3)
    if 0 < sampling.top_k < scores.shape[-1]:
        least = scores.topk(sampling.top_k, dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    share = scores.softmax(dim=-1)
    if sampling.top_p < 1:
        ordered, index = share.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        share = share.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), 0.0)
    flat = torch.multinomial(
        share.flatten(0, -2) if share.ndim > 2 else share.view(-1, share.shape[-1]), 1, generator=generator
    )
    return flat.view(scores.shape[:-1])
