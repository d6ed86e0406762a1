"""The autoregressive generator: one token after another, each seeing a window of those before it.

A token's input is the content of the place before it, so its output is the condition of its own place.
What lies before is not always known (masked decoding, infill): an unknown neighbour is a mask token,
and attention reaches only what was opened earlier.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fractal_live.model.cache import Slots
from fractal_live.model.config import LevelConfig, ModelConfig
from fractal_live.model.layers import BarPlace, Trunk
from fractal_live.model.order import Opening, is_previous_known, near, sees_earlier


class SequentialGenerator(nn.Module):
    def __init__(self, level: LevelConfig, config: ModelConfig, content_dim: int, cond_dim: int) -> None:
        super().__init__()
        dim = level.embed_dim
        self.window = level.window
        self.content = nn.Linear(content_dim, dim)
        self.mask = nn.Parameter(torch.randn(dim) * 0.02)
        self.place = BarPlace(dim, config.max_bar_len)
        self.trunk = Trunk(level.embed_dim, level.num_blocks, level.num_heads, cond_dim, config)

    def forward(self, content: Tensor, cond: Tensor, place: Tensor, hint: Tensor, opening: Opening) -> Tensor:
        """All places at once: content (B, P, content_dim) of each place itself (shifted here), cond (B, P, cond_dim),
        place (B, P, dim), hint (B, P, dim) what each is to echo. Returns (B, P, dim)."""
        P = content.shape[1]
        previous = torch.cat([torch.zeros_like(content[:, :1]), content[:, :-1]], dim=1)
        index = torch.arange(P, device=content.device)
        seen = sees_earlier(opening, opening) & near(index, index, self.window)
        itself = torch.eye(P, dtype=torch.bool, device=content.device)
        tokens = self._token(previous, is_previous_known(opening), place, hint)
        hidden: Tensor = self.trunk(tokens, cond, index, (seen | itself)[:, None])
        return hidden

    def open(
        self,
        previous: Tensor,
        is_known: Tensor,
        cond: Tensor,
        place: Tensor,
        hint: Tensor,
        mask: Tensor,
        slots: Slots,
        rest: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Some places (B, N, dim), put into the cache: previous (B, N, content_dim) what the places before them hold,
        is_known (B, N), mask (N, keys) True where seen, themselves included. With `rest` as in `Trunk.remember` only
        those that it leaves."""
        tokens = self._token(previous, is_known, place, hint)
        if rest is not None:
            return self.trunk.remember(tokens, cond, mask[None, None], slots, rest)
        hidden: Tensor = self.trunk(tokens, cond, slots.places, mask[None, None], slots)
        return hidden

    def _token(self, previous: Tensor, is_known: Tensor, place: Tensor, hint: Tensor) -> Tensor:
        out: Tensor = torch.where(is_known[..., None], self.content(previous), self.mask) + place + hint
        return out
