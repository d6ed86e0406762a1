"""The leaf: the notes of one step, one by one from the lowest pitch, ending with a stop.

Each note is pitch, then velocity given pitch, then duration given both: an exact likelihood. The pitch
is scored by absolute position (with shared parts for pitch class and octave), by interval to the note
below, and by a memory of which pitches sounded recently (`PitchRecall`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.config import DURATIONS, VELOCITY_BINS, ModelConfig
from fractal_live.model.layers import KVCache, Trunk

PITCHES = 128
STOP = PITCHES
DECAYS = (2.0, 8.0, 32.0)
NEAR_STEPS = 32
LAGS = (8, 16, 32, 64, 128)
RECALL_STEPS = max(LAGS)
RECALL_MAPS = len(DECAYS) + len(LAGS) + 1


def recall_maps(seen: Tensor, distance: Tensor, onsets: Tensor, held: Tensor) -> Tensor:
    """What is remembered of each pitch at each of T steps: (B, T, maps, 128). Onsets of the last two bars, fading
    at three rates; onsets exactly half a bar, one, two, four and eight bars of 4/4 ago; and what sounds on.

    seen (B, T, S) bool, distance (T, S) = t - s in steps, onsets (B, S, 128), held (B, T, 128) remaining
    steps/16. Only the past counts."""
    past = seen & (distance > 0)
    far = distance.clamp(min=0).float()
    fading = [torch.exp(-far / decay) * (past & (distance <= NEAR_STEPS)) for decay in DECAYS]
    exact = [(past & (distance == lag)).float() for lag in LAGS]
    weights = torch.stack(fading + exact, dim=1).to(onsets.dtype)  # (B, maps - 1, T, S)
    traces = torch.einsum("bmts,bsp->btmp", weights, onsets)
    return torch.cat([traces, held[:, :, None]], dim=2)


@dataclass(frozen=True, slots=True)
class Recall:
    """The memory of N steps: features of each pitch (N, channels, 128), and how much of each map there is over
    all pitches (N, maps): the rhythm of what is remembered."""

    features: Tensor
    rhythm: Tensor


class PitchRecall(nn.Module):
    """Remembered pitches as features of each pitch, mixed over two octaves of neighbours."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.recall_channels
        self.sweep = nn.Conv1d(RECALL_MAPS, channels, kernel_size=25, padding=12)
        self.mix = nn.Conv1d(channels, channels, kernel_size=1)

    def forward(self, maps: Tensor) -> Recall:
        """maps (B, T, maps, 128) from `recall_maps`, taken as N = B*T steps."""
        flat = maps.flatten(0, 1)
        return Recall(self.mix(F.gelu(self.sweep(flat))), flat.sum(-1))


@dataclass(frozen=True, slots=True)
class ChordTokens:
    """Notes of N steps, each row padded at the end: (N, K) int64."""

    pitch: Tensor
    velocity: Tensor
    duration: Tensor


class Leaf(nn.Module):
    def __init__(self, config: ModelConfig, cond_dim: int) -> None:
        super().__init__()
        dim = config.leaf.embed_dim
        self.low, self.high = config.pitch_low, config.pitch_high
        self.start = nn.Linear(cond_dim, dim)
        self.rhythm = nn.Linear(RECALL_MAPS, dim)
        nn.init.zeros_(self.rhythm.weight)
        nn.init.zeros_(self.rhythm.bias)
        self.pitch = nn.Parameter(torch.randn(PITCHES, dim) * 0.02)
        self.pitch_class = nn.Parameter(torch.randn(12, dim) * 0.02)
        self.octave = nn.Parameter(torch.randn(11, dim) * 0.02)
        self.velocity = nn.Embedding(VELOCITY_BINS, dim)
        self.duration = nn.Embedding(len(DURATIONS), dim)
        self.trunk = Trunk(config.leaf, cond_dim, config.mlp_ratio)
        self.query = nn.Linear(dim, dim)
        self.stop = nn.Linear(dim, 1)
        self.pitch_bias = nn.Parameter(torch.zeros(PITCHES))
        self.interval = nn.Linear(dim, PITCHES)
        self.recall_gate = nn.Linear(dim, config.recall_channels)
        self.velocity_hidden = nn.Linear(dim, dim)
        self.velocity_out = nn.Linear(dim, VELOCITY_BINS)
        self.duration_hidden = nn.Linear(dim, dim)
        self.duration_out = nn.Linear(dim, len(DURATIONS))

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

    def hidden(self, tokens: Tensor, cond: Tensor, start: int = 0, cache: KVCache | None = None) -> Tensor:
        """tokens (N, K, dim) at places start...; causal over the chord."""
        K = tokens.shape[1]
        held = 0 if cache is None else len(cache)
        positions = torch.arange(start, start + K, device=tokens.device)
        mask = positions[:, None] >= torch.arange(start - held, start + K, device=tokens.device)
        out: Tensor = self.trunk(tokens, cond[:, None], positions, mask[None, None], cache)
        return out

    def pitch_logits(self, hidden: Tensor, below: Tensor, recall: Recall, table: Tensor) -> Tensor:
        """Scores of the 128 pitches and of stopping: (N, K, 129). hidden (N, K, dim); below (N, K) is the
        pitch of the note before, -1 for none. A pitch not above `below` or out
        of range cannot be chosen."""
        absolute = F.linear(self.query(hidden), table, self.pitch_bias)
        distance = torch.arange(PITCHES, device=hidden.device) - below[..., None]  # (N, K, 128)
        interval = self.interval(hidden).gather(-1, distance.clamp(0, PITCHES - 1))
        relative = torch.where(below[..., None] >= 0, interval, torch.zeros_like(interval))
        recalled = self.recall_gate(hidden) @ recall.features.to(hidden.dtype)
        index = torch.arange(PITCHES, device=hidden.device)
        allowed = (distance > 0) & (index >= self.low) & (index <= self.high)
        scores = (absolute + relative + recalled).float().masked_fill(~allowed, float("-inf"))
        return torch.cat([scores, self.stop(hidden).float()], dim=-1)

    def velocity_logits(self, hidden: Tensor, pitch: Tensor, table: Tensor) -> Tensor:
        out: Tensor = self.velocity_out(F.gelu(self.velocity_hidden(hidden) + table[pitch]))
        return out.float()

    def duration_logits(self, hidden: Tensor, pitch: Tensor, velocity: Tensor, table: Tensor) -> Tensor:
        seen = self.duration_hidden(hidden) + table[pitch] + self.velocity(velocity)
        out: Tensor = self.duration_out(F.gelu(seen))
        return out.float()

    def nll(self, notes: ChordTokens, count: Tensor, cond: Tensor, recall: Recall) -> dict[str, Tensor]:
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
        scores = self.pitch_logits(hidden, below, recall, table)
        pitch = F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none").view(-1, K + 1)
        result = {"pitch": (pitch * (place <= count[:, None])).sum(1)}
        zero = torch.zeros_like(result["pitch"])
        result["velocity"] = result["duration"] = zero
        if K:
            state = hidden[:, :K]
            velocity = self.velocity_logits(state, notes.pitch, table)
            duration = self.duration_logits(state, notes.pitch, notes.velocity, table)
            for name, logits, wanted in (
                ("velocity", velocity, notes.velocity),
                ("duration", duration, notes.duration),
            ):
                loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(-1, K)
                result[name] = (loss * is_note).sum(1)
        return result
