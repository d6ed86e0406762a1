"""The model's modules on a CPU, in compiled arithmetic: there torch spends more on the dispatch of its operators than
on what they do, and a bar is some hundred tokens one after another.

Each class has its slow twin among the modules whose weights it reads; the weights are read where they lie, so that
both always have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fractal_live.model import compiled
from fractal_live.model.attention import rotation
from fractal_live.model.cache import Kept
from fractal_live.model.grid import IntArray

Array = npt.NDArray[np.float32]
Turn = tuple[Array, Array]

Given = npt.NDArray[np.bool_]
TextureArrays = tuple[IntArray, IntArray, IntArray, IntArray]
"""Chroma levels, onsets and steps still to come, and echo class, as in `layers.Texture`."""

NO_TABLE = np.zeros((0, 0), dtype=np.float32)
NOTHING = np.zeros(0, dtype=np.int64)
NO_TEXTURE: TextureArrays = np.zeros((0, 12), dtype=np.int64), NOTHING, NOTHING, NOTHING

USUAL_PLACES = 1024  # of a level; a longer piece has more
MOST = 1024  # tokens at once; of more of them torch's several threads make less work


def is_lean(module: nn.Module, x: Tensor, tokens: int) -> bool:
    """Whether tokens are to be taken the lean way: in inference, on a CPU, in single precision."""
    return (
        compiled.HAS_COMPILER
        and tokens <= MOST
        and not torch.is_grad_enabled()
        and not module.training
        and x.dtype == torch.float32
        and x.device.type == "cpu"
    )


def array(x: Tensor) -> Array:
    """The same numbers, not copied."""
    out: Array = x.detach().numpy()
    return out


PACKED = "_packed"
STEPS = 32767  # of a packed weight from 0 to the largest of its line


def pack(model: nn.Module) -> None:
    """Gives every linear layer of a model whose weights stay as they are a second form, in 16 bits: a bar reads each
    weight some thirty times and has little to do with it, so that its time is that of the reading."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            weight = array(layer.weight)
            scale = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny) / np.float32(STEPS)
            setattr(layer, PACKED, (np.rint(weight / scale[:, None]).astype(np.int16), scale.astype(np.float32)))


def is_packed(layer: nn.Linear) -> bool:
    """Whether its weights stay as they are."""
    return hasattr(layer, PACKED)


def arrays(layer: nn.Linear) -> tuple[compiled.Weight, Array, Array]:
    """Weight, scale and bias of a linear layer, for `compiled.lines`: packed if it is, else where they lie."""
    bias = compiled.NONE if layer.bias is None else array(layer.bias)
    weight, scale = getattr(layer, PACKED, None) or (array(layer.weight), compiled.NONE)
    return weight, scale, bias


class Lines:
    """A linear layer: x (N, in) to (N, out)."""

    __slots__ = ("arrays",)

    def __init__(self, layer: nn.Linear) -> None:
        self.arrays = arrays(layer)

    def __call__(self, x: Array) -> Array:
        out = np.empty((len(x), len(self.arrays[0])), dtype=np.float32)
        compiled.lines(x, *self.arrays, out)
        return out


@lru_cache(maxsize=8)
def turns(places: int, dim: int) -> Turn:
    """`attention.rotation` of the first so many places, for heads of width `dim`."""
    with torch.inference_mode():
        cos, sin = rotation(torch.arange(places), dim)
    return array(cos), array(sin)


def turn_at(places: IntArray, dim: int) -> Turn:
    """The rotation of places (N,): (N, dim/2) each."""
    cos, sin = turns(USUAL_PLACES, dim)
    try:
        return cos[places], sin[places]
    except IndexError:
        cos, sin = turns(1 << int(places.max()).bit_length(), dim)
        return cos[places], sin[places]


