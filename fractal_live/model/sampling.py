"""From scores to a choice: temperature, filters, guidance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model.compiled import HAS_COMPILER, ZERO, Places, compiled
from fractal_live.model.lean import Array
from fractal_live.music.request import Sampling


def guided(scores: Tensor, cfg_scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): scores (2, ...) of the conditional and the
    unconditional branch to (1, ...); scores (1, ...) pass. What cannot be chosen stays so."""
    if scores.shape[0] == 1:
        return scores
    given, free = scores[:1], scores[1:]
    mixed = free + cfg_scale * (given - free)
    return torch.where(torch.isinf(given), given, mixed)


def mixed(scores: Array, cfg_scale: float) -> Array:
    """As `guided`, in numpy: (branches, ...) to (...)."""
    if len(scores) == 1:
        only: Array = scores[0]
        return only
    given, free = scores
    with np.errstate(invalid="ignore"):  # what cannot be chosen is at minus infinity in both
        out: Array = np.where(np.isinf(given), given, free + np.float32(cfg_scale) * (given - free))
    return out


def draw(scores: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """One choice per row of scores (..., n): int64 (...). Temperature divides, then the filters in the order that
    `Sampling` tells; a choice is always left."""
    share = filtered(scores.float() / max(sampling.temperature, 1e-3), sampling).softmax(dim=-1)
    # What torch.multinomial does, without its checks: the first of independent waiting times at rates of the shares.
    return (share / torch.empty_like(share).exponential_(generator=generator)).argmax(dim=-1)


def drawn(scores: Array, sampling: Sampling, generator: torch.Generator) -> npt.NDArray[np.int64]:
    """As `draw`, of a few rows of scores (N, n) in numpy: (N,). The chance is drawn where the generator is."""
    if generator.device.type != "cpu" or not HAS_COMPILER:
        there = torch.from_numpy(scores).to(generator.device)
        chosen: npt.NDArray[np.int64] = draw(there, sampling, generator).cpu().numpy()
        return chosen
    chance = torch.empty(scores.shape).exponential_(generator=generator).numpy()
    filters = (int(sampling.top_k), float(sampling.top_p), int(sampling.mask_k), float(sampling.mask_p))
    likeliest: npt.NDArray[np.int64] = _chosen(scores, max(float(sampling.temperature), 1e-3), *filters, chance)
    return likeliest


@compiled
def _chosen(
    scores: Array, temperature: float, top_k: int, top_p: float, mask_k: int, mask_p: float, chance: Array
) -> Places:
    """A choice for each row of scores (N, n): (N,). Temperature, filters and chance as in `draw`; chance (N,
    n) are waiting times of rate one."""
    N, n = scores.shape
    out = np.empty(N, dtype=np.int64)
    share = np.empty(n, dtype=np.float32)
    for row in range(N):
        most = scores[row].max()
        for i in range(n):
            share[i] = np.exp((scores[row, i] - most) / np.float32(temperature))
        if top_k > 0 or top_p < 1 or mask_k > 0 or mask_p > 0:
            order = np.argsort(-scores[row])
            if 0 < top_k < n:
                least = scores[row, order[top_k - 1]]
                for i in range(n):
                    if scores[row, i] < least:
                        share[i] = ZERO
            if top_p < 1:
                total, before = share.sum(), ZERO
                for i in order:
                    own = share[i]
                    if before >= np.float32(top_p) * total:
                        share[i] = ZERO
                    before += own
            if mask_k > 0 or mask_p > 0:
                total, before, left = share.sum(), ZERO, 0
                for i in range(n):
                    left += 1 if share[i] > ZERO else 0
                for place in range(left - 1):
                    own = share[order[place]]
                    if place < mask_k or (mask_p > 0 and before < np.float32(mask_p) * total):
                        share[order[place]] = ZERO
                    before += own
        best = np.float32(-1)
        for i in range(n):
            if share[i] / chance[row, i] > best:
                best = share[i] / chance[row, i]
                out[row] = i
    return out


def filtered(scores: Tensor, sampling: Sampling) -> Tensor:
    """Scores (..., n) with what may not be drawn at minus infinity. Of what top-k and top-p leave, mask-k and mask-p
    take the likeliest away, but never all: one that only they forbid stays if nothing else is left."""
    n = scores.shape[-1]
    if 0 < sampling.top_k < n:
        least = scores.topk(sampling.top_k, dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    if sampling.top_p < 1:
        ordered, index = scores.softmax(dim=-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        scores = scores.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), float("-inf"))
    if sampling.mask_k > 0 or sampling.mask_p > 0:
        ordered, index = scores.softmax(dim=-1).sort(dim=-1, descending=True)
        place = torch.arange(n, device=scores.device)
        obvious = place < sampling.mask_k
        if sampling.mask_p > 0:
            obvious = obvious | (ordered.cumsum(dim=-1) - ordered < sampling.mask_p)
        last = (ordered > 0).sum(dim=-1, keepdim=True) - 1  # the unlikeliest that is left
        obvious = obvious & (place < last)
        scores = scores.masked_fill(torch.zeros_like(obvious).scatter(-1, index, obvious), float("-inf"))
    return scores


def guidance(sampling: Sampling, level: int, opened: float) -> float:
    """The guidance scale of a level (0 structure, 1 phrase, 2 leaf) when a share `opened` of the piece is made."""
    growth = opened if sampling.cfg_schedule == "linear" else 1.0
    return 1 + (sampling.cfg_scale - 1) * sampling.cfg_levels[level] * growth
