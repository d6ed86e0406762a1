"""The masked autoregressive generator: any order, several tokens at a time, an exact likelihood.

Two kinds of token share one trunk. A content token holds what a place contains; a query token stands at
the same place and holds nothing but position and condition. `order` says when each place is opened: a
query sees content opened strictly before it and the queries opened with it, so that its output is a
prediction and never a copy; content sees content opened no later. With order = time this is an
autoregression; with k groups, masked decoding in k rounds; with what is known first, infill.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fractal_live.model.config import LevelConfig, ModelConfig
from fractal_live.model.layers import BarPlace, KVCache, Trunk


class MaskedGenerator(nn.Module):
    def __init__(self, level: LevelConfig, config: ModelConfig, content_dim: int, cond_dim: int) -> None:
        super().__init__()
        dim = level.embed_dim
        self.content = nn.Linear(content_dim, dim)
        self.query = nn.Parameter(torch.randn(dim) * 0.02)
        self.place = BarPlace(dim, config.max_bar_len)
        self.trunk = Trunk(level, cond_dim, config.mlp_ratio)

    def embed_content(self, content: Tensor, place: Tensor) -> Tensor:
        out: Tensor = self.content(content) + place
        return out

    def embed_query(self, place: Tensor) -> Tensor:
        """The mask token: position and bar embeddings survive it."""
        return self.query + place

    def forward(self, content: Tensor, cond: Tensor, place: Tensor, order: Tensor) -> Tensor:
        """content (B, N, content_dim), cond (B, N, cond_dim), place (B, N, dim) from `self.place`,
        order (B, N) int. Returns the queries' hidden states (B, N, dim)."""
        N = content.shape[1]
        tokens = torch.cat([self.embed_content(content, place), self.embed_query(place)], dim=1)
        positions = torch.arange(N, device=content.device).repeat(2)
        hidden = self.trunk(tokens, torch.cat([cond, cond], dim=1), positions, two_stream_mask(order))
        queries: Tensor = hidden[:, N:]
        return queries

    def append(self, content: Tensor, cond: Tensor, place: Tensor, start: int, cache: KVCache) -> None:
        """Adds content opened in order of time to the cache: tokens (B, N, ...) at places start...start+N-1."""
        N = content.shape[1]
        positions = torch.arange(start, start + N, device=content.device)
        mask = positions[:, None] >= torch.arange(len(cache) + N, device=content.device) + (start - len(cache))
        self.trunk(self.embed_content(content, place), cond, positions, mask[None, None], cache)

    def ask(self, cond: Tensor, place: Tensor, start: int, cache: KVCache) -> Tensor:
        """Queries at places start...start+N-1, each seeing the cached content strictly before its place
        and itself: (B, N, dim). The cache, which holds places from 0 on, stays as it is."""
        N, held = cond.shape[1], len(cache)
        positions = torch.arange(start, start + N, device=cond.device)
        before = positions[:, None] > torch.arange(held, device=cond.device)
        mask = torch.cat([before, torch.eye(N, dtype=torch.bool, device=cond.device)], dim=1)
        hidden: Tensor = self.trunk(self.embed_query(place), cond, positions, mask[None, None], cache, is_kept=False)
        return hidden


def two_stream_mask(order: Tensor) -> Tensor:
    """(B, N) orders to the mask (B, 1, 2N, 2N), True where the row may see the column: content
    tokens come first, queries after."""
    row, column = order[:, :, None], order[:, None, :]
    sees_content = torch.cat([row >= column, row > column], dim=1)  # (B, 2N, N)
    sees_query = torch.cat([torch.zeros_like(row == column), row == column], dim=1)
    return torch.cat([sees_content, sees_query], dim=2)[:, None]