class LeanTrunk:
    """The weights of a `layers.Trunk`."""

    def __init__(self, trunk: Any, heads: int) -> None:
        self.heads, self.head_dim = heads, trunk.head_dim
        norms = [norm for block in trunk.blocks for norm in (block.norm_attention, block.norm_mlp)]
        self.norms = [norm.modulation for norm in (*norms, trunk.norm)]
        layers = [(block.qkv, block.out, block.mlp_in, block.mlp_out) for block in trunk.blocks]
        self.together: tuple[Any, Any] | None = None
        if is_packed(self.norms[0]):  # these stay as they are, so that they may stand together, to be asked in one call
            each = [_together(alike) for alike in zip(*layers, strict=True)]
            self.together = _together(self.norms), [part for parts in each for part in parts]
        self.blocks: Any = [[part for layer in of_block for part in arrays(layer)] for of_block in layers]

    def rest_of_memory(self, tokens: int) -> list[IntArray]:
        """The `rest` of so many tokens that are only to be remembered: nothing comes of them."""
        every = np.arange(tokens)
        return [*[every] * (len(self.blocks) - 1), every[:0]]

    def modulations(self, cond: Array) -> Array:
        """What conditions (N, cond_dim) make of every norm, in order: scale and shift, (norms, N, 2C)."""
        if self.together is None:
            return np.stack([Lines(norm)(cond) for norm in self.norms])
        out: Array = compiled.modulations(cond, *self.together[0])
        return out

    def __call__(
        self,
        x: Array,
        cond: Array,
        places: IntArray,
        mask: npt.NDArray[np.bool_],
        memory: Kept | None = None,
        rest: Sequence[IntArray] | None = None,
        modulations: Array | None = None,
    ) -> Array:
        """x (B, N, C) at places (N,), under conditions (B or B * N, cond) or what is known of their modulations; mask
        (B or 1, N or 1, columns) True where seen; `rest` as in `layers.Trunk.remember`. Returns (B, N, C), or those
        that are left."""
        B, N = x.shape[:2]
        slots = every = np.arange(N)
        if memory is None:
            shape = (2, len(self.blocks), B, self.heads, N, self.head_dim)
            keys, values = np.empty(shape, dtype=np.float32)
            seen = keys, values, every, 0, N, True
        else:
            slots = places
            seen = memory.keys, memory.values, slots, memory.low, memory.high, memory.is_kept
        cos, sin = turn_at(places, self.head_dim)
        narrows = rest is not None and any(len(left) < N for left in rest[:-1])
        if self.together is not None and not narrows:
            under = self.modulations(cond) if modulations is None else modulations
            left = every if rest is None else rest[-1]
            arguments: Any = (*self.together[1], cos, sin, mask, *seen, left)
            return compiled.trunk(x, under, *arguments)
        return self._block_by_block(x, cond, cos, sin, mask, seen, rest or [every] * len(self.blocks))

    def _block_by_block(
        self,
        x: Array,
        cond: Array,
        cos: Array,
        sin: Array,
        mask: npt.NDArray[np.bool_],
        seen: tuple[Array, Array, IntArray, int, int, bool],
        rest: Sequence[IntArray],
    ) -> Array:
        """Of weights that may change, or of tokens of which fewer and fewer matter: their norms are asked only of those
        that are left."""
        B, _, C = x.shape
        keys, values, slots, *held = seen
        for index, (block, left) in enumerate(zip(self.blocks, rest, strict=True)):
            before = Lines(self.norms[2 * index])(cond)
            cond = _of(cond, B, left)
            after = Lines(self.norms[2 * index + 1])(cond)
            arguments: Any = (*block, cos, sin, mask, keys[index], values[index], slots, *held, left)
            x = compiled.block(x, before, after, *arguments)
            if not len(left):
                return x
            cos, sin, slots = cos[left], sin[left], slots[left]
            mask = mask if mask.shape[1] == 1 else mask[:, left]
        last, flat = Lines(self.norms[-1])(cond), x.reshape(-1, C)
        out = np.empty_like(flat)
        compiled.normed(flat, last, np.arange(len(flat)) // (len(flat) // len(last)), out)
        return out.reshape(x.shape)


def _together(layers: Sequence[nn.Linear]) -> list[Array]:
    """The arrays of packed layers of one shape, each kind of them as one; the layers keep views of it."""
    whole = [np.stack(parts) for parts in zip(*(arrays(layer) for layer in layers), strict=True)]
    for index, layer in enumerate(layers):
        setattr(layer, PACKED, (whole[0][index], whole[1][index]))
    return whole


def _of(cond: Array, B: int, left: IntArray) -> Array:
    """What of conditions (B or B * N, cond) is of the tokens left."""
    if len(cond) == B:
        return cond
    out: Array = cond.reshape(B, -1, cond.shape[1])[:, left].reshape(B * len(left), cond.shape[1])
    return out


class LeanSteps:
    """The weights of a `layers.StepEncoder`."""

    def __init__(self, steps: Any) -> None:
        sweeps = [array(weights) for layer in (steps.sweep, steps.refine) for weights in (layer.weight, layer.bias)]
        self.arrays: Any = (*sweeps, *arrays(steps.project))

    def __call__(self, content: Array) -> Array:
        """content (N, 3, 128): (N, step_dim)."""
        out: Array = compiled.step_codes(content, *self.arrays)
        return out


class LeanGuide:
    """The weights of a `layers.GuideEncoder`."""

    def __init__(self, guide: Any) -> None:
        has_texture = hasattr(guide, "texture_null")
        null = array(guide.plan_null) + (array(guide.texture_null) if has_texture else np.float32(0))
        texture: list[Any] = [NO_TABLE, compiled.NONE, NO_TABLE, NO_TABLE, compiled.NONE, NO_TABLE]
        if has_texture:
            chroma, pace, tables = guide.chroma, guide.pace, (guide.remaining, guide.echo)
            remaining, echo = (array(table.weight) for table in tables)
            texture = [array(chroma.weight), array(chroma.bias), remaining, array(pace.weight), array(pace.bias), echo]
        self.arrays: Any = (*arrays(guide.plan), null, *arrays(guide.mix), *texture)

    def conditions(self, parent: Array, plan: Array, texture: TextureArrays | None, is_given: Given) -> Array:
        """Of N tokens, what is handed down (rows, N, P), beside what plan (N, 6) and texture say to rows of which some
        are given it: (rows * N, P + dim)."""
        told = NO_TEXTURE if texture is None else texture
        out: Array = compiled.conditions(parent, plan, is_given, *told, *self.arrays)
        return out


class LeanLevel:
    """The weights of a `fractal.Level`: tokens, and what its trunk makes of them."""

    def __init__(self, level: Any) -> None:
        generator = level.generator
        self.span = level.span
        self.is_sequential = hasattr(generator, "mask")
        self.blank = array(generator.mask if self.is_sequential else generator.query)
        self.content, self.down = Lines(generator.content), Lines(level.down)
        self.echo = None if level.echo is None else Lines(level.echo)
        self.step, self.length = array(generator.place.step.weight), array(generator.place.length.weight)
        self.trunk: LeanTrunk = generator.trunk.lean

    def said(
        self,
        tokens: Array,
        cond: Array,
        places: IntArray,
        mask: npt.NDArray[np.bool_],
        memory: Kept,
        rest: Sequence[IntArray] | None = None,
    ) -> Array:
        """Hidden states (B, N, dim) of tokens (B, N, dim) at places, under cond (B * N, cond), mask (1, N, keys), or of
        those that `rest` leaves."""
        return self.trunk(tokens, cond, places, mask, memory, rest)
