"""What level 1 decides about a half bar, one thing after another: what it echoes, its harmony, its onsets.

Each decision is told to the next: the harmony and the number of onsets of an echo are mostly those of its source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.config import CHROMA_LEVELS, ECHOES, MAX_HALF_ONSETS
from fractal_live.model.echo import NO_ECHO, source_of, strength_index
from fractal_live.model.grid import FloatArray, IntArray
from fractal_live.model.pitch import GRADES


@dataclass(frozen=True, slots=True)
class Source:
    """What half bars (...) echo: the class (...) int, and of the source the chroma levels (..., 12) int and the
    number of onsets (...) int (anything where nothing is echoed)."""

    echo: Tensor
    chroma: Tensor
    onsets: Tensor


class PhraseHeads(nn.Module):
    """Scores of the decisions. Twelve pitch classes, four levels each, are decided in a row: scores of a class
    depend on the hidden state and on every class decided before it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.echo = nn.Linear(dim, ECHOES)
        self.continued = nn.Parameter(torch.zeros(GRADES, GRADES))
        self.own = nn.Linear(dim, 12 * CHROMA_LEVELS)
        self.pair = nn.Parameter(torch.zeros(12, CHROMA_LEVELS, 12, CHROMA_LEVELS))
        self.copied_chroma = nn.Parameter(torch.zeros(GRADES, CHROMA_LEVELS, CHROMA_LEVELS))
        self.count = nn.Linear(dim, MAX_HALF_ONSETS + 1)
        self.copied_count = nn.Parameter(torch.zeros(GRADES, MAX_HALF_ONSETS + 1, MAX_HALF_ONSETS + 1))
        self.register_buffer("earlier", torch.ones(12, 12).tril(-1), persistent=False)
        self.earlier: Tensor

    def echo_scores(self, hidden: Tensor, allowed: Tensor, before: Tensor) -> Tensor:
        """hidden (..., dim), allowed (..., ECHOES) bool, before (...) the class of the half bar before, NO_ECHO where
        it is not known: (..., ECHOES). A section returns half bar by half bar from one distance, so going on from there
        is scored by how closely it was repeated and shall be."""
        each = torch.arange(ECHOES, device=hidden.device)
        goes_on = (source_of(before)[..., None] == source_of(each)) & (before != NO_ECHO)[..., None]
        run = self.continued[strength_index(before)[..., None], strength_index(each)] * goes_on
        out: Tensor = (self.echo(hidden) + run).float().masked_fill(~allowed, float("-inf"))
        return out

    def chroma_scores(self, hidden: Tensor, chroma: Tensor, source: Source) -> Tensor:
        """hidden (..., dim), chroma levels (..., 12): scores (..., 12, levels), class i seeing classes < i."""
        decided = F.one_hot(chroma, CHROMA_LEVELS).to(hidden.dtype)
        pair = (self.pair * self.earlier[:, None, :, None]).to(hidden.dtype)
        own = self.own_chroma(hidden, source)
        return (own + torch.einsum("...jv,iujv->...iu", decided, pair)).float()

    def own_chroma(self, hidden: Tensor, source: Source) -> Tensor:
        """The part of `chroma_scores` that no class decided before changes: (..., 12, levels)."""
        own = self.own(hidden).view(*hidden.shape[:-1], 12, CHROMA_LEVELS)
        grade = strength_index(source.echo)
        copied = self.copied_chroma[grade[..., None], source.chroma] * (grade > 0)[..., None, None]
        out: Tensor = own + copied
        return out

    def told_chroma(self, pitch_class: int, chroma: IntArray) -> FloatArray:
        """The other part, of one class, from the levels of N half bars (N, 12) of which those before it count:
        (N, levels)."""
        pair = self.pair[pitch_class].detach().cpu().numpy()  # (levels, 12, levels)
        before = np.arange(pitch_class)
        out: FloatArray = pair[:, before, chroma[:, before]].sum(-1).T
        return out

    def count_scores(self, hidden: Tensor, source: Source) -> Tensor:
        """hidden (..., dim): scores of 0 to MAX_HALF_ONSETS onsets."""
        grade = strength_index(source.echo)
        copied = self.copied_count[grade, source.onsets.clamp(0, MAX_HALF_ONSETS)] * (grade > 0)[..., None]
        out: Tensor = self.count(hidden) + copied
        return out.float()
