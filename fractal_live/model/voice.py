"""A chord in the making, as its cells' leaf sees it: asked for scores, told what was chosen, note after note.

Two voices say the same: one asks the leaf's own modules, wherever they are; the lean one does their arithmetic
compiled, on a CPU. What they are told and what they answer are numpy arrays of N cells.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model import compiled
from fractal_live.model.cache import ChordCache
from fractal_live.model.layers import Trunk
from fractal_live.model.lean import Array, LeanTrunk, Lines, array, arrays, is_lean
from fractal_live.model.pitch import PITCHES, RECALL_MAPS, ChordTokens, Leaf, Memories, PitchRange, Recall

MOST_NOTES = PITCHES  # of a chord: each pitch once
Choice = npt.NDArray[np.int64]


class Voice(Protocol):
    """N cells' notes. Pitches below are -1 before the first note."""

    def pitch_scores(self) -> Array:
        """Of the next pitch and of stopping: (N, 129)."""

    def velocity_scores(self, pitch: Choice) -> Array:
        """Of the velocity bin of a next note of that pitch: (N, bins)."""

    def duration_scores(self, pitch: Choice, velocity: Choice) -> Array:
        """Of its duration class: (N, classes)."""

    def tell(self, pitch: Choice, velocity: Choice, duration: Choice) -> None:
        """The next note is this."""


class Voices:
    """The voices of a leaf whose weights stay as they are meanwhile."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.lean = LeanLeaf(leaf) if is_lean(leaf, leaf.pitch, 1) else None
        self.trunk = leaf.trunk.lean if isinstance(leaf.trunk, Trunk) else None

    def of(self, cond: Tensor, memories: Memories, low: Choice, high: Choice) -> Voice:
        """Of N cells in each branch: cond (branches * N, cond), pitches from `low` to `high` (N,)."""
        branches = len(memories.maps)
        low, high = np.tile(low, branches), np.tile(high, branches)
        if self.lean is not None and self.trunk is not None:
            return LeanVoice(self.lean, self.trunk, array(cond), memories, low, high)
        told = (memories.maps, memories.source, memories.grade)
        recall = self.leaf.recall(*(torch.from_numpy(values).to(cond.device) for values in told))
        within = PitchRange(*(torch.from_numpy(ends).to(cond.device) for ends in (low, high)))
        return PlainVoice(self.leaf, cond, recall, within)


class PlainVoice:
    def __init__(self, leaf: Leaf, cond: Tensor, recall: Recall, within: PitchRange) -> None:
        self.leaf, self.cond, self.recall, self.within = leaf, cond, recall, within
        self.table, self.memory, self.place = leaf.pitch_table(), leaf.new_memory(), 0
        self.token = leaf.begin(cond, recall)
        self.hidden = self.token
        self.below = torch.full((len(cond), 1), -1, device=cond.device)

    def pitch_scores(self) -> Array:
        self.hidden = self.leaf.hidden(self.token, self.cond, self.place, self.memory)
        scores = self.leaf.pitch_logits(self.hidden, self.below, self.recall, self.table, self.within)
        return array(scores[:, 0].cpu())

    def velocity_scores(self, pitch: Choice) -> Array:
        scores = self.leaf.velocity_logits(self.hidden, self._column(pitch), self.recall, self.table)
        return array(scores[:, 0].cpu())

    def duration_scores(self, pitch: Choice, velocity: Choice) -> Array:
        chosen = self._column(pitch), self._column(velocity)
        scores = self.leaf.duration_logits(self.hidden, *chosen, self.recall, self.table)
        return array(scores[:, 0].cpu())

    def tell(self, pitch: Choice, velocity: Choice, duration: Choice) -> None:
        self.below = self._column(pitch)
        notes = ChordTokens(self.below, self._column(velocity), self._column(duration))
        self.token, self.place = self.leaf.embed_notes(notes, self.table), self.place + 1

    def _column(self, values: Choice) -> Tensor:
        return torch.from_numpy(values)[:, None].to(self.cond.device)


class LeanLeaf:
    """A leaf's weights, and the products of them that no cell changes."""

    def __init__(self, leaf: Leaf) -> None:
        self.table = array(leaf.pitch_table())
        self.start, self.rhythm = Lines(leaf.start), Lines(leaf.rhythm)
        self.copied = array(leaf.copied * leaf.has_source)
        self.velocity, self.duration = array(leaf.velocity.weight), array(leaf.duration.weight)
        recall = leaf.recall
        assert recall.mix.bias is not None and recall.sweep.bias is not None, "both have a bias"
        self.sweep = array(recall.sweep.weight), array(recall.sweep.bias)
        self.pitch_arrays: Any = (
            self.table,
            array(leaf.pitch_bias),
            array(recall.mix.weight[:, :, 0]),
            array(recall.mix.bias),
            *(part for layer in (leaf.query, leaf.recall_gate, leaf.interval, leaf.stop) for part in arrays(layer)),
        )
        first, source, last = leaf.velocity_hidden, leaf.velocity_source, leaf.velocity_out
        self.velocity_arrays: Any = (array(source.weight), *arrays(first), *arrays(last))
        first, source, last = leaf.duration_hidden, leaf.duration_source, leaf.duration_out
        self.duration_arrays: Any = (array(source.weight), *arrays(first), *arrays(last))


