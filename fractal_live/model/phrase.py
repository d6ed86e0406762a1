"""What level 1 decides about a half bar, one thing after another: what it echoes, its harmony, its onsets.

Each decision is told to the next: the harmony and the number of onsets of an echo are mostly those of its source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.balance import Balance
from fractal_live.model.config import CHROMA_LEVELS, ECHOES, MAX_HALF_ONSETS
from fractal_live.model.echo import MOST_RUN, source_of, strength_index
from fractal_live.model.pitch import GRADES

ORDER = (np.arange(12)[:, None] + np.arange(12)) % 12
"""The pitch classes counted from each."""


@dataclass(frozen=True, slots=True)
class Source:
    """What half bars (...) echo: the class (...) int, and of the source the chroma levels (..., 12) int and the
    number of onsets (...) int (anything where nothing is echoed); and the harmony of those before them (..., lags +
    1, 12), as `balance.earlier_harmony`."""

    echo: Tensor
    chroma: Tensor
    onsets: Tensor
    earlier: Tensor


class Consonance(nn.Module):
    """What the pitch classes decided so far, and what is expected of the others, say about the next class. All of them
    are counted from that one, so that a chord learned in one key is known in every key."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.heard = nn.Linear(12 * (2 * CHROMA_LEVELS + 1), width)
        self.out = nn.Linear(width, CHROMA_LEVELS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.order: Tensor
        self.register_buffer("order", torch.from_numpy(ORDER), persistent=False)
        self.register_buffer("is_decided", torch.from_numpy(ORDER < np.arange(12)[:, None]), persistent=False)
        self.is_decided: Tensor

    def forward(self, expected: Tensor, chroma: Tensor) -> Tensor:
        """expected (..., 12, levels) scores, chroma levels (..., 12), of which class i sees those before it: (..., 12,
        levels)."""
        told = torch.where(self.is_decided, chroma[..., self.order], CHROMA_LEVELS)  # (..., 12, 12)
        levels = F.one_hot(told, CHROMA_LEVELS + 1).to(expected.dtype).flatten(-2)
        shares = expected.softmax(-1)[..., self.order, :].flatten(-2)
        out: Tensor = self.out(F.relu(self.heard(torch.cat([levels, shares], dim=-1))))
        return out


class PhraseHeads(nn.Module):
    """Scores of the decisions. Twelve pitch classes, four levels each, are decided in a row: scores of a class
    depend on the hidden state and on every class decided before it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.echo = nn.Linear(dim, ECHOES)
        self.continued = nn.Parameter(torch.zeros(GRADES, GRADES))
        self.lasting = nn.Parameter(torch.zeros(MOST_RUN + 1, GRADES))
        self.own = nn.Linear(dim, 12 * CHROMA_LEVELS)
        self.pair = nn.Parameter(torch.zeros(12, CHROMA_LEVELS, 12, CHROMA_LEVELS))
        self.consonance = Consonance()
        self.balance = Balance()
        self.copied_chroma = nn.Parameter(torch.zeros(GRADES, CHROMA_LEVELS, CHROMA_LEVELS))
        self.count = nn.Linear(dim, MAX_HALF_ONSETS + 1)
        self.copied_count = nn.Parameter(torch.zeros(GRADES, MAX_HALF_ONSETS + 1, MAX_HALF_ONSETS + 1))
        self.register_buffer("earlier", torch.ones(12, 12).tril(-1), persistent=False)
        self.earlier: Tensor

    def echo_scores(
        self, hidden: Tensor, allowed: Tensor, before: Tensor, run: Tensor, is_free: Tensor | None = None
    ) -> Tensor:
        """hidden (..., dim), allowed (..., ECHOES) bool, before (...) the class of the half bar before and run (...)
        how long that distance has been echoed, as `echo.run_before`, 0 where it is not known: (..., ECHOES). A section
        returns half bar by half bar from one distance, so going on from there is scored by how closely it was repeated
        and shall be, and by how long it has gone on: the longer, the likelier it is a section. The balance of free play
        counts where half bars are free (...), of which nothing is asked; everywhere if that is not said."""
        each = torch.arange(ECHOES, device=hidden.device)
        goes_on = (source_of(before)[..., None] == source_of(each)) & (run > 0)[..., None]
        grade = strength_index(each)
        favour = self.continued[strength_index(before)[..., None], grade] + self.lasting[run[..., None], grade]
        balance = self.balance.going_on(grade)
        favour = favour + (balance if is_free is None else balance * is_free[..., None])
        out: Tensor = (self.echo(hidden) + favour * goes_on).float().masked_fill(~allowed, float("-inf"))
        return out

    def chroma_scores(self, hidden: Tensor, chroma: Tensor, source: Source) -> Tensor:
        """hidden (..., dim), chroma levels (..., 12): scores (..., 12, levels), class i seeing classes < i."""
        decided = F.one_hot(chroma, CHROMA_LEVELS).to(hidden.dtype)
        pair = (self.pair * self.earlier[:, None, :, None]).to(hidden.dtype)
        own = self.own_chroma(hidden, source)
        own = own + self.consonance(own, chroma)
        out: Tensor = (own + torch.einsum("...jv,iujv->...iu", decided, pair)).float()
        return out

    def own_chroma(self, hidden: Tensor, source: Source) -> Tensor:
        """The part of `chroma_scores` that no class decided before changes: (..., 12, levels)."""
        own = self.own(hidden).view(*hidden.shape[:-1], 12, CHROMA_LEVELS)
        grade = strength_index(source.echo)
        copied = self.copied_chroma[grade[..., None], source.chroma] * (grade > 0)[..., None, None]
        out: Tensor = own + copied + self.balance.harmony(source.earlier)
        return out

    def count_scores(self, hidden: Tensor, source: Source) -> Tensor:
        """hidden (..., dim): scores of 0 to MAX_HALF_ONSETS onsets."""
        grade = strength_index(source.echo)
        copied = self.copied_count[grade, source.onsets.clamp(0, MAX_HALF_ONSETS)] * (grade > 0)[..., None]
        out: Tensor = self.count(hidden) + copied
        return out.float()
