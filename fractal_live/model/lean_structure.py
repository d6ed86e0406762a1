"""Level 0 on a CPU, in compiled arithmetic: what `Structure.scores` and `hand_down` say of a masked level 0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F

from fractal_live.model.compiled import NONE, Array, Places, compiled, gelu, lines
from fractal_live.model.config import FREQUENCIES, PLAN_BINS, RETURNS, SKETCH_WIDTH
from fractal_live.model.lean import LeanTrunk, Lines, array
from fractal_live.music.plan import COLUMN

RETURN_LAGS = np.array(RETURNS)
ANGLES = (math.pi * np.array(FREQUENCIES)).astype(np.float32)
BINS = np.arange(PLAN_BINS, dtype=np.float32) / np.float32(PLAN_BINS - 1)

Given = npt.NDArray[np.bool_]


class LeanStructure:
    """The weights of a `structure.Structure`."""

    def __init__(self, structure: Any) -> None:
        self.trunk: LeanTrunk = structure.trunk.lean
        self.past_bars = structure.past_bars
        columns, _, self.dim = structure.cell.shape
        cells = np.concatenate([_flat(structure.cell), array(structure.unknown)])
        self._cells, self._sketched = np.ascontiguousarray(cells.T), np.ascontiguousarray(_flat(structure.sketched).T)
        self._absent, self._is_past, self._row = (
            array(weights) for weights in (structure.absent, structure.is_past, structure.row)
        )
        embed = structure.latent.embed
        self._embed, self._condition, self._null = Lines(embed[0]), Lines(embed[2]), array(structure.latent.null)
        self._head, self._down = Lines(structure.head), Lines(structure.down)
        self._trust = array(F.softplus(structure.trust))
        self._returned = array(structure.returned)
        self._columns = columns

    def scores(self, known: Array, is_present: Given, z: Array, sketch: Array, gain: Array, asked: Places) -> Array:
        """Of the cells of the rows asked (M,): (B, M, columns, bins); see `Structure.scores`."""
        B, R, _ = known.shape
        past = self.past_bars
        is_open = np.isnan(known[:, past:])
        hints = _features(sketch) * is_open[..., None] * gain[:, None, None, None]
        rows = self._rows(known)
        rows[:, :past] += self._is_past
        rows[:, past:] += _products(hints.reshape(B, R - past, -1), self._sketched) + self._row
        hidden = self._read(rows, is_present, self._cond(z, gain), asked)
        out = self._head(hidden.reshape(-1, self.dim)).reshape(B, len(asked), self._columns, PLAN_BINS)
        in_horizon = asked >= past
        away = (BINS - sketch[:, np.maximum(asked - past, 0), :, None]) / np.float32(SKETCH_WIDTH)
        trust = self._trust[:, None] * gain[:, None, None, None] * in_horizon[:, None, None]
        out += np.float32(-0.5) * trust * away * away
        bins = np.where(np.isnan(known) | ~is_present[..., None], -1, plan_bins(known))
        _add_returns(bins, asked, RETURN_LAGS, self._returned, COLUMN["tempo"], out)
        return out

    def hand_down(self, plan: Array, is_present: Given) -> Array:
        """(B, R, compressed)."""
        B, R, _ = plan.shape
        cond = np.repeat(self._null[None], B, axis=0)
        hidden = self._read(self._rows(plan), is_present, cond, np.arange(R))
        return self._down(hidden.reshape(-1, self.dim)).reshape(B, R, -1)

    def _cond(self, z: Array, gain: Array) -> Array:
        wide = self._embed(z)
        gelu(wide.reshape(wide.size))
        out: Array = self._null + gain[:, None] * (self._condition(wide) - self._null)
        return out

    def _rows(self, plan: Array) -> Array:
        """(B, R, dim)."""
        is_unknown = np.isnan(plan)
        given = _features(np.where(is_unknown, np.float32(0), plan)) * ~is_unknown[..., None]
        told = np.concatenate([given.reshape(*plan.shape[:2], -1), is_unknown], axis=-1, dtype=np.float32)
        return _products(told, self._cells)

    def _read(self, rows: Array, is_present: Given, cond: Array, asked: Places) -> Array:
        """Those asked: (B, M, dim)."""
        rows = np.where(is_present[..., None], rows, self._absent)
        every = np.arange(rows.shape[1])
        rest = [*[every] * (len(self.trunk.blocks) - 1), asked]
        return self.trunk(rows, cond, every, np.ascontiguousarray(is_present[:, None]), None, rest)


def _flat(weights: Any) -> Array:
    """(columns, features, dim) to (columns * features, dim)."""
    out: Array = array(weights).reshape(-1, weights.shape[-1])
    return out


def _products(x: Array, weight: Array) -> Array:
    """x (B, R, in), weight (dim, in): (B, R, dim)."""
    out = np.empty((x.shape[0] * x.shape[1], len(weight)), dtype=np.float32)
    lines(x.reshape(len(out), -1), weight, NONE, NONE, out)
    return out.reshape(*x.shape[:2], -1)


def _features(values: Array) -> Array:
    """As `structure.features`."""
    angles = values[..., None] * ANGLES
    return np.concatenate([values[..., None], np.sin(angles), np.cos(angles)], axis=-1)


def plan_bins(plan: Array) -> Places:
    """As `structure.plan_bin`, in numpy."""
    out: Places = np.rint(np.minimum(np.maximum(np.nan_to_num(plan), 0), 1) * (PLAN_BINS - 1)).astype(np.int64)
    return out


@compiled
def _add_returns(bins: Places, asked: Places, lags: Places, favour: Array, silent_column: int, out: Array) -> None:
    """Adds to scores (B, M, columns, bins) of the rows asked (M,) what `Structure._returns` says of a masked level 0:
    bins (B, R, columns), -1 where unknown, favour (columns, lags, alike, unlike)."""
    B, R, columns = bins.shape
    for b in range(B):
        for m in range(len(asked)):
            here = bins[b, asked[m]]
            for index in range(len(lags)):
                row = asked[m] - lags[index]
                if not 0 <= row < R:
                    continue
                there = bins[b, row]
                alike, unlike = 0, 0
                for column in range(columns):
                    if column != silent_column and here[column] >= 0 and there[column] >= 0:
                        alike += here[column] == there[column]
                        unlike += here[column] != there[column]
                alike, unlike = min(alike, favour.shape[2] - 1), min(unlike, favour.shape[3] - 1)
                for column in range(columns):
                    if there[column] >= 0:
                        out[b, m, column, there[column]] += favour[column, index, alike, unlike]
