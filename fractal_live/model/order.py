"""The order in which a piece is opened, and what it makes visible.

A cell is what the content level decides at once: one step, or one pitch band of a step. Half bars are opened in
groups, all half bars of a group side by side; inside a half bar its cells are opened one by one, by rank.
Everything else follows: a place of any level is predicted when its first cell is opened and is known when its
last cell has been. With groups in order of time this is an autoregression; with a few groups of random half
bars, masked decoding in a few rounds; with what is known first, infill.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model.config import HALF_STEPS, LevelConfig, ModelConfig
from fractal_live.model.grid import IntArray


@dataclass(frozen=True, slots=True)
class Opening:
    """When places are predicted (`first`) and from when on they are known (`last`): (B, P) int each."""

    first: Tensor
    last: Tensor


def cells_per_half(config: ModelConfig) -> int:
    return HALF_STEPS * config.pitch_bands


def scan(config: ModelConfig) -> IntArray:
    """The cells of a half bar in scan order, as indices step * bands + band."""
    index = np.arange(cells_per_half(config))
    if config.scan_order == "column_major":
        return index
    ordered: IntArray = index.reshape(HALF_STEPS, config.pitch_bands).T.reshape(-1)
    return ordered


def scan_of_all(config: ModelConfig, halves: int) -> IntArray:
    """The cell of every place of the content level: (C,)."""
    start = np.arange(halves) * cells_per_half(config)
    places: IntArray = (start[:, None] + scan(config)).reshape(-1)
    return places


def band_width(config: ModelConfig) -> int:
    """Pitches per band, the last one maybe fewer."""
    return -(-(config.pitch_high + 1 - config.pitch_low) // config.pitch_bands)


def band_of(config: ModelConfig, pitch: IntArray) -> IntArray:
    """The band each pitch belongs to."""
    bands: IntArray = np.clip((pitch - config.pitch_low) // band_width(config), 0, config.pitch_bands - 1)
    return bands


def is_sequential(config: ModelConfig) -> bool:
    """Whether the cells of a half bar are always opened in scan order."""
    below = [level.generator for level in config.levels[2:]]
    return config.scan_order == "row_major" or "mar" not in below


def draw_ranks(config: ModelConfig, halves: int, rng: np.random.Generator) -> IntArray:
    """When each cell of each half bar is opened within it: (halves, cells), indexed step * bands + band. The tokens
    of a masked level are opened in random order inside the token above, those of a sequential one in time."""
    cells = cells_per_half(config)
    if is_sequential(config):
        ranks = np.empty(cells, dtype=np.int64)
        ranks[scan(config)] = np.arange(cells)
        return np.tile(ranks, (halves, 1))
    keys: list[npt.NDArray[np.float64]] = []
    step = np.arange(HALF_STEPS)
    for level, span in zip(config.levels[2:], config.spans[2:], strict=True):
        place = step // span
        if level.generator == "mar":
            keys.append(rng.random((halves, HALF_STEPS // span))[:, place])
        else:
            keys.append(np.broadcast_to(place.astype(np.float64), (halves, HALF_STEPS)))
    by_step = np.lexsort(keys[::-1], axis=1)  # the coarsest level decides first
    step_rank = np.argsort(by_step, axis=1)
    bands = np.arange(config.pitch_bands)
    nested: IntArray = (step_rank[:, :, None] * config.pitch_bands + bands).reshape(halves, cells)
    return nested


def cell_order(group: IntArray, ranks: IntArray) -> IntArray:
    """Groups of half bars (H,) and ranks in them (H, cells) to the order of opening of every cell: (H * cells,)."""
    order: IntArray = (group[:, None] * ranks.shape[1] + ranks).reshape(-1)
    return order


def opening(order: Tensor, cells: int) -> Opening:
    """Places of so many cells each, from the orders (B, C) of all cells."""
    places = order.view(len(order), -1, cells)
    return Opening(places.amin(-1), places.amax(-1))


def near(rows: Tensor, columns: Tensor, window: int) -> Tensor:
    """Which of the places `columns` lie no farther than `window` from each of `rows`; 0 is everything."""
    distance = (rows[:, None] - columns).abs()
    return distance <= window if window else torch.ones_like(distance, dtype=torch.bool)


def sees_known(asks: Opening, there: Opening) -> Tensor:
    """Whether a place that is predicted knows what another place holds: (B, P, Q)."""
    return there.last[:, None, :] < asks.first[:, :, None]


def sees_earlier(asks: Opening, there: Opening) -> Tensor:
    """Whether another place had been predicted before this one: (B, P, Q)."""
    return there.first[:, None, :] < asks.first[:, :, None]


def sees_held(holds: Opening, there: Opening) -> Tensor:
    """Whether what a known place holds may look at what another one holds: (B, P, Q)."""
    return there.last[:, None, :] <= holds.last[:, :, None]


def is_previous_known(places: Opening) -> Tensor:
    """Whether the place before each one is known when it is predicted: (B, P); the first has none."""
    known = places.last[:, :-1] < places.first[:, 1:]
    return torch.cat([torch.zeros_like(known[:, :1]), known], dim=1)


def distance_to(places: IntArray, made: IntArray) -> IntArray:
    """How far each of the places (N,) is from the nearest of those made, 0 where nothing is made."""
    if not len(made):
        return np.zeros_like(places)
    distance: IntArray = np.abs(places[:, None] - made).min(1)
    return distance


def still_mattering(
    level: LevelConfig, distance: IntArray, is_asked: npt.NDArray[np.bool_], is_handed: bool = True
) -> list[IntArray]:
    """Of known places (N,) at such a distance from what is made, block by block the indices of those, among the ones
    that came to it, whose states matter beyond it: each block reaches as far as the window. What is asked of the level
    is its last block's states, unless they are handed down by other tokens."""
    reached = int(distance[is_asked].max(initial=0))
    rest: list[IntArray] = []
    left = np.arange(len(distance))
    for later in range(level.num_blocks - 1, -1, -1):
        if later:
            goes_on = (distance[left] <= reached + later * level.window) | (level.window == 0)
        else:
            goes_on = is_asked[left] & is_handed
        rest.append(np.flatnonzero(goes_on))
        left = left[goes_on]
    return rest
