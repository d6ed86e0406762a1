"""The masked autoregressive generator: any order, several tokens at a time, an exact likelihood.

Two kinds of token share one trunk. A content token holds what a place contains; a query token stands at
the same place and holds nothing but position, condition and what it is to echo. A query sees the content of
places known before it is opened, so that its output is a prediction and never a copy; content sees the content
of places known no later than itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fractal_live.model.cache import Slots
from fractal_live.model.config import LevelConfig, ModelConfig
from fractal_live.model.layers import BarPlace, Trunk
from fractal_live.model.order import Opening, near, sees_held, sees_known


class MaskedGenerator(nn.Module):
    def __init__(self, level: LevelConfig, config: ModelConfig, content_dim: int, cond_dim: int) -> None:
        super().__init__()
        dim = level.embed_dim
        self.window = level.window
        self.content = nn.Linear(content_dim, dim)
        self.query = nn.Parameter(torch.randn(dim) * 0.02)
        self.place = BarPlace(dim, config.max_bar_len)
        self.trunk = Trunk(level.embed_dim, level.num_blocks, level.num_heads, cond_dim, config)

    def forward(self, content: Tensor, cond: Tensor, place: Tensor, hint: Tensor, opening: Opening) -> Tensor:
        """All places at once: content (B, P, content_dim), cond (B, P, cond_dim), place (B, P, dim) from `self.place`,
        hint (B, P, dim) what each is to echo. Returns the queries' hidden states (B, P, dim)."""
        P = content.shape[1]
        index = torch.arange(P, device=content.device)
        close = near(index, index, self.window)
        held = sees_held(opening, opening) & close
        known = sees_known(opening, opening) & close
        itself = torch.eye(P, dtype=torch.bool, device=content.device).expand_as(known)
        mask = torch.cat(
            [torch.cat([held, torch.zeros_like(held)], dim=2), torch.cat([known, itself], dim=2)], dim=1
        )  # (B, 2P, 2P)
        tokens = torch.cat([self._content(content, place), self._query(place, hint)], dim=1)
        hidden = self.trunk(tokens, torch.cat([cond, cond], dim=1), index.repeat(2), mask[:, None])
        queries: Tensor = hidden[:, P:]
        return queries

    def close(
        self,
        content: Tensor,
        cond: Tensor,
        place: Tensor,
        mask: Tensor,
        slots: Slots,
        rest: Sequence[Tensor] | None = None,
    ) -> None:
        """Puts what some places hold into the cache. mask (N, keys) True where seen; `rest` as in `Trunk.remember`."""
        tokens = self._content(content, place)
        if rest is not None:
            self.trunk.remember(tokens, cond, mask[None, None], slots, rest)
        else:
            self.trunk(tokens, cond, slots.places, mask[None, None], slots)

    def ask(self, cond: Tensor, place: Tensor, hint: Tensor, mask: Tensor, slots: Slots) -> Tensor:
        """Queries of some places (B, N, dim), each seeing the cache where `mask` (N, keys) is True, and itself."""
        itself = torch.eye(len(mask), dtype=torch.bool, device=mask.device)
        seen = torch.cat([mask, itself], dim=1)
        out: Tensor = self.trunk(self._query(place, hint), cond, slots.places, seen[None, None], slots)
        return out

    def _content(self, content: Tensor, place: Tensor) -> Tensor:
        out: Tensor = self.content(content) + place
        return out

    def _query(self, place: Tensor, hint: Tensor) -> Tensor:
        """The mask token: position and bar embeddings survive it."""
        return self.query + place + hint
