"""The arithmetic of a few tokens on a CPU, in numpy: there torch spends more on the dispatch of its operators than on
their arithmetic, and a bar is some hundred tokens one after another.

Each function has its slow twin among the modules whose weights it reads; the weights are read where they lie, so that
both always have the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.cache import Memory

Array = npt.NDArray[np.float32]
Turn = tuple[Array, Array]

FEW = 24  # tokens; from about there on arithmetic outweighs dispatch


def is_lean(module: nn.Module, x: Tensor, tokens: int) -> bool:
    """Whether so few tokens are to be taken the lean way: in inference, on a CPU, in single precision."""
    return (
        tokens <= FEW
        and not torch.is_grad_enabled()
        and not module.training
        and x.dtype == torch.float32
        and x.device.type == "cpu"
    )


def array(x: Tensor) -> Array:
    """The same numbers, not copied."""
    out: Array = x.detach().numpy()
    return out


class Lines:
    """A linear layer: x (N, in) to (N, out)."""

    __slots__ = ("bias", "weight")

    def __init__(self, layer: nn.Linear) -> None:
        self.weight = array(layer.weight).T
        self.bias = None if layer.bias is None else array(layer.bias)

    def __call__(self, x: Array) -> Array:
        out: Array = x @ self.weight
        if self.bias is not None:
            out += self.bias
        return out


def normed(x: Array, modulation: Array) -> Array:
    """AdaLN of x (N, C) under what its condition makes of it, (N or 1, 2C) of scale and shift."""
    size = x.shape[1]
    away = np.subtract(x, np.add.reduce(x, axis=1, keepdims=True) * np.float32(1 / size), dtype=np.float32)
    deviation: Array = np.sqrt(np.einsum("ij,ij->i", away, away)[:, None] * np.float32(1 / size) + np.float32(1e-5))
    away /= deviation
    away *= 1 + modulation[:, :size]
    away += modulation[:, size:]
    out: Array = away
    return out


def gelu_tanh(x: Array) -> Array:
    """Hendrycks & Gimpel 2016, the approximation by tanh."""
    inner = x * x
    inner *= np.float32(0.044715 * math.sqrt(2 / math.pi))
    inner += np.float32(math.sqrt(2 / math.pi))
    inner *= x
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= np.float32(0.5)
    return inner


def gelu(x: Array) -> Array:
    out: Array = F.gelu(torch.from_numpy(x)).numpy()
    return out


def swept(x: Array, weight: Array, bias: Array, stride: int, padding: int) -> Array:
    """A convolution along the last axis: x (N, in, L), weight (out, in, K), bias (out,): (N, out, L')."""
    N, wide, length = x.shape
    taps = weight.shape[2]
    padded = np.zeros((N, wide, length + 2 * padding), dtype=np.float32)
    padded[:, :, padding : padding + length] = x
    places = (length + 2 * padding - taps) // stride + 1
    step, channel, along = padded.strides
    windows = np.lib.stride_tricks.as_strided(
        padded, (N, wide, taps, places), (step, channel, along, along * stride), writeable=False
    ).reshape(N, wide * taps, places)
    out: Array = np.matmul(weight.reshape(len(weight), -1), windows)
    out += bias[:, None]
    return out


def turned(x: Array, turn: Turn) -> Array:
    """Rotary position of x (B, H, N, D) by cosines and sines (N, D/2)."""
    cos, sin = turn
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    out = np.empty(x.shape, dtype=np.float32)
    np.subtract(a * cos, b * sin, out=out[..., :half])
    np.add(a * sin, b * cos, out=out[..., half:])
    return out


def attended(q: Array, k: Array, v: Array, mask: npt.NDArray[np.bool_] | None) -> Array:
    """Softmax attention, (B, H, N, D) to (B, N, H * D); mask broadcastable to (B, H, N, keys), True where seen."""
    B, H, N, D = q.shape
    scores = np.matmul(q * np.float32(D**-0.5), k.transpose(0, 1, 3, 2))
    if mask is not None:
        scores = np.where(mask, scores, np.float32(-np.inf))
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    out: Array = np.matmul(scores, v).transpose(0, 2, 1, 3).reshape(B, N, H * D)
    return out


class LeanBlock:
    """The weights of a `layers.Block`, whose module stands on this one."""

    __slots__ = ("mlp_in", "mlp_out", "norm_attention", "norm_mlp", "out", "qkv")

    def __init__(self, block: Any) -> None:
        self.qkv, self.out = Lines(block.qkv), Lines(block.out)
        self.mlp_in, self.mlp_out = Lines(block.mlp_in), Lines(block.mlp_out)
        self.norm_attention = Lines(block.norm_attention.modulation)
        self.norm_mlp = Lines(block.norm_mlp.modulation)


class LeanTrunk:
    """The weights of a `layers.Trunk`; `modulations` of a condition serve for every token under it."""

    def __init__(self, trunk: Any, heads: int) -> None:
        self.heads = heads
        self.blocks = [LeanBlock(block) for block in trunk.blocks]
        self.norm = Lines(trunk.norm.modulation)

    def modulations(self, cond: Array) -> list[Array]:
        """What conditions (N, cond_dim) make of every norm, in order: (N, 2 * dim) each."""
        norms = [norm for block in self.blocks for norm in (block.norm_attention, block.norm_mlp)]
        return [norm(cond) for norm in (*norms, self.norm)]

    def __call__(
        self, x: Array, modulations: list[Array], turn: Turn, mask: npt.NDArray[np.bool_] | None, memory: Memory | None
    ) -> Array:
        """x (B, N, C); modulations for (B * N or 1) tokens."""
        B, N, C = x.shape
        x = x.reshape(B * N, C)
        for index, block in enumerate(self.blocks):
            qkv = block.qkv(normed(x, modulations[2 * index])).reshape(B, N, 3, self.heads, C // self.heads)
            q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # (B, H, N, D) each
            q, k = turned(q, turn), turned(k, turn)
            if memory is not None:
                joined = memory.joined(index, torch.from_numpy(k), torch.from_numpy(v))
                k, v = joined[0].numpy(), joined[1].numpy()
            x = x + block.out(attended(q, k, v, mask).reshape(B * N, C))
            x = x + block.mlp_out(gelu_tanh(block.mlp_in(normed(x, modulations[2 * index + 1]))))
        return normed(x, modulations[-1]).reshape(B, N, C)
