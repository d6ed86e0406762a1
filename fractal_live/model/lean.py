"""The arithmetic of a few tokens on a CPU, in numpy: there torch spends more on the dispatch of its operators than on
their arithmetic, and a bar is some hundred tokens one after another.

Each function has its slow twin among the modules whose weights it reads; the weights are read where they lie, so that
both always have the same.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.attention import rotation
from fractal_live.model.cache import FewMemory
from fractal_live.model.grid import IntArray

Array = npt.NDArray[np.float32]
Turn = tuple[Array, Array]
Modulation = tuple[Array, Array]
"""What a condition makes of a norm: one plus the scale, and the shift, (N or 1, C) each."""

Given = npt.NDArray[np.bool_]
TextureArrays = tuple[IntArray, IntArray, IntArray, IntArray]
"""Chroma levels, onsets and steps still to come, and echo class, as in `layers.Texture`."""

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
    """A linear layer: x (..., in) to (..., out)."""

    __slots__ = ("bias", "weight")

    def __init__(self, layer: nn.Linear) -> None:
        self.weight = array(layer.weight).T
        self.bias = None if layer.bias is None else array(layer.bias)

    def __call__(self, x: Array) -> Array:
        out: Array = x @ self.weight
        if self.bias is not None:
            out += self.bias
        return out


def normed(x: Array, modulation: Modulation) -> Array:
    """AdaLN of x (N, C) under what its condition makes of it."""
    size = x.shape[1]
    if len(x) == 1:
        only = x[0]
        away = x - np.float32(np.add.reduce(only) / size)
        away *= np.float32(1 / math.sqrt(np.dot(away[0], away[0]) / size + 1e-5))
        away *= modulation[0]
        away += modulation[1]
        return away
    away = np.subtract(x, np.add.reduce(x, axis=1, keepdims=True) * np.float32(1 / size), dtype=np.float32)
    deviation: Array = np.sqrt(np.einsum("ij,ij->i", away, away)[:, None] * np.float32(1 / size) + np.float32(1e-5))
    away /= deviation
    away *= modulation[0]
    away += modulation[1]
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
    strides = (step, channel, along, along * stride)
    windows = np.ndarray((N, wide, taps, places), np.float32, padded, 0, strides).reshape(N, wide * taps, places)
    out: Array = np.matmul(weight.reshape(len(weight), -1), windows)
    out += bias[:, None]
    return out


@lru_cache(maxsize=8)
def turns(places: int, dim: int) -> Turn:
    """`attention.rotation` of the first so many places, for heads of width `dim`."""
    with torch.inference_mode():
        cos, sin = rotation(torch.arange(places), dim)
    return array(cos), array(sin)


def turn_at(places: IntArray, dim: int) -> Turn:
    """The rotation of places (N,): (N, dim/2) each."""
    cos, sin = turns(max(1024, 1 << int(places.max()).bit_length()), dim)
    return cos[places], sin[places]


def turned(x: Array, turn: Turn) -> Array:
    """Rotary position of x (B, N, H, D) by cosines and sines (N, D/2)."""
    cos, sin = turn[0][:, None], turn[1][:, None]
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

    def modulations(self, cond: Array) -> list[Modulation]:
        """What conditions (N, cond_dim) make of every norm, in order."""
        norms = [norm for block in self.blocks for norm in (block.norm_attention, block.norm_mlp)]
        return [_modulation(norm(cond)) for norm in (*norms, self.norm)]

    def __call__(
        self,
        x: Array,
        modulations: list[Modulation],
        turn: Turn,
        mask: npt.NDArray[np.bool_] | None,
        memory: FewMemory | None,
        is_told: bool = False,
    ) -> Array:
        """x (B, N, C); modulations for (B * N or 1) tokens. What is told is only remembered: nothing comes of it."""
        B, N, C = x.shape
        x, heads = x.reshape(B * N, C), self.heads
        for index, block in enumerate(self.blocks):
            qkv = block.qkv(normed(x, modulations[2 * index])).reshape(B, N, 3 * heads, C // heads)
            qk = turned(qkv[:, :, : 2 * heads], turn).transpose(0, 2, 1, 3)  # (B, 2H, N, D)
            q, k, v = qk[:, :heads], qk[:, heads:], qkv[:, :, 2 * heads :].transpose(0, 2, 1, 3)
            if memory is not None:
                k, v = memory.joined_few(index, k, v)
            if is_told and index == len(self.blocks) - 1:
                break
            x = x + block.out(attended(q, k, v, mask).reshape(B * N, C))
            x = x + block.mlp_out(gelu_tanh(block.mlp_in(normed(x, modulations[2 * index + 1]))))
        return normed(x, modulations[-1]).reshape(B, N, C)


def _modulation(made: Array) -> Modulation:
    size = made.shape[1] // 2
    made[:, :size] += 1
    return made[:, :size], made[:, size:]


class LeanGuide:
    """The weights of a `layers.GuideEncoder`."""

    def __init__(self, guide: Any) -> None:
        self.plan, self.mix, self.plan_null = Lines(guide.plan), Lines(guide.mix), array(guide.plan_null)
        self.has_texture = hasattr(guide, "texture_null")
        if self.has_texture:
            self.texture_null, self.pace = array(guide.texture_null), Lines(guide.pace)
            self.chroma, self.chroma_bias = array(guide.chroma.weight).T, array(guide.chroma.bias)
            self.remaining, self.echo = array(guide.remaining.weight), array(guide.echo.weight)
            self.class_start = np.arange(0, len(self.chroma), len(self.chroma) // 12)

    def for_rows(self, plan: Array, texture: TextureArrays | None, is_given: Given) -> Array:
        """Of N tokens, plan (N, 6) and texture, to several rows, of which some are given it: (rows, N, dim)."""
        known = ~np.isnan(plan)
        told = self.plan(np.concatenate([np.where(known, plan, 0), known], axis=-1, dtype=np.float32))
        null = self.plan_null
        if texture is not None:
            chroma, remaining, left, echo = texture
            told += np.add.reduce(self.chroma[self.class_start + chroma], axis=1)
            told += self.chroma_bias
            told += self.remaining[remaining.clip(0, len(self.remaining) - 1)]
            told += self.pace(np.stack([remaining / np.maximum(left, 1), left / 8], axis=-1).astype(np.float32))
            told += self.echo[echo]
            null = null + self.texture_null
        out = told[None]
        if len(is_given) > 1:
            out = np.where(is_given[:, None, None], told, null)
        out = out / (1 + np.exp(-out))
        return self.mix(out.reshape(out.shape[0] * len(plan), -1)).reshape(len(is_given), len(plan), -1)

    def __call__(self, plan: Array, plan_given: Given, texture: TextureArrays | None, texture_given: Given) -> Array:
        """plan (B, N, 6), texture of (B, N) tokens; given (B,): (B, N, dim)."""
        B, N, _ = plan.shape
        known = ~np.isnan(plan)
        cells = np.concatenate([np.where(known, plan, 0), known], axis=-1, dtype=np.float32)
        out = self.plan(cells.reshape(B * N, -1)).reshape(B, N, -1)
        out[~plan_given] = self.plan_null
        if texture is not None:
            chroma, remaining, left, echo = texture
            pace = np.stack([remaining / np.maximum(left, 1), left / 8], axis=-1).astype(np.float32)
            told = np.add.reduce(self.chroma[self.class_start + chroma], axis=2)
            told += self.chroma_bias
            told += self.remaining[remaining.clip(0, len(self.remaining) - 1)]
            told += self.pace(pace.reshape(B * N, 2)).reshape(B, N, -1)
            told += self.echo[echo]
            told[~texture_given] = self.texture_null
            out += told
        out /= 1 + np.exp(-out)
        return self.mix(out.reshape(B * N, -1)).reshape(B, N, -1)


class LeanLevel:
    """The weights of a `fractal.Level`: tokens, and what its trunk makes of them."""

    def __init__(self, level: Any) -> None:
        generator = level.generator
        self.span, self.head_dim = level.span, generator.trunk.head_dim
        self.is_sequential = hasattr(generator, "mask")
        self.blank = array(generator.mask if self.is_sequential else generator.query)
        self.content, self.down = Lines(generator.content), Lines(level.down)
        self.echo = None if level.echo is None else Lines(level.echo)
        self.step, self.length = array(generator.place.step.weight), array(generator.place.length.weight)
        self.trunk: LeanTrunk = generator.trunk.lean

    def said(
        self, tokens: Array, cond: Array, places: IntArray, mask: npt.NDArray[np.bool_], memory: FewMemory
    ) -> Array:
        """Hidden states (B, N, dim) of tokens (B, N, dim) at places, under cond (B * N, cond), mask (N, keys)."""
        turn = turn_at(places, self.head_dim)
        return self.trunk(tokens, self.trunk.modulations(cond), turn, mask, memory)

    def told(
        self, tokens: Array, cond: Array, places: IntArray, mask: npt.NDArray[np.bool_], memory: FewMemory
    ) -> None:
        """Puts tokens into the memory."""
        turn = turn_at(places, self.head_dim)
        self.trunk(tokens, self.trunk.modulations(cond), turn, mask, memory, is_told=True)
