"""One attention for all levels: flash-attn where it can serve, torch's own otherwise."""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def has_flash_attn() -> bool:
    """Whether the optional package is there. Logged once."""
    present = importlib.util.find_spec("flash_attn") is not None
    log.info("attention: %s", "flash-attn for unmasked half precision on CUDA" if present else "torch SDPA")
    return present


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, use_flash: bool | None = None) -> Tensor:
    """Softmax attention, (B, H, T, D) each; `mask` is bool, True where q may see k, broadcastable to
    (B, H, Tq, Tk). `use_flash` overrides the choice. flash-attn takes no arbitrary mask, so masked
    attention always goes through torch."""
    flash = has_flash_attn() if use_flash is None else use_flash
    if flash and mask is None and q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
        from flash_attn import flash_attn_func  # type: ignore[import-not-found,unused-ignore]

        out: Tensor = flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return out.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def rotation(positions: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions (T,) for heads of an even width `dim`: (T, dim/2) each."""
    half = dim // 2
    rates = 10000.0 ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angles = positions[:, None].float() * rates
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position (Su et al. 2021, RoFormer, eq. 34): of attention only distances between positions
    remain. x (..., T, D), `turn` from `rotation`."""
    cos, sin = turn[0].to(x.dtype), turn[1].to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
