"""What was asked beside what was played, and how nearly they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fractal_live.music.distances import correlation, cosine
from fractal_live.music.excerpt import FloatArray
from fractal_live.music.harmony import Chroma, chroma_of_bar
from fractal_live.music.notes import Bar
from fractal_live.music.plan import COLUMN, PlanTable, measure

DECILES = 10


def measured(bars: Sequence[Bar]) -> PlanTable:
    """The plan that bars realise: (bars, 6)."""
    return np.stack([measure(bar) for bar in bars])


def harmony_of(bars: Sequence[Bar]) -> Chroma:
    """(bars, halves, 12)."""
    return np.stack([chroma_of_bar(bar) for bar in bars])


def _by_half(chroma: Chroma) -> FloatArray:
    halves: FloatArray = chroma.reshape(-1, 12).astype(np.float64)
    return halves


@dataclass(slots=True)
class Pairs:
    """Plans asked and played, (bars, 6) per piece, and the cosine of every half bar's harmony where one was asked."""

    asked: list[PlanTable] = field(default_factory=list)
    played: list[PlanTable] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)

    def hear(self, asked: PlanTable, chroma: Chroma | None, bars: Sequence[Bar]) -> None:
        self.asked.append(asked)
        self.played.append(measured(bars))
        if chroma is not None:
            halves = zip(_by_half(chroma), _by_half(harmony_of(bars)), strict=True)
            self.cosines += [cosine(wanted, heard) for wanted, heard in halves if wanted.any()]

    def columns(self, attribute: str) -> tuple[list[FloatArray], list[FloatArray]]:
        """Asked and played values of one attribute, an array per piece."""
        column = COLUMN[attribute]
        asked = [table[:, column].astype(np.float64) for table in self.asked]
        return asked, [table[:, column].astype(np.float64) for table in self.played]

    def chroma_cosine(self) -> float:
        return float(np.mean(self.cosines)) if self.cosines else 0.0

    def errors(self, spread: Mapping[str, float]) -> FloatArray:
        """Of each piece the mean absolute error over attributes, each in its own spread: (pieces,)."""
        parts = []
        for name, width in spread.items():
            asked, played = self.columns(name)
            parts.append([_mean_error(wanted, heard) / width for wanted, heard in zip(asked, played, strict=True)])
        mean: FloatArray = np.nanmean(np.array(parts), axis=0)
        return mean


def _mean_error(asked: FloatArray, played: FloatArray) -> float:
    both = np.isfinite(asked) & np.isfinite(played)
    return float(np.abs(asked - played)[both].mean()) if both.any() else float("nan")


def adherence(pairs: Pairs, attribute: str) -> dict[str, float]:
    """`r` over all bars; `within_r` after each piece's own mean is taken off; `mae` in the attribute's unit."""
    asked, played = pairs.columns(attribute)
    wanted, heard = np.concatenate(asked), np.concatenate(played)
    both = list(zip(asked, played, strict=True))
    inner_wanted = np.concatenate([_centred(row, other) for row, other in both])
    inner_heard = np.concatenate([_centred(other, row) for row, other in both])
    return {
        "r": correlation(wanted, heard),
        "within_r": correlation(inner_wanted, inner_heard),
        "mae": _mean_error(wanted, heard),
    }


def _centred(row: FloatArray, other: FloatArray) -> FloatArray:
    """A piece's values less their mean, over the bars that both know."""
    both = np.isfinite(row) & np.isfinite(other)
    if not both.any():
        return np.full_like(row, np.nan)
    return np.asarray(np.where(both, row - row[both].mean(), np.nan))


def deciles(pairs: Pairs, attribute: str) -> dict[str, float]:
    """How often what is played falls in the decile that was asked, and there or beside it; deciles are those of what
    was asked."""
    asked, played = (np.concatenate(part) for part in pairs.columns(attribute))
    edges = np.quantile(asked[np.isfinite(asked)], np.arange(1, DECILES) / DECILES)
    apart = np.abs(np.digitize(asked, edges) - np.digitize(played, edges))
    return {"decile": float((apart == 0).mean()), "decile_near": float((apart <= 1).mean())}
