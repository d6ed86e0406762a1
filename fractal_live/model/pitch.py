"""The leaf: the notes of one step, one by one from the lowest pitch, ending with a stop.

Each note is pitch, then velocity given pitch, then duration given both: an exact likelihood. The pitch
is scored by absolute position (with shared parts for pitch class and octave), by interval to the note
below, by a memory of which pitches sounded recently (`PitchRecall`), and by what the echoed step does next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.cache import KVCache
from fractal_live.model.compiled import ZERO, Array, Mask, Places, compiled
from fractal_live.model.config import DURATIONS, ECHO_STRENGTHS, VELOCITY_BINS, ModelConfig
from fractal_live.model.layers import AdaLN, Trunk

PITCHES = 128
STOP = PITCHES
DECAYS = (2.0, 8.0, 32.0)
NEAR_STEPS = 32
LAGS = (8, 16, 32, 64, 128)
RECALL_STEPS = max(LAGS)
RECALL_MAPS = len(DECAYS) + len(LAGS) + 2
SOURCE_FEATURES = 3
FADING = np.exp(-np.arange(NEAR_STEPS, 0, -1) / np.array(DECAYS)[:, None]).astype(np.float32)
RECALL_LAGS = np.array(LAGS)
ONE_STEP = np.float32(1 / 16)  # of what a note still sounds
GRADES = len(ECHO_STRENGTHS) + 1


def recall_maps(seen: Tensor, distance: Tensor, onsets: Tensor, held: Tensor, echoed: Tensor) -> Tensor:
    """What is remembered of each pitch at each of T steps: (B, T, maps, 128). Onsets of the last two bars, fading
    at three rates; onsets exactly half a bar, one, two, four and eight bars of 4/4 ago; what sounds on; and the
    onsets of what is echoed.

    seen (B, T, S) bool, distance (T, S) = t - s in steps, onsets (B, S, 128), held (B, T, 128) remaining
    steps/16, echoed (B, T, 128). Of the first two kinds only the past counts."""
    near = seen & (distance > 0) & (distance <= NEAR_STEPS)
    far = distance.clamp(min=0).float()
    fading = torch.stack([torch.exp(-far / decay) for decay in DECAYS]).to(onsets.dtype) * near[:, None]
    traces = torch.einsum("bmts,bsp->btmp", fading, onsets)
    exact = [_lagged(seen, distance, onsets, lag) for lag in LAGS]
    others = torch.stack([*exact, held, echoed.to(traces.dtype)], dim=2)
    return torch.cat([traces, others], dim=2)


def _lagged(seen: Tensor, distance: Tensor, onsets: Tensor, lag: int) -> Tensor:
    """The onsets exactly `lag` steps before each step, where seen: (B, T, 128)."""
    is_there, source = (distance == lag).max(dim=1)  # (T,) each
    there = seen[:, torch.arange(len(source), device=seen.device), source] & is_there
    return onsets[:, source] * there[..., None]


@dataclass(frozen=True, slots=True)
class Memories:
    """What N steps remember in each branch, in numpy: maps (branches, N, RECALL_MAPS, 128) as `recall_maps` says; the
    content of the steps they echo (branches, N, 3, 128), and how closely, 0 for not at all to 3 for exactly (branches,
    N)."""

    maps: Array
    source: Array
    grade: npt.NDArray[np.int64]


@compiled
def remembered(
    content: Array,
    step_last: Places,
    steps: Places,
    orders: Places,
    source: Places,
    strength: Array,
    is_given: Mask,
    fading: Array,
    lags: Places,
) -> tuple[Array, Array]:
    """The maps and the echoed content of `Memories`: content (T, 3, 128) as it is visible, known of each step from when
    on, step_last (T,); the steps (N,) opened at `orders` (N,) echo the steps `source` (N,) in the branches that are
    given it (branches,), at a strength (N,), 0 where they echo nothing."""
    branches, N, P = len(is_given), len(steps), content.shape[2]
    decays, near = fading.shape
    maps = np.zeros((branches, N, decays + len(lags) + 2, P), dtype=np.float32)
    echoed = np.zeros((branches, N, content.shape[1], P), dtype=np.float32)
    for n in range(N):
        step, order = steps[n], orders[n]
        own = maps[0, n]
        for s in range(max(0, step - near), step):
            if step_last[s] < order:
                for p in range(P):
                    if content[s, 0, p] != ZERO:
                        for decay in range(decays):
                            own[decay, p] += fading[decay, near - (step - s)] * content[s, 0, p]
        for lag in range(len(lags)):
            s = step - lags[lag]
            if s >= 0 and step_last[s] < order:
                own[decays + lag] = content[s, 0]
        if step and step_last[step - 1] < order:
            for p in range(P):
                own[decays + len(lags), p] = max(content[step - 1, 2, p] - ONE_STEP, ZERO)
        for branch in range(branches):
            if branch:
                maps[branch, n] = own
            if is_given[branch] and strength[n] > ZERO:
                echoed[branch, n] = content[source[n]]
    for branch in range(branches):
        for n in range(N):
            for p in range(P):
                maps[branch, n, -1, p] = echoed[branch, n, 0, p] * strength[n]
    return maps, echoed


@dataclass(frozen=True, slots=True)
class Recall:
    """The memory of N steps: features of each pitch (N, channels, 128); how much of each map there is over all
    pitches (N, maps), the rhythm of what is remembered; the content of the step that is echoed (N, 3, 128), and how
    closely, 0 for not at all to 3 for exactly (N,)."""

    features: Tensor
    rhythm: Tensor
    source: Tensor
    grade: Tensor

    def rows(self, chosen: Tensor) -> Recall:
        return Recall(self.features[chosen], self.rhythm[chosen], self.source[chosen], self.grade[chosen])


class PitchRecall(nn.Module):
    """Remembered pitches as features of each pitch, mixed over two octaves of neighbours."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.recall_channels
        self.sweep = nn.Conv1d(RECALL_MAPS, channels, kernel_size=25, padding=12)
        self.mix = nn.Conv1d(channels, channels, kernel_size=1)

    def forward(self, maps: Tensor, source: Tensor, grade: Tensor) -> Recall:
        """maps (B, T, maps, 128) from `recall_maps`, source (B, T, 3, 128) and grade (B, T), as N = B*T steps."""
        flat = maps.flatten(0, 1)
        return Recall(F.gelu(self.sweep(flat)), flat.sum(-1), source.flatten(0, 1), grade.flatten())

    def scores(self, gate: Tensor, features: Tensor) -> Tensor:
        """What is remembered as scores of pitches: gate (N, K, channels), features (N, channels, 128): (N, K, 128). The
        mix is linear, so that it is applied to the few gates instead of to every pitch."""
        weight, bias = self.mix.weight[:, :, 0], self.mix.bias
        assert bias is not None, "the mix has a bias"
        return (gate @ weight) @ features.to(gate.dtype) + gate @ bias[:, None]


