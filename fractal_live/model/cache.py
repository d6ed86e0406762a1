"""What a transformer has seen: keys and values, by the chord's notes or by the places of a piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model.config import LevelConfig

Array = npt.NDArray[np.float32]


class Memory(Protocol):
    """What attention remembers. `joined` takes a block's present keys and values (B, H, N, D) and returns all
    that are to be attended to."""

    def joined(self, block: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """What the compiled arithmetic attends to: keys and values (blocks, B, H, S, D), of them the slots `low` to `high`;
    and whether tokens' own are kept there as well."""

    keys: Array
    values: Array
    low: int
    high: int
    is_kept: bool


class FewMemory(Protocol):
    """A memory on the CPU."""

    def few(self) -> Kept: ...


@dataclass(slots=True)
class KVCache:
    """Keys and values one after another, one pair per block: (B, H, T, D)."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def joined(self, block: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if block < len(self.keys):
            k = torch.cat([self.keys[block], k], dim=2)
            v = torch.cat([self.values[block], v], dim=2)
            self.keys[block], self.values[block] = k, v
        else:
            self.keys.append(k)
            self.values.append(v)
        return k, v

    def __len__(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0


class ChordCache:
    """A `KVCache` in numpy, with room for so many tokens. `length` is how many there are with the present one."""

    def __init__(self, blocks: int, rows: int, heads: int, tokens: int, dim: int) -> None:
        self._keys, self._values = np.empty((2, blocks, rows, heads, tokens, dim), dtype=np.float32)
        self.length = 0

    def few(self) -> Kept:
        return Kept(self._keys, self._values, 0, self.length, True)


class PlaceCache:
    """A static cache: a slot per place of a piece, filled in any order, since what a place sees is settled when it
    is opened."""

    def __init__(self, level: LevelConfig, rows: int, places: int, device: torch.device) -> None:
        shape = (level.num_blocks, rows, level.num_heads, places, level.embed_dim // level.num_heads)
        # Zeros of numpy's take no time before they are touched, and most of a long piece's places are not.
        self.keys, self.values = torch.from_numpy(np.zeros((2, *shape), dtype=np.float32)).to(device)
        self.is_filled = np.zeros(places, dtype=np.bool_)
        self._arrays = (self.keys.numpy(), self.values.numpy()) if device.type == "cpu" else None

    @property
    def arrays(self) -> tuple[Array, Array]:
        """The same memory for the compiled arithmetic."""
        assert self._arrays is not None, "a cache on the CPU"
        return self._arrays


@dataclass(frozen=True, slots=True)
class Slots:
    """Some places' way to the cache: keys of slots `low` to `high` are attended to, and the places' own, which
    are kept in their slots or, where they are only asked, stand behind the others."""

    cache: PlaceCache
    places: Tensor
    low: int
    high: int
    is_kept: bool

    def joined(self, block: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.cache.keys[block], self.cache.values[block]
        if self.is_kept:
            keys.index_copy_(2, self.places, k)
            values.index_copy_(2, self.places, v)
            return keys[:, :, self.low : self.high], values[:, :, self.low : self.high]
        held = slice(self.low, self.high)
        return torch.cat([keys[:, :, held], k], dim=2), torch.cat([values[:, :, held], v], dim=2)

    def few(self) -> Kept:
        return Kept(*self.cache.arrays, self.low, self.high, self.is_kept)
