"""What every level is made of: AdaLN blocks in a trunk, the step encoder, the guide encoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.attention import attend, rotate, rotation
from fractal_live.model.cache import FewMemory, Memory, Slots
from fractal_live.model.config import CHROMA_LEVELS, ECHOES, HALF_STEPS, MAX_HALF_ONSETS, ModelConfig
from fractal_live.model.lean import Array, LeanGuide, LeanSteps, LeanTrunk, array, is_lean, is_packed
from fractal_live.music.plan import ATTRIBUTES

PLAN_COLUMNS = len(ATTRIBUTES)
KEPT_HALVES = 256  # each some 15 kB


class AdaLN(nn.Module):
    """Layer norm whose scale and shift come from the condition (Peebles & Xie 2023, DiT)."""

    def __init__(self, dim: int, cond_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = nn.Linear(cond_dim, 2 * dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        scale, shift = self.modulation(cond).chunk(2, dim=-1)
        out: Tensor = self.norm(x) * (1 + scale) + shift
        return out


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, cond_dim: int, mlp_ratio: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = AdaLN(dim, cond_dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm_mlp = AdaLN(dim, cond_dim)
        self.mlp_in = nn.Linear(dim, mlp_ratio * dim)
        self.mlp_out = nn.Linear(mlp_ratio * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        cond: Tensor,
        turn: tuple[Tensor, Tensor],
        mask: Tensor | None,
        index: int,
        memory: Memory | None,
    ) -> Tensor:
        B, T, C = x.shape
        qkv = self.qkv(self.norm_attention(x, cond)).view(B, T, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        q, k = rotate(q, turn), rotate(k, turn)
        if memory is not None:
            k, v = memory.joined(index, k, v)
        return self._after(x, cond, attend(q, k, v, mask))

    def remember(
        self,
        x: Tensor,
        cond: Tensor,
        turn: tuple[Tensor, Tensor],
        mask: Tensor,
        index: int,
        slots: Slots | None,
        left: Tensor,
    ) -> Tensor:
        """As `forward`, where of the tokens only those `left` (M,) go on, all having been put into the cache if there
        is one: (B, M, C)."""
        B, T, C = x.shape
        normed = self.norm_attention(x, cond)
        kv = F.linear(normed, self.qkv.weight[C:]).view(B, T, 2, self.heads, C // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        k = rotate(k, turn)
        if slots is not None:
            k, v = slots.joined(index, k, v)
        if not len(left):
            return x[:, :0]
        q = F.linear(normed[:, left], self.qkv.weight[:C]).view(B, len(left), self.heads, C // self.heads)
        q = rotate(q.transpose(1, 2), (turn[0][left], turn[1][left]))
        return self._after(x[:, left], _of(cond, left, 1), attend(q, k, v, _of(mask, left, 2)))

    def _after(self, x: Tensor, cond: Tensor, attended: Tensor) -> Tensor:
        """What comes after the attention, (B, H, T, D)."""
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(x.shape)))
        hidden = self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(x, cond)), approximate="tanh"))
        out: Tensor = x + self.dropout(hidden)
        return out


class Trunk(nn.Module):
    """A level's transformer: blocks and a final AdaLN, all under the same condition."""

    def __init__(self, dim: int, blocks: int, heads: int, cond_dim: int, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, heads, cond_dim, config.mlp_ratio, config.dropout) for _ in range(blocks)
        )
        self.norm = AdaLN(dim, cond_dim)
        self.head_dim = dim // heads
        self._lean: tuple[int, LeanTrunk] | None = None

    @property
    def lean(self) -> LeanTrunk:
        """The twin for a few tokens on a CPU, of the weights as they are now."""
        at = self.norm.modulation.weight.data_ptr()
        if self._lean is None or self._lean[0] != at:
            block = self.blocks[0]
            assert isinstance(block, Block), "a list of blocks"
            self._lean = at, LeanTrunk(self, block.heads)
        return self._lean[1]

    def forward(
        self, x: Tensor, cond: Tensor, positions: Tensor, mask: Tensor | None = None, memory: Memory | None = None
    ) -> Tensor:
        """x (B, T, C), cond (B, T or 1, cond_dim), positions (T,), mask (B or 1, 1, Tq, Tk) True where seen. With
        a memory the keys are those it joins to x's own."""
        if is_lean(self, x, x.shape[0] * x.shape[1]) and (memory is None or isinstance(memory, Slots)):
            return self._few(x, cond, positions, mask, memory)
        turn = rotation(positions, self.head_dim)
        for index, block in enumerate(self.blocks):
            x = block(x, cond, turn, mask, index, memory)
        out: Tensor = self.norm(x, cond)
        return out

    def remember(self, x: Tensor, cond: Tensor, mask: Tensor, slots: Slots, rest: Sequence[Tensor]) -> Tensor:
        """As `forward` of tokens at the slots' places, of which fewer and fewer matter: `rest` (M,) per block is which
        of the tokens that came to it go on from it. All that come to a block are put into the cache there. Returns
        those that are left: (B, M, C)."""
        if is_lean(self, x, x.shape[0] * x.shape[1]):
            return self._few(x, cond, slots.places, mask, slots, rest)
        turn = rotation(slots.places, self.head_dim)
        for index, (block, left) in enumerate(zip(self.blocks, rest, strict=True)):
            assert isinstance(block, Block), "a list of blocks"
            x = block.remember(x, cond, turn, mask, index, slots, left)
            if not len(left):
                return x
            cond, mask, turn = _of(cond, left, 1), _of(mask, left, 2), (turn[0][left], turn[1][left])
            slots = replace(slots, places=slots.places[left])
        out: Tensor = self.norm(x, cond)
        return out

    def asked(self, x: Tensor, cond: Tensor, mask: Tensor, asked: Tensor) -> Tensor:
        """As `forward` of tokens at places 0... without a memory, of which only those `asked` (M,) are wanted: the last
        block makes no others. Returns (B, M, C)."""
        everything = torch.arange(x.shape[1], device=x.device)
        if is_lean(self, x, x.shape[0] * x.shape[1]):
            rest = [everything] * (len(self.blocks) - 1)
            return self._few(x, cond, everything, mask, None, [*rest, asked])
        turn = rotation(everything, self.head_dim)
        *blocks, last = self.blocks
        for index, block in enumerate(blocks):
            x = block(x, cond, turn, mask, index, None)
        assert isinstance(last, Block), "a list of blocks"
        x = last.remember(x, cond, turn, mask, len(blocks), None, asked)
        out: Tensor = self.norm(x, _of(cond, asked, 1))
        return out

    def _few(
        self,
        x: Tensor,
        cond: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        memory: FewMemory | None,
        rest: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """`forward`, `remember` and `asked` in compiled arithmetic."""
        seen = np.ones((1, 1, x.shape[1]), dtype=np.bool_) if mask is None else np.ascontiguousarray(mask[:, 0].numpy())
        left = None if rest is None else [tokens.numpy() for tokens in rest]
        kept = None if memory is None else memory.few()
        under = array(cond.expand(len(x), -1, -1)).reshape(-1, cond.shape[-1])
        return torch.from_numpy(self.lean(array(x.contiguous()), under, positions.numpy(), seen, kept, left))


def _of(x: Tensor, tokens: Tensor, axis: int) -> Tensor:
    """What holds of tokens, or, along an axis of one, of all of them."""
    return x if x.shape[axis] == 1 else x.index_select(axis, tokens)


class StepEncoder(nn.Module):
    """What one step holds, as a vector: two convolutions that sweep the pitch axis (kernel 12, an
    octave), so that a shape is recognised at any transposition, then a projection."""

    STRIDE = 4

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide = config.conv_channels
        self.sweep = nn.Conv1d(3, wide, kernel_size=12, stride=self.STRIDE, padding=4)
        self.refine = nn.Conv1d(wide, 16, kernel_size=3, padding=1)
        self.project = nn.Linear(16 * (128 // self.STRIDE), config.step_dim)
        self._few: tuple[int, LeanSteps] | None = None

    def forward(self, content: Tensor) -> Tensor:
        """content (B, T, 3, 128): onset, velocity/127 at the onset, remaining steps/16 of what sounds.
        Returns (B, T, step_dim)."""
        B, T = content.shape[:2]
        if is_lean(self, content, B * T):
            return torch.from_numpy(self.lean(array(content).reshape(B * T, 3, 128)).reshape(B, T, -1))
        swept = F.gelu(self.sweep(content.reshape(B * T, 3, 128)))
        out: Tensor = self.project(F.gelu(self.refine(swept)).flatten(1)).view(B, T, -1)
        return out

    @property
    def lean(self) -> LeanSteps:
        """The twin for a few steps on a CPU, of the weights as they are now."""
        at = self.project.weight.data_ptr()
        if self._few is None or self._few[0] != at:
            self._few = at, LeanSteps(self)
        return self._few[1]


class StepCodes:
    """What half bars hold, encoded, kept from one request to the next: a bar that was played is read some thirty times.
    For weights that stay as they are. Half bars are encoded one by one, so that what is known changes nothing."""

    def __init__(self, steps: StepEncoder) -> None:
        self._steps = steps
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, content: Array) -> Tensor:
        """content (T, 3, 128) of whole half bars, as `StepEncoder` takes it: (T, step_dim)."""
        device = self._steps.project.weight.device
        found = []
        for half in content.reshape(-1, HALF_STEPS, *content.shape[1:]):
            key = half.tobytes()
            code = self._known.pop(key, None)
            if code is None:
                code = self._steps(torch.from_numpy(half)[None].to(device))[0]
            self._known[key] = code
            found.append(code)
        while len(self._known) > KEPT_HALVES:
            self._known.popitem(last=False)
        return torch.cat(found)


class BarPlace(nn.Module):
    """Where in the bar a token begins, and how long that bar is: flexible bar embedding. It is added
    to masked tokens as to all others."""

    def __init__(self, dim: int, max_bar_len: int) -> None:
        super().__init__()
        self.step = nn.Embedding(max_bar_len, dim)
        self.length = nn.Embedding(max_bar_len + 1, dim)
        for table in (self.step, self.length):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, step_in_bar: Tensor, bar_len: Tensor) -> Tensor:
        out: Tensor = self.step(step_in_bar) + self.length(bar_len)
        return out


@dataclass(frozen=True, slots=True)
class Texture:
    """What a half bar decided, for tokens inside it (B, T): chroma levels (B, T, 12) int, onsets still to come
    (B, T) int, steps left (B, T) int, and what it echoes, as a class (B, T) int."""

    chroma: Tensor
    remaining: Tensor
    steps_left: Tensor
    echo: Tensor


@dataclass(frozen=True, slots=True)
class Guides:
    """The guiding values of tokens (B, T): plan row (B, T, 6) scaled to 0..1 with NaN unknown, and, below the half
    bar, what it decided (`Texture`). `plan_given`, `texture_given` (B,) bool: False hides the value from the whole
    sample (guidance)."""

    plan: Tensor
    texture: Texture | None
    plan_given: Tensor
    texture_given: Tensor


class GuideEncoder(nn.Module):
    """Guiding values to one vector per token. What is not given is a learned null."""

    def __init__(self, config: ModelConfig, has_texture: bool) -> None:
        super().__init__()
        dim = config.guide_dim
        self.plan = nn.Linear(2 * PLAN_COLUMNS, dim)
        self.plan_null = nn.Parameter(torch.zeros(dim))
        self.mix = nn.Linear(dim, dim)
        if has_texture:
            self.chroma = nn.Linear(12 * CHROMA_LEVELS, dim)
            self.texture_null = nn.Parameter(torch.zeros(dim))
            self.remaining = nn.Embedding(MAX_HALF_ONSETS + 1, dim)
            self.pace = nn.Linear(2, dim)
            self.echo = nn.Embedding(ECHOES, dim)
            nn.init.zeros_(self.echo.weight)
        self._few: LeanGuide | None = None

    def forward(self, guides: Guides) -> Tensor:
        known = ~torch.isnan(guides.plan)
        cells = torch.cat([torch.nan_to_num(guides.plan), known.to(guides.plan.dtype)], dim=-1)
        out = torch.where(guides.plan_given[:, None, None], self.plan(cells), self.plan_null)
        if guides.texture is not None:
            given = self._texture(guides.texture, cells.dtype)
            out = out + torch.where(guides.texture_given[:, None, None], given, self.texture_null)
        mixed: Tensor = self.mix(F.silu(out))
        return mixed

    def _texture(self, texture: Texture, dtype: torch.dtype) -> Tensor:
        levels = F.one_hot(texture.chroma, CHROMA_LEVELS).flatten(-2).to(dtype)
        left = texture.steps_left.to(dtype)
        pace = torch.stack([texture.remaining / left.clamp(min=1), left / 8], dim=-1).to(dtype)
        remaining = self.remaining(texture.remaining.clamp(0, MAX_HALF_ONSETS))
        out: Tensor = self.chroma(levels) + remaining + self.pace(pace) + self.echo(texture.echo)
        return out

    @property
    def lean(self) -> LeanGuide:
        """The twin for a few tokens on a CPU, of the weights as they are now: kept where they stay so."""
        if not is_packed(self.mix):
            return LeanGuide(self)
        if self._few is None:
            self._few = LeanGuide(self)
        return self._few
