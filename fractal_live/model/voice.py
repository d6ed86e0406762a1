"""A chord in the making, as its cells' leaf sees it: asked for scores, told what was chosen, note after note.

Two voices say the same: one asks the leaf's own modules, wherever they are; the lean one does their arithmetic in numpy
where a few cells are made on a CPU. What they are told and what they answer are numpy arrays of N cells.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model.cache import FewKVCache
from fractal_live.model.layers import Trunk
from fractal_live.model.lean import FEW, Array, Lines, array, gelu, is_lean, turns
from fractal_live.model.pitch import PITCHES, ChordTokens, Leaf, PitchRange, Recall

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

    def of(self, cond: Tensor, recall: Recall, within: PitchRange) -> Voice:
        """Of N cells: cond (N, cond), recall and within (N, ...)."""
        if self.lean is not None and isinstance(self.leaf.trunk, Trunk) and len(cond) <= FEW:
            return LeanVoice(self.lean, self.leaf.trunk, array(cond), recall, within)
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
        self.query, self.stop, self.interval = Lines(leaf.query), Lines(leaf.stop), Lines(leaf.interval)
        self.gate, self.pitch_bias = Lines(leaf.recall_gate), array(leaf.pitch_bias)
        self.copied = array(leaf.copied * leaf.has_source)
        assert leaf.recall.mix.bias is not None, "the mix has a bias"
        self.mix, self.mix_bias = array(leaf.recall.mix.weight[:, :, 0]), array(leaf.recall.mix.bias)
        self.velocity, self.duration = array(leaf.velocity.weight), array(leaf.duration.weight)
        self.velocity_hidden, self.velocity_source = Lines(leaf.velocity_hidden), Lines(leaf.velocity_source)
        self.duration_hidden, self.duration_source = Lines(leaf.duration_hidden), Lines(leaf.duration_source)
        self.velocity_out, self.duration_out = Lines(leaf.velocity_out), Lines(leaf.duration_out)


class LeanVoice:
    def __init__(self, leaf: LeanLeaf, trunk: Trunk, cond: Array, recall: Recall, within: PitchRange) -> None:
        self.leaf, self.trunk, self.memory, self.place = leaf, trunk.lean, FewKVCache(), 0
        self.modulations = self.trunk.modulations(cond)
        self.features, self.source = array(recall.features), array(recall.source)
        self.pull = leaf.copied[recall.grade.numpy()]
        self.index, self.rows = np.arange(PITCHES), np.arange(len(cond))
        low, high = within.low.numpy()[:, None], within.high.numpy()[:, None]
        self.inside = (self.index >= low) & (self.index <= high)
        self.below = np.full(len(cond), -1)
        self.token = leaf.start(cond) + leaf.rhythm(array(recall.rhythm))
        self.hidden = self.token
        self.turn = turns(MOST_NOTES + 1, trunk.head_dim)

    def pitch_scores(self) -> Array:
        leaf = self.leaf
        here = slice(self.place, self.place + 1)
        turn = self.turn[0][here], self.turn[1][here]
        self.hidden = self.trunk(self.token[:, None], self.modulations, turn, None, self.memory)[:, 0]
        scores = np.empty((len(self.hidden), PITCHES + 1), dtype=np.float32)
        scores[:, :PITCHES] = leaf.query(self.hidden) @ leaf.table.T + leaf.pitch_bias
        gate = leaf.gate(self.hidden)
        recalled = np.matmul((gate @ leaf.mix)[:, None], self.features)[:, 0]
        scores[:, :PITCHES] += recalled + (gate @ leaf.mix_bias)[:, None]
        allowed = self.inside
        if self.place:
            distance = self.index - self.below[:, None]
            scores[:, :PITCHES] += leaf.interval(self.hidden)[self.rows[:, None], distance.clip(0)]
            allowed = allowed & (distance > 0)
        scores[:, :PITCHES][~allowed] = -np.inf
        scores[:, PITCHES] = leaf.stop(self.hidden)[:, 0]
        struck = (self.source[:, 0] > 0) & allowed
        due = np.where(struck.any(1), struck.argmax(1), PITCHES)
        scores[self.rows, due] += self.pull
        return scores

    def velocity_scores(self, pitch: Choice) -> Array:
        leaf = self.leaf
        seen = leaf.velocity_hidden(self.hidden) + leaf.table[pitch] + leaf.velocity_source(self._source(pitch))
        return leaf.velocity_out(gelu(seen))

    def duration_scores(self, pitch: Choice, velocity: Choice) -> Array:
        leaf = self.leaf
        seen = leaf.duration_hidden(self.hidden) + leaf.table[pitch] + leaf.velocity[velocity]
        return leaf.duration_out(gelu(seen + leaf.duration_source(self._source(pitch))))

    def tell(self, pitch: Choice, velocity: Choice, duration: Choice) -> None:
        self.below, self.place = pitch, self.place + 1
        self.token = self.leaf.table[pitch] + self.leaf.velocity[velocity] + self.leaf.duration[duration]

    def _source(self, pitch: Choice) -> Array:
        """What the echoed steps hold at those pitches: (N, 3)."""
        out: Array = self.source[self.rows, :, pitch]
        return out
