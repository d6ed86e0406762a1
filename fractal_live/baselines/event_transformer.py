"""The yardstick: an autoregressive transformer over note events, as large as the fractal.

Pre-norm blocks with rotary positions: half of each head turns with the token's number, half with musical time in
sixteenths, so that "eight bars ago" is one distance however many notes lie between. Decoding keeps keys and values
in a cache of fixed size.

Its bits can be set beside the fractal's: both tell the same notes (sixteenths, 32 velocity bins, the same duration
classes, doubled notes merged, ten to a step) of the same bars, and a note's cost is all that was paid for them,
divided by their number: here Bar, Position, Pitch, Velocity and Duration tokens; there plan, harmony, onsets and
leaf. Tempo is not counted. See `baselines.likelihood`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.baselines.event_grammar import Grammar, Places, places
from fractal_live.baselines.events import PITCHES, vocabulary
from fractal_live.model.attention import rotate, rotation
from fractal_live.model.config import BAR_STEPS, ConfigError, check_keys

Turn = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class EventConfig:
    """Width, depth and heads; `context` is how many tokens it sees and is trained on at once. `dropout` pays where a
    run goes through the songs several times; an hour on one core does so once."""

    dim: int = 256
    blocks: int = 8
    heads: int = 4
    mlp_ratio: int = 4
    context: int = 1024
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.heads < 1 or self.dim % (4 * self.heads):
            raise ConfigError(f"dim {self.dim} must be a multiple of 4 x heads {self.heads}")
        if min(self.blocks, self.mlp_ratio) < 1 or self.context < 16:
            raise ConfigError("blocks and mlp_ratio must be at least 1, context at least 16")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; allowed: 0 to below 1")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EventConfig:
        """Raises ConfigError on unknown keys, naming them."""
        check_keys(cls, values)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """tokens (B, L + 1) int: each row begins with the beginning, then a Bar; padded at its end."""

    tokens: Tensor


class EventCache:
    """Keys and values of one window, at fixed addresses: (blocks, B, H, context, D)."""

    def __init__(self, config: EventConfig, rows: int, device: torch.device) -> None:
        shape = (config.blocks, rows, config.heads, config.context, config.dim // config.heads)
        self.keys = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.filled = 0

    def extended(self, block: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Puts a block's new keys and values (B, H, T, D) behind the others and returns all of them."""
        high = self.filled + k.shape[2]
        self.keys[block, :, :, self.filled : high] = k
        self.values[block, :, :, self.filled : high] = v
        return self.keys[block, :, :, :high], self.values[block, :, :, :high]


class EventBlock(nn.Module):
    def __init__(self, config: EventConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads, self.dropout_rate = config.heads, config.dropout
        self.norm_attention = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp_in = nn.Linear(dim, config.mlp_ratio * dim)
        self.mlp_out = nn.Linear(config.mlp_ratio * dim, dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, turns: tuple[Turn, Turn], index: int, cache: EventCache | None) -> Tensor:
        B, T, C = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(B, T, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        q, k = turned(q, turns), turned(k, turns)
        # a window is fed whole, or one token at a time behind it: both need no mask but torch's own
        is_window = cache is None or cache.filled == 0
        if cache is not None:
            assert is_window or T == 1, "behind a filled cache tokens come one by one"
            k, v = cache.extended(index, k, v)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=is_window)
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(B, T, C)))
        hidden = self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(x)), approximate="tanh"))
        out: Tensor = x + self.dropout(hidden)
        return out


def turned(x: Tensor, turns: tuple[Turn, Turn]) -> Tensor:
    """x (B, H, T, D): its first half by the token's number, its second by musical time."""
    by_number, by_time = x.chunk(2, dim=-1)
    return torch.cat([rotate(by_number, turns[0]), rotate(by_time, turns[1])], dim=-1)


class EventTransformer(nn.Module):
    """Scores of the next token."""

    KIND = "event-transformer"

    def __init__(self, config: EventConfig) -> None:
        super().__init__()
        self.config = config
        self.words = vocabulary()
        self.grammar = Grammar()
        self.embed = nn.Embedding(self.words.size, config.dim)
        self.step = nn.Embedding(BAR_STEPS + 1, config.dim)
        self.blocks = nn.ModuleList(EventBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, self.words.size)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        """Small, and smaller where blocks add to the stream, so that its variance stays with depth
        (Radford et al. 2019, GPT-2, 2.3)."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.endswith(("out.weight", "mlp_out.weight")):
                nn.init.normal_(weight, std=0.02 * (2 * self.config.blocks) ** -0.5)

    def forward(self, tokens: Tensor, at: Places | None = None, cache: EventCache | None = None) -> Tensor:
        """Scores (B, L, V) of what follows each token (B, L), -inf where the grammar forbids it. With a cache the
        tokens stand behind those it holds, and `at` says where."""
        at = places(tokens) if at is None else at
        first = 0 if cache is None else cache.filled
        if first + tokens.shape[1] > self.config.context:
            raise ValueError(f"{first + tokens.shape[1]} tokens do not fit a context of {self.config.context}")
        number = torch.arange(first, first + tokens.shape[1], device=tokens.device)
        half = self.config.dim // self.config.heads // 2
        by_time = rotation(at.time.flatten(), half)
        shape = (*tokens.shape, half // 2)
        turns = (rotation(number, half), (by_time[0].view(shape)[:, None], by_time[1].view(shape)[:, None]))
        x = self.dropout(self.embed(tokens) + self.step(at.step + 1))
        for index, block in enumerate(self.blocks):
            x = block(x, turns, index, cache)
        if cache is not None:
            cache.filled = first + tokens.shape[1]
        scores: Tensor = self.head(self.norm(x)).float()
        return scores.masked_fill(~self.grammar.allowed(tokens, at), float("-inf"))

    def surprise(self, tokens: Tensor) -> Tensor:
        """What each token cost, in nats, given those before it in its row: (B, L), 0 for the first and for padding."""
        scores = self(tokens[:, :-1])
        target = tokens[:, 1:]
        nats = F.cross_entropy(
            scores.flatten(0, 1), target.flatten(), ignore_index=self.words.pad, reduction="none"
        ).view_as(target)
        return F.pad(nats, (1, 0))

    def losses(self, batch: EventBatch) -> dict[str, Tensor]:
        """Sums in nats and what they are to be divided by, the number of notes: `pitch` and `pitch_count`, the same
        of `velocity`, `duration`, and of `position` (bar lines and positions)."""
        nats = self.surprise(batch.tokens)
        notes = self.kinds(batch.tokens)["duration"].sum()
        found: dict[str, Tensor] = {"notes_count": notes}
        for kind, is_kind in self.kinds(batch.tokens).items():
            found[kind] = torch.where(is_kind, nats, 0.0).sum()
            found[f"{kind}_count"] = notes
        return found

    def kinds(self, tokens: Tensor) -> dict[str, Tensor]:
        """Which tokens (B, L) belong to which loss: bool (B, L) each."""
        words = self.words
        return {
            "position": (tokens == words.bar) | (tokens >= words.position) & (tokens < words.position + BAR_STEPS),
            "pitch": (tokens >= words.pitch) & (tokens < words.pitch + PITCHES),
            "velocity": (tokens >= words.velocity) & (tokens < words.duration),
            "duration": (tokens >= words.duration) & (tokens < words.position),
        }
