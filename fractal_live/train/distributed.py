"""Several processes that train one model: who is which, and the few numbers they must agree on.

Started by torchrun, which sets RANK, WORLD_SIZE and LOCAL_RANK; without it there is one rank and every
function here returns what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its equals; rank 0 alone writes files and speaks."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def shared(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the ranks. What a batch happens not to use (dropped
        conditions, chords of a size that no crop holds) is looked for, so that nobody waits for it."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=True, forward_sync_buffers=False)

    def summed(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Each number added up over the ranks, in double precision, in one exchange. All ranks name the same."""
        names = sorted(values)
        together = torch.stack([values[name].double() for name in names])
        if self.size > 1:
            dist.all_reduce(together)
        by_name = dict(zip(names, together.tolist(), strict=True))
        return {name: by_name[name] for name in values}

    def agreed(self, value: float, device: str) -> float:
        """Rank 0's value, everywhere."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(told, 0)
        return float(told)


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str]]:
    """The ranks that torchrun started, and this one's own device; leaves the group when done."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(), device
        return
    own, backend = device, "gloo"
    if device == "cuda":
        own, backend = f"cuda:{os.environ['LOCAL_RANK']}", "nccl"
        torch.cuda.set_device(own)
    dist.init_process_group(backend)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), own
    finally:
        dist.destroy_process_group()
