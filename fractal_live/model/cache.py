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

    def joined_few(self, block: int, k: Array, v: Array) -> tuple[Array, Array]: ...


class FewMemory(Protocol):
    """As much of a `Memory` as the lean arithmetic needs."""

    def joined_few(self, block: int, k: Array, v: Array) -> tuple[Array, Array]: ...


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

    def joined_few(self, block: int, k: Array, v: Array) -> tuple[Array, Array]:
        keys, values = self.joined(block, torch.from_numpy(k), torch.from_numpy(v))
        return keys.numpy(), values.numpy()

    def __len__(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0


@dataclass(slots=True)
class FewKVCache:
    """A `KVCache` in numpy."""

    keys: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def joined_few(self, block: int, k: Array, v: Array) -> tuple[Array, Array]:
        if block < len(self.keys):
            k = np.concatenate([self.keys[block], k], axis=2)
            v = np.concatenate([self.values[block], v], axis=2)
            self.keys[block], self.values[block] = k, v
        else:
            self.keys.append(k)
            self.values.append(v)
        return k, v


class PlaceCache:
    """A static cache: a slot per place of a piece, filled in any order, since what a place sees is settled when it
    is opened."""

    def __init__(self, level: LevelConfig, rows: int, places: int, device: torch.device) -> None:
        shape = (rows, level.num_heads, places, level.embed_dim // level.num_heads)
        self.keys = [torch.zeros(shape, device=device) for _ in range(level.num_blocks)]
        self.values = [torch.zeros(shape, device=device) for _ in range(level.num_blocks)]
        self.is_filled = np.zeros(places, dtype=np.bool_)


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

    def joined_few(self, block: int, k: Array, v: Array) -> tuple[Array, Array]:
        """As `joined`, of a cache on the CPU."""
        keys, values = self.cache.keys[block].numpy(), self.cache.values[block].numpy()
        if self.is_kept:
            places = self.places.numpy()
            keys[:, :, places], values[:, :, places] = k, v
            return keys[:, :, self.low : self.high], values[:, :, self.low : self.high]
        held = slice(self.low, self.high)
        return np.concatenate([keys[:, :, held], k], axis=2), np.concatenate([values[:, :, held], v], axis=2)