class LeanVoice:
    def __init__(
        self, leaf: LeanLeaf, trunk: LeanTrunk, cond: Array, memories: Memories, low: Choice, high: Choice
    ) -> None:
        self.leaf, self.trunk = leaf, trunk
        blocks, heads = len(self.trunk.blocks), self.trunk.heads
        self.memory = ChordCache(blocks, len(cond), heads, MOST_NOTES + 1, trunk.head_dim)
        self.cond, self.under = cond, self.trunk.modulations(cond)
        maps = memories.maps.reshape(len(cond), RECALL_MAPS, PITCHES)
        self.features, self.source = (
            compiled.recalled(maps, *leaf.sweep),
            memories.source.reshape(len(cond), -1, PITCHES),
        )
        self.pull = leaf.copied[memories.grade.reshape(-1)]
        self.rows = np.arange(len(cond))
        self.low, self.high = low, high
        self.below = np.full(len(cond), -1)
        self.token = leaf.start(cond) + leaf.rhythm(maps.sum(axis=2))
        self.hidden = self.token

    def pitch_scores(self) -> Array:
        place = np.array([self.memory.length])
        self.memory.length += 1
        mask = np.ones((1, 1, self.memory.length), dtype=np.bool_)
        self.hidden = self.trunk(self.token[:, None], self.cond, place, mask, self.memory.few(), None, self.under)[:, 0]
        told = (self.hidden, self.below, self.low, self.high, self.features, self.source, self.pull)
        out: Array = compiled.pitch_scores(*told, *self.leaf.pitch_arrays)
        return out

    def velocity_scores(self, pitch: Choice) -> Array:
        told, leaf = self.leaf.table[pitch], self.leaf
        out: Array = compiled.value_scores(self.hidden, told, self._source(pitch), *leaf.velocity_arrays)
        return out

    def duration_scores(self, pitch: Choice, velocity: Choice) -> Array:
        told, leaf = self.leaf.table[pitch] + self.leaf.velocity[velocity], self.leaf
        out: Array = compiled.value_scores(self.hidden, told, self._source(pitch), *leaf.duration_arrays)
        return out

    def tell(self, pitch: Choice, velocity: Choice, duration: Choice) -> None:
        self.below = pitch
        self.token = self.leaf.table[pitch] + self.leaf.velocity[velocity] + self.leaf.duration[duration]

    def _source(self, pitch: Choice) -> Array:
        """What the echoed steps hold at those pitches: (N, 3)."""
        out: Array = self.source[self.rows, :, pitch]
        return out
