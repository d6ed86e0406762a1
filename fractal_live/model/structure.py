"""Level 0: the plan. A masked model over rows (one per bar) whose cells are given or imagined.

Knows no notes. Every subset of cells may be known; the others are predicted from them, from the past
rows and from the latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.config import FREQUENCIES, PLAN_BINS, RETURNS, SKETCH_WIDTH, ModelConfig
from fractal_live.model.latent import LatentGate
from fractal_live.model.layers import PLAN_COLUMNS, Trunk
from fractal_live.model.lean import array, is_lean, is_packed
from fractal_live.model.lean_structure import LeanStructure
from fractal_live.music.plan import COLUMN

ALIKE, UNLIKE = 3, 2  # so many attributes of two rows that agree or differ are told apart, more are as many


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wished of the horizon beyond given cells: z (B, 16), its sketch (B, plan_bars, 6) and its gain (B,)."""

    z: Tensor
    sketch: Tensor
    gain: Tensor


class Structure(nn.Module):
    """Rows are (past_bars + plan_bars): past first, then the horizon."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        level = config.levels[0]
        dim = level.embed_dim
        self.is_sequential = level.generator == "ar"
        self.cell = nn.Parameter(torch.randn(PLAN_COLUMNS, 1 + 2 * len(FREQUENCIES), dim) * 0.2)
        self.unknown = nn.Parameter(torch.randn(PLAN_COLUMNS, dim) * 0.2)
        self.absent = nn.Parameter(torch.randn(dim) * 0.02)
        self.is_past = nn.Parameter(torch.randn(dim) * 0.02)
        self.stream = nn.Parameter(torch.randn(3, dim) * 0.02) if self.is_sequential else None
        self.latent = LatentGate(config, config.guide_dim)
        self.sketched = nn.Parameter(self.cell.detach().clone())
        self.row = nn.Parameter(torch.zeros(config.plan_bars, dim))
        self.trust = nn.Parameter(torch.zeros(PLAN_COLUMNS))
        self.returned = nn.Parameter(torch.zeros(PLAN_COLUMNS, len(RETURNS), ALIKE + 1, UNLIKE + 1))
        self.trunk = Trunk(dim, level.num_blocks, level.num_heads, config.guide_dim, config)
        self.head = nn.Linear(dim, PLAN_COLUMNS * PLAN_BINS)
        self.down = nn.Linear(dim, level.compressed_dim)
        self.past_bars = config.past_bars
        self.latent_dims = config.latent_dims
        self._few: LeanStructure | None = None

    def scores(
        self, known: Tensor, full: Tensor, is_present: Tensor, wish: Wish, asked: Tensor | None = None
    ) -> Tensor:
        """Scores of all cells, (B, R, 6, bins), or of those of the rows asked (M,) alone; arguments as in `imagine`.
        To what the trunk and the sketch say of a cell comes how likely its row returns: each known row at one of the
        distances `RETURNS` favours the bin it has itself, by how many of the attributes already known of both rows
        agree and how many differ."""
        if not self.is_sequential and is_lean(self, known, known.shape[0] * known.shape[1]):
            rows = torch.arange(known.shape[1]) if asked is None else asked
            wished = array(wish.z), array(wish.sketch), array(wish.gain)
            return torch.from_numpy(self.lean.scores(array(known), is_present.numpy(), *wished, rows.numpy()))
        scores = self.logits(self.imagine(known, full, is_present, wish, asked), wish, asked)
        return scores + self._returns(known, full, is_present, asked)

    def imagine(
        self, known: Tensor, full: Tensor, is_present: Tensor, wish: Wish, asked: Tensor | None = None
    ) -> Tensor:
        """Hidden states of all rows (B, R, dim), or of those asked (M,), to predict the cells unknown in `known` (B, R,
        6; scaled to 0..1, NaN where to be predicted). is_present (B, R) is False for rows before the music began. A
        masked level 0 reads nothing but `known`; a sequential one also reads each row's predecessors in `full`, the
        plan as far as it is decided."""
        is_past = torch.arange(known.shape[1], device=known.device) < self.past_bars
        hints = torch.einsum("brcf,cfd->brcd", _features(wish.sketch), self.sketched)
        is_open = torch.isnan(known[:, self.past_bars :])[..., None]
        hint = (hints * is_open).sum(2) * wish.gain[:, None, None]  # what is known needs no sketch
        hint = hint + self.row  # with nothing known and no past, only this tells rows apart
        marks = is_past[:, None] * self.is_past + F.pad(hint, (0, 0, self.past_bars, 0))
        cond = self.latent(wish.z, wish.gain)
        if self.stream is None:
            return self._read(self._rows(known) + marks, is_present, cond, asked)
        hidden = self._read_in_order(self._rows(known) + marks, self._rows(full) + marks, is_present, cond)
        return _asked(hidden, asked)

    def hand_down(self, plan: Tensor, is_present: Tensor) -> Tensor:
        """What a complete plan says to the level below: (B, R, compressed). Past and future rows are alike
        here, because the bars below stand anywhere in the window."""
        if is_lean(self, plan, plan.shape[0] * plan.shape[1]):
            return torch.from_numpy(self.lean.hand_down(array(plan), is_present.numpy()))
        B = len(plan)
        no_latent = self.latent(plan.new_zeros(B, self.latent_dims), plan.new_zeros(B))
        out: Tensor = self.down(self._read(self._rows(plan), is_present, no_latent))
        return out

    @property
    def lean(self) -> LeanStructure:
        """The twin on a CPU, of the weights as they are now: kept where they stay as they are."""
        if not is_packed(self.head):
            return LeanStructure(self)
        if self._few is None:
            self._few = LeanStructure(self)
        return self._few

    def _read_in_order(self, given: Tensor, full: Tensor, is_present: Tensor, cond: Tensor) -> Tensor:
        """Three tokens a row: what is given of it, all it holds, and the one that predicts it, which sees what is
        given anywhere and what earlier rows hold."""
        assert self.stream is not None, "a masked level 0 reads its rows at once"
        R = given.shape[1]
        rows = torch.cat([given, full, given], dim=1)
        rows = torch.where(is_present.repeat(1, 3)[..., None], rows, self.absent)
        rows = rows + self.stream.repeat_interleave(R, dim=0)
        index = torch.arange(R, device=rows.device)
        earlier, upto = index[:, None] > index, index[:, None] >= index
        everything, nothing, itself = torch.ones_like(earlier), torch.zeros_like(earlier), index[:, None] == index
        mask = torch.cat(
            [
                torch.cat([everything, nothing, nothing], dim=1),
                torch.cat([everything, upto, nothing], dim=1),
                torch.cat([everything, earlier, itself], dim=1),
            ]
        )
        present = is_present.repeat(1, 3)[:, None, None, :]
        hidden: Tensor = self.trunk(rows, cond[:, None], index.repeat(3), mask & present)
        return hidden[:, 2 * R :]

    def _rows(self, plan: Tensor) -> Tensor:
        known = ~torch.isnan(plan)
        given = torch.einsum("brcf,cfd->brcd", _features(torch.nan_to_num(plan)), self.cell)
        rows: Tensor = torch.where(known[..., None], given, self.unknown).sum(2)  # (B, R, dim)
        return rows

    def _read(self, rows: Tensor, is_present: Tensor, cond: Tensor, asked: Tensor | None = None) -> Tensor:
        rows = torch.where(is_present[..., None], rows, self.absent)
        if asked is not None:
            return self.trunk.asked(rows, cond[:, None], is_present[:, None, None, :], asked)
        positions = torch.arange(rows.shape[1], device=rows.device)
        hidden: Tensor = self.trunk(rows, cond[:, None], positions, is_present[:, None, None, :])
        return hidden

    def logits(self, hidden: Tensor, wish: Wish, asked: Tensor | None = None) -> Tensor:
        """Scores of cells of all rows or of those asked, (B, R, dim) to (B, R, 6, bins): the product of what the trunk
        expects and, at the gain, of a Gaussian about the sketch, as far as each attribute's sketch has proved to be
        trusted (Hinton 2002, products of experts)."""
        own = self.head(hidden).view(*hidden.shape[:-1], PLAN_COLUMNS, PLAN_BINS).float()
        bins = plan_of_bin(torch.arange(PLAN_BINS, device=hidden.device))
        sketch = wish.sketch if asked is None else wish.sketch[:, (asked - self.past_bars).clamp(min=0)]
        away = (bins - sketch[..., None].float()) / SKETCH_WIDTH  # (B, plan_bars or M, 6, bins)
        trust = F.softplus(self.trust)[:, None] * wish.gain[:, None, None, None]
        expert = -0.5 * trust * away.square()
        if asked is None:
            expert = F.pad(expert, (0, 0, 0, 0, self.past_bars, 0))
        else:
            expert = expert * (asked >= self.past_bars)[:, None, None]
        out: Tensor = own + expert
        return out

    def _returns(self, known: Tensor, full: Tensor, is_present: Tensor, asked: Tensor | None = None) -> Tensor:
        """(B, R, 6, bins), or of the rows asked. Visible is what `imagine` reads: of its predecessors a sequential
        level 0 knows all."""
        own, earlier = _known_bins(known, is_present), _known_bins(full if self.is_sequential else known, is_present)
        there = torch.stack([_asked(_rows_before(earlier if lag > 0 else own, lag), asked) for lag in RETURNS], dim=2)
        own = _asked(own, asked)
        are_known = (own[:, :, None] >= 0) & (there >= 0)  # (B, R, lags, 6)
        are_known[..., COLUMN["tempo"]] = False  # nearly always alike: it tells nothing
        is_same = own[:, :, None] == there
        alike = (is_same & are_known).sum(-1).clamp(max=ALIKE)
        unlike = (~is_same & are_known).sum(-1).clamp(max=UNLIKE)
        favour = self.returned.flatten(2).permute(1, 2, 0)  # (lags, states, 6)
        lag = torch.arange(len(RETURNS), device=own.device)
        favour = favour[lag, alike * (UNLIKE + 1) + unlike] * (there >= 0)  # (B, R, lags, 6)
        scores = favour.new_zeros(*own.shape, PLAN_BINS, dtype=torch.float32)
        return scores.scatter_add(3, there.clamp(min=0).transpose(2, 3), favour.float().transpose(2, 3))


def _asked(rows: Tensor, asked: Tensor | None) -> Tensor:
    """Those of the rows (B, R, ...) that are asked, all if none are named."""
    return rows if asked is None else rows.index_select(1, asked)


def _known_bins(plan: Tensor, is_present: Tensor) -> Tensor:
    """Bins of cells (B, R, 6), -1 where unknown."""
    return plan_bin(plan).masked_fill(torch.isnan(plan) | ~is_present[..., None], -1)


def _rows_before(bins: Tensor, lag: int) -> Tensor:
    """For each row the one so many rows before it, -1 where there is none: (B, R, 6)."""
    if abs(lag) >= bins.shape[1]:
        return torch.full_like(bins, -1)
    if lag > 0:
        return F.pad(bins[:, :-lag], (0, 0, lag, 0), value=-1)
    return F.pad(bins[:, -lag:], (0, 0, 0, -lag), value=-1)


def _features(values: Tensor) -> Tensor:
    """Cells (..., 6) in 0..1 as numbers of several scales: (..., 6, 11)."""
    angles = values[..., None] * (math.pi * values.new_tensor(FREQUENCIES))
    return torch.cat([values[..., None], angles.sin(), angles.cos()], dim=-1)


def plan_bin(plan: Tensor) -> Tensor:
    """Scaled plan (NaN allowed, becomes 0) to bin indices, int64."""
    return (torch.nan_to_num(plan) * (PLAN_BINS - 1)).round().long().clamp(0, PLAN_BINS - 1)


def plan_of_bin(index: Tensor) -> Tensor:
    return index.float() / (PLAN_BINS - 1)