@dataclass(frozen=True, slots=True)
class ChordTokens:
    """Notes of N steps, each row padded at the end: (N, K) int64."""

    pitch: Tensor
    velocity: Tensor
    duration: Tensor


class ChordLSTM(nn.Module):
    """The leaf's other trunk: an LSTM over the notes of a step, its condition beside every input."""

    def __init__(self, dim: int, blocks: int, cond_dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim + cond_dim, dim, blocks, batch_first=True)
        self.norm = AdaLN(dim, cond_dim)

    def forward(self, x: Tensor, cond: Tensor, memory: LSTMState | None = None) -> Tensor:
        """x (N, K, dim), cond (N, 1, cond_dim): (N, K, dim)."""
        joined = torch.cat([x, cond.expand(-1, x.shape[1], -1)], dim=-1)
        hidden, state = self.lstm(joined, None if memory is None else memory.state)
        if memory is not None:
            memory.state = state
        out: Tensor = self.norm(x + hidden, cond)
        return out


@dataclass(slots=True)
class LSTMState:
    """Where an LSTM stands: hidden and cell state, None before the first note."""

    state: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class PitchRange:
    """The pitches that N steps may choose from, ends included: (N,) int each."""

    low: Tensor
    high: Tensor


class Leaf(nn.Module):
    def __init__(self, config: ModelConfig, cond_dim: int) -> None:
        super().__init__()
        dim, leaf = config.leaf.embed_dim, config.leaf
        self.recall = PitchRecall(config)
        self.start = nn.Linear(cond_dim, dim)
        self.rhythm = nn.Linear(RECALL_MAPS, dim)
        nn.init.zeros_(self.rhythm.weight)
        nn.init.zeros_(self.rhythm.bias)
        self.pitch = nn.Parameter(torch.randn(PITCHES, dim) * 0.02)
        self.pitch_class = nn.Parameter(torch.randn(12, dim) * 0.02)
        self.octave = nn.Parameter(torch.randn(11, dim) * 0.02)
        self.velocity = nn.Embedding(VELOCITY_BINS, dim)
        self.duration = nn.Embedding(len(DURATIONS), dim)
        self.is_lstm = leaf.kind == "lstm"
        self.trunk: nn.Module = (
            ChordLSTM(dim, leaf.num_blocks, cond_dim)
            if self.is_lstm
            else Trunk(dim, leaf.num_blocks, leaf.num_heads, cond_dim, config)
        )
        self.query = nn.Linear(dim, dim)
        self.stop = nn.Linear(dim, 1)
        self.pitch_bias = nn.Parameter(torch.zeros(PITCHES))
        self.interval = nn.Linear(dim, PITCHES)
        self.recall_gate = nn.Linear(dim, config.recall_channels)
        self.copied = nn.Parameter(torch.zeros(GRADES))
        self.velocity_hidden = nn.Linear(dim, dim)
        self.velocity_source = nn.Linear(SOURCE_FEATURES, dim, bias=False)
        self.velocity_out = nn.Linear(dim, VELOCITY_BINS)
        self.duration_hidden = nn.Linear(dim, dim)
        self.duration_source = nn.Linear(SOURCE_FEATURES, dim, bias=False)
        self.duration_out = nn.Linear(dim, len(DURATIONS))
        for layer in (self.velocity_source, self.duration_source):
            nn.init.zeros_(layer.weight)
        self.register_buffer("has_source", torch.arange(GRADES) > 0, persistent=False)
        self.has_source: Tensor

    def new_memory(self) -> KVCache | LSTMState:
        """An empty memory for the notes of some steps."""
        return LSTMState() if self.is_lstm else KVCache()

    def pitch_table(self) -> Tensor:
        """(128, dim): what each pitch is, as input and as output."""
        index = torch.arange(PITCHES, device=self.pitch.device)
        return self.pitch + self.pitch_class[index % 12] + self.octave[index // 12]

    def embed_notes(self, notes: ChordTokens, table: Tensor) -> Tensor:
        out: Tensor = table[notes.pitch] + self.velocity(notes.velocity) + self.duration(notes.duration)
        return out

    def begin(self, cond: Tensor, recall: Recall) -> Tensor:
        """The first token of a step: (N, 1, dim) from its condition (N, cond_dim) and its memory."""
        out: Tensor = (self.start(cond) + self.rhythm(recall.rhythm.to(cond.dtype)))[:, None]
        return out

    def hidden(self, tokens: Tensor, cond: Tensor, start: int = 0, memory: KVCache | LSTMState | None = None) -> Tensor:
        """tokens (N, K, dim) at places start...; causal over the chord."""
        if self.is_lstm:
            recurrent: Tensor = self.trunk(tokens, cond[:, None], memory)
            return recurrent
        K = tokens.shape[1]
        positions = torch.arange(start, start + K, device=tokens.device)
        keys = torch.arange(0 if memory is not None else start, start + K, device=tokens.device)
        mask = positions[:, None] >= keys
        out: Tensor = self.trunk(tokens, cond[:, None], positions, mask[None, None], memory)
        return out

    def pitch_logits(self, hidden: Tensor, below: Tensor, recall: Recall, table: Tensor, within: PitchRange) -> Tensor:
        """Scores of the 128 pitches and of stopping: (N, K, 129). hidden (N, K, dim); below (N, K) is the
        pitch of the note before, -1 for none. A pitch not above `below` or out of range cannot be chosen. Whatever
        the echoed step does next, striking its next pitch above `below` or stopping, is pulled at by its grade."""
        absolute = F.linear(self.query(hidden), table, self.pitch_bias)
        index = torch.arange(PITCHES, device=hidden.device)
        distance = index - below[..., None]  # (N, K, 128)
        interval = self.interval(hidden).gather(-1, distance.clamp(0, PITCHES - 1))
        relative = torch.where(below[..., None] >= 0, interval, torch.zeros_like(interval))
        recalled = self.recall.scores(self.recall_gate(hidden), recall.features)
        inside = (index >= within.low[:, None]) & (index <= within.high[:, None])  # (N, 128)
        allowed = (distance > 0) & inside[:, None]
        scores = (absolute + relative + recalled).float().masked_fill(~allowed, float("-inf"))
        scores = torch.cat([scores, self.stop(hidden).float()], dim=-1)
        struck = F.pad((recall.source[:, None, 0] > 0) & allowed, (0, 1), value=True)
        due = struck.int().argmax(-1, keepdim=True)  # the next pitch of the echoed step, or that it stops
        pull = (self.copied * self.has_source)[recall.grade].float()
        return scores.scatter_add(-1, due, pull[:, None, None].expand_as(due).to(scores.dtype))

    def velocity_logits(self, hidden: Tensor, pitch: Tensor, recall: Recall, table: Tensor) -> Tensor:
        seen = self.velocity_hidden(hidden) + table[pitch] + self.velocity_source(_at(recall.source, pitch))
        out: Tensor = self.velocity_out(F.gelu(seen))
        return out.float()

    def duration_logits(self, hidden: Tensor, pitch: Tensor, velocity: Tensor, recall: Recall, table: Tensor) -> Tensor:
        seen = self.duration_hidden(hidden) + table[pitch] + self.velocity(velocity)
        out: Tensor = self.duration_out(F.gelu(seen + self.duration_source(_at(recall.source, pitch))))
        return out.float()

    def nll(
        self, notes: ChordTokens, count: Tensor, cond: Tensor, recall: Recall, within: PitchRange
    ) -> dict[str, Tensor]:
        """Negative log-likelihood in nats of the notes of N steps: pitch and stop, velocity, duration, each
        (N,). notes are padded to K, count (N,) says how many are real; cond (N, cond_dim)."""
        K = notes.pitch.shape[1]
        table = self.pitch_table()
        tokens = torch.cat(
            [self.begin(cond, recall), self.embed_notes(notes, table).to(cond.dtype)], dim=1
        )  # (N, K+1, dim)
        hidden = self.hidden(tokens, cond)
        below = F.pad(notes.pitch, (1, 0), value=-1)
        place = torch.arange(K + 1, device=cond.device)
        is_note = place[:K] < count[:, None]
        target = F.pad(notes.pitch, (0, 1), value=STOP).masked_fill(place >= count[:, None], STOP)
        below = below.masked_fill(place > count[:, None], -1)
        scores = self.pitch_logits(hidden, below, recall, table, within)
        pitch = F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none").view(-1, K + 1)
        result = {"pitch": (pitch * (place <= count[:, None])).sum(1)}
        zero = torch.zeros_like(result["pitch"])
        result["velocity"] = result["duration"] = zero
        if K:
            state = hidden[:, :K]
            velocity = self.velocity_logits(state, notes.pitch, recall, table)
            duration = self.duration_logits(state, notes.pitch, notes.velocity, recall, table)
            for name, logits, wanted in (
                ("velocity", velocity, notes.velocity),
                ("duration", duration, notes.duration),
            ):
                loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(-1, K)
                result[name] = (loss * is_note).sum(1)
        return result


def _at(source: Tensor, pitch: Tensor) -> Tensor:
    """What the echoed steps (N, 3, 128) hold at pitches (N, K): (N, K, 3)."""
    index = pitch[:, None].expand(-1, source.shape[1], -1)
    return source.gather(2, index).transpose(1, 2)
