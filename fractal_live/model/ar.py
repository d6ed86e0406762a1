"""The autoregressive generator: one token after another, each seeing a window of those before it.

A token's input is the content of the place before it, so its output is the condition of its own place.
What lies before is not always known (masked decoding, infill): an unknown neighbour is a mask token,
and attention reaches only what was opened earlier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fractal_live.model.config import LevelConfig, ModelConfig
from fractal_live.model.layers import BarPlace, KVCache, Trunk


class SequentialGenerator(nn.Module):
    def __init__(
        self,
        level: LevelConfig,
        config: ModelConfig,
        content_dim: int,
        cond_dim: int,
        window: int,
        places_per_half: int,
    ) -> None:
        super().__init__()
        dim = level.embed_dim
        self.window = window
        self.places_per_half = places_per_half
        self.content = nn.Linear(content_dim, dim)
        self.mask = nn.Parameter(torch.randn(dim) * 0.02)
        self.place = BarPlace(dim, config.max_bar_len)
        self.trunk = Trunk(level, cond_dim, config.mlp_ratio)

    def embed(self, previous: Tensor, is_known: Tensor, place: Tensor) -> Tensor:
        """previous (B, T, content_dim): content of the place before; is_known (B, T)."""
        out: Tensor = torch.where(is_known[..., None], self.content(previous), self.mask) + place
        return out

    def forward(self, content: Tensor, cond: Tensor, place: Tensor, order: Tensor) -> Tensor:
        """All places at once. content (B, T, content_dim) of each place itself (shifted here), cond
        (B, T, cond_dim), place (B, T, dim), order (B, halves): when each half bar is opened (the places of
        one half bar follow one another in time). Returns (B, T, dim)."""
        T = content.shape[1]
        previous = torch.cat([torch.zeros_like(content[:, :1]), content[:, :-1]], dim=1)
        seen = visible(order, self.places_per_half, self.window)  # (B, T, T)
        is_known = torch.cat([torch.zeros_like(seen[:, :1, 0]), seen.diagonal(-1, 1, 2)], dim=1)
        itself = torch.eye(T, dtype=torch.bool, device=content.device)
        positions = torch.arange(T, device=content.device)
        tokens = self.embed(previous, is_known, place)
        hidden: Tensor = self.trunk(tokens, cond, positions, (seen | itself)[:, None])
        return hidden

    def step(
        self, previous: Tensor, is_known: Tensor, cond: Tensor, place: Tensor, start: int, cache: KVCache
    ) -> Tensor:
        """The next T places in order of time, from place `start` on; the cache holds those just before.
        Returns (B, T, dim)."""
        T, held = cond.shape[1], len(cache)
        positions = torch.arange(start, start + T, device=cond.device)
        keys = torch.arange(start - held, start + T, device=cond.device)
        distance = positions[:, None] - keys
        mask = (distance >= 0) & (distance <= self.window)
        tokens = self.embed(previous, is_known, place)
        hidden: Tensor = self.trunk(tokens, cond, positions, mask[None, None], cache)
        cache.keep_last(self.window)
        return hidden


def visible(order: Tensor, places_per_half: int, window: int) -> Tensor:
    """Which places are known when a place is opened, itself excluded: (B, T, T), row sees column, from
    order (B, halves). Within a half bar, what comes before; of other half bars, those opened earlier;
    nothing farther than `window` places, before or after."""
    group = order.repeat_interleave(places_per_half, dim=1)
    T = group.shape[1]
    index = torch.arange(T, device=order.device)
    half = index // places_per_half
    distance = index[:, None] - index
    siblings = half[:, None] == half
    earlier = group[:, :, None] > group[:, None, :]
    near = (distance.abs() <= window) & (distance != 0)
    return ((siblings & (distance > 0)) | (~siblings & earlier)) & near
