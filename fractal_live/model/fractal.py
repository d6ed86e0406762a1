"""The fractal: four levels and a leaf, each handing a condition down to the next.

Level 0 decides the plan of each bar, level 1 the harmony, the number of onsets and the texture of each
half bar, level 2 a condition per beat, level 3 a condition per step, the leaf the notes of a step. A level
knows nothing of what lies below it; what it decides readably (plan, chroma, onsets) is given to all
below, so that it can be set from outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.ar import SequentialGenerator, visible
from fractal_live.model.config import (
    BEAT_STEPS,
    CHROMA_LEVELS,
    HALF_STEPS,
    MAX_HALF_ONSETS,
    ModelConfig,
)
from fractal_live.model.latent import LatentEncoder
from fractal_live.model.layers import GuideEncoder, Guides, StepEncoder
from fractal_live.model.mar import MaskedGenerator
from fractal_live.model.pitch import RECALL_STEPS, ChordTokens, Leaf, PitchRecall, Recall, recall_maps
from fractal_live.model.structure import Structure, plan_bin

BEATS_PER_HALF = HALF_STEPS // BEAT_STEPS


@dataclass(frozen=True, slots=True)
class Batch:
    """A training batch of B crops of T steps (H = T/8 half bars, R plan rows), as `train.dataset` makes it.

    content (B, T, 3, 128) float: what `order` makes visible; order (B, H) int; step_in_bar, bar_len (B, T)
    int; is_valid (B, T) bool; bar_of_half (B, H) int: the half's row in the horizon (negative: in the past
    rows); plan (B, R, 6) scaled 0..1 with NaN; is_present (B, R) bool; hidden_cells (B, R, 6) bool: to be
    imagined; chroma (B, H, 12) int; remaining (B, T) int: onsets still to come in the half bar before each
    step; steps_left (B, T) int; notes (M, 4) int: step number b*T + t, pitch, velocity bin, duration class,
    sorted; plan_given, chroma_given, latent_given (B,) bool; noise (B, 16).
    """

    content: Tensor
    order: Tensor
    step_in_bar: Tensor
    bar_len: Tensor
    is_valid: Tensor
    bar_of_half: Tensor
    plan: Tensor
    is_present: Tensor
    hidden_cells: Tensor
    chroma: Tensor
    remaining: Tensor
    steps_left: Tensor
    notes: Tensor
    plan_given: Tensor
    chroma_given: Tensor
    latent_given: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True)
class Levels:
    """What each level says: phrase (B, H, dim), beats (B, T/4, dim), steps (B, T, dim), and for the leaf
    its condition (B, T, cond) and its memory, B*T steps in a row."""

    phrase: Tensor
    beats: Tensor
    steps: Tensor
    leaf_cond: Tensor
    recall: Recall


class ChromaHead(nn.Module):
    """Twelve pitch classes, four levels each, one after another: scores of a class depend on the
    hidden state and on every class decided before it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.own = nn.Linear(dim, 12 * CHROMA_LEVELS)
        self.pair = nn.Parameter(torch.zeros(12, CHROMA_LEVELS, 12, CHROMA_LEVELS))
        self.register_buffer("earlier", torch.ones(12, 12).tril(-1), persistent=False)
        self.earlier: Tensor

    def forward(self, hidden: Tensor, chroma: Tensor) -> Tensor:
        """hidden (..., dim), chroma levels (..., 12): scores (..., 12, levels), class i seeing classes < i."""
        decided = F.one_hot(chroma, CHROMA_LEVELS).to(hidden.dtype)
        pair = self.pair * self.earlier[:, None, :, None]
        own = self.own(hidden).view(*hidden.shape[:-1], 12, CHROMA_LEVELS)
        out: Tensor = own + torch.einsum("...jv,iujv->...iu", decided, pair.to(hidden.dtype))
        return out


class Fractal(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        guide = config.guide_dim
        self.latent = LatentEncoder(config)
        self.structure = Structure(config)
        self.no_plan = nn.Parameter(torch.zeros(config.structure.compressed_dim))
        self.steps = StepEncoder(config)
        self.phrase_guide = GuideEncoder(config, has_chroma=False)
        self.phrase = MaskedGenerator(
            config.phrase, config, HALF_STEPS * config.step_dim, config.structure.compressed_dim + guide
        )
        self.chroma_head = ChromaHead(config.phrase.embed_dim)
        self.count_head = nn.Linear(config.phrase.embed_dim, MAX_HALF_ONSETS + 1)
        self.phrase_down = nn.Linear(config.phrase.embed_dim, config.phrase.compressed_dim)
        self.beat_guide = GuideEncoder(config, has_chroma=True)
        self.beat = SequentialGenerator(
            config.beat,
            config,
            BEAT_STEPS * config.step_dim,
            config.phrase.compressed_dim + guide,
            config.beat_window,
            BEATS_PER_HALF,
        )
        self.beat_down = nn.Linear(config.beat.embed_dim, config.beat.compressed_dim)
        self.content_guide = GuideEncoder(config, has_chroma=True)
        self.content = SequentialGenerator(
            config.content, config, config.step_dim, config.beat.compressed_dim + guide, config.step_window, HALF_STEPS
        )
        self.content_down = nn.Linear(config.content.embed_dim, config.content.compressed_dim)
        self.leaf_guide = GuideEncoder(config, has_chroma=True)
        self.recall = PitchRecall(config)
        self.leaf = Leaf(config, config.content.compressed_dim + guide)

    def forward(self, batch: Batch) -> Levels:
        """All levels, teacher-forced: what is predicted at each place from what is visible there."""
        step_plan = _per_step_plan(batch, self.config)
        encoded = self.steps(batch.content)  # (B, T, step_dim)
        B, T = encoded.shape[:2]

        rows = self._plan_condition(batch)  # (B, R, compressed)
        place = self.config.past_bars + batch.bar_of_half
        parent = rows.gather(1, place[..., None].expand(-1, -1, rows.shape[-1]))  # (B, H, compressed)
        half = slice(None, None, HALF_STEPS)
        guides = Guides(step_plan[:, half], None, None, None, batch.plan_given, batch.chroma_given)
        cond = torch.cat([parent, self.phrase_guide(guides)], dim=-1)
        where = self.phrase.place(batch.step_in_bar[:, half], batch.bar_len[:, half])
        phrase = self.phrase(encoded.view(B, T // HALF_STEPS, -1), cond, where, batch.order)

        beat = slice(None, None, BEAT_STEPS)
        parent = self.phrase_down(phrase).repeat_interleave(BEATS_PER_HALF, dim=1)
        cond = torch.cat([parent, self.beat_guide(_guides(batch, step_plan, beat))], dim=-1)
        where = self.beat.place(batch.step_in_bar[:, beat], batch.bar_len[:, beat])
        beats = self.beat(encoded.view(B, T // BEAT_STEPS, -1), cond, where, batch.order)

        guides = _guides(batch, step_plan, slice(None))
        parent = self.beat_down(beats).repeat_interleave(BEAT_STEPS, dim=1)
        cond = torch.cat([parent, self.content_guide(guides)], dim=-1)
        where = self.content.place(batch.step_in_bar, batch.bar_len)
        steps = self.content(encoded, cond, where, batch.order)

        leaf_cond = torch.cat([self.content_down(steps), self.leaf_guide(guides)], dim=-1)
        return Levels(phrase, beats, steps, leaf_cond, self._recall(batch))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Negative log-likelihoods in nats, summed over the batch, each beside the number of things it is
        over (`name_count`): plan cells, chroma and onsets per half bar, pitch/velocity/duration of notes;
        and the latent's `kl`."""
        levels = self(batch)
        return (
            self._structure_losses(batch)
            | self._phrase_losses(levels.phrase, batch)
            | self._leaf_losses(levels.leaf_cond.flatten(0, 1), levels.recall, batch)
        )

    def _plan_condition(self, batch: Batch) -> Tensor:
        """What level 0 hands down once the plan is complete: (B, R, compressed)."""
        rows = self.structure.hand_down(batch.plan, batch.is_present)
        return torch.where(batch.plan_given[:, None, None], rows, self.no_plan.to(rows.dtype))

    def _structure_losses(self, batch: Batch) -> dict[str, Tensor]:
        horizon = batch.plan[:, self.config.past_bars :]
        z, kl = self.latent(horizon, batch.noise)
        gain = batch.latent_given.to(z.dtype)
        known = batch.plan.masked_fill(batch.hidden_cells, float("nan"))
        logits = self.structure.logits(self.structure.imagine(known, batch.is_present, z, gain))
        wanted = batch.hidden_cells & ~torch.isnan(batch.plan) & batch.is_present[..., None]
        nll = F.cross_entropy(logits.float().flatten(0, -2), plan_bin(batch.plan).flatten(), reduction="none")
        return {
            "plan": (nll * wanted.flatten()).sum(),
            "plan_count": wanted.sum(),
            "kl": (kl * gain).sum(),
            "kl_count": gain.sum(),
        }

    def _phrase_losses(self, phrase: Tensor, batch: Batch) -> dict[str, Tensor]:
        is_valid = batch.is_valid[:, ::HALF_STEPS]
        chroma = self.chroma_head(phrase, batch.chroma).float()
        chroma_nll = F.cross_entropy(chroma.flatten(0, -2), batch.chroma.flatten(), reduction="none")
        chroma_nll = chroma_nll.view(*is_valid.shape, 12).sum(-1)
        onsets = batch.remaining[:, ::HALF_STEPS].clamp(max=MAX_HALF_ONSETS)
        count_nll = F.cross_entropy(self.count_head(phrase).float().flatten(0, 1), onsets.flatten(), reduction="none")
        return {
            "chroma": (chroma_nll * is_valid).sum(),
            "chroma_count": is_valid.sum(),
            "onsets": (count_nll * is_valid.flatten()).sum(),
            "onsets_count": is_valid.sum(),
        }

    def _recall(self, batch: Batch) -> Recall:
        """What sounds on from before comes from the content of the step before."""
        seen = visible(batch.order, HALF_STEPS, RECALL_STEPS)
        T = seen.shape[1]
        index = torch.arange(T, device=seen.device)
        known = torch.cat([torch.zeros_like(seen[:, :1, 0]), seen.diagonal(-1, 1, 2)], dim=1)
        remaining = (batch.content[:, :-1, 2] - 1 / 16).clamp(min=0)
        held = F.pad(remaining, (0, 0, 1, 0)) * known[..., None]
        out: Recall = self.recall(recall_maps(seen, index[:, None] - index, batch.content[:, :, 0], held))
        return out

    def _leaf_losses(self, cond: Tensor, recall: Recall, batch: Batch) -> dict[str, Tensor]:
        """Steps are taken in groups of like size, so that little is spent on padding."""
        steps = batch.is_valid.numel()
        counts = torch.bincount(batch.notes[:, 0], minlength=steps)
        first = torch.cumsum(counts, 0) - counts
        totals = {name: cond.new_zeros((), dtype=torch.float32) for name in ("pitch", "velocity", "duration")}
        for low, high in ((0, 0), (1, 1), (2, 2), (3, 4), (5, self.config.max_notes_per_step)):
            chosen = torch.nonzero((counts >= low) & (counts <= high) & batch.is_valid.flatten())[:, 0]
            if not len(chosen):
                continue
            index = first[chosen, None] + torch.arange(high, device=chosen.device)
            rows = (
                batch.notes[index.clamp(max=len(batch.notes) - 1)] if high else batch.notes.new_zeros(len(chosen), 0, 4)
            )
            tokens = ChordTokens(rows[..., 1], rows[..., 2], rows[..., 3])
            memory = Recall(recall.features[chosen], recall.rhythm[chosen])
            nll = self.leaf.nll(tokens, counts[chosen], cond[chosen], memory)
            for name, value in nll.items():
                totals[name] = totals[name] + value.sum()
        count = batch.is_valid.flatten()[batch.notes[:, 0]].sum()
        return totals | {f"{name}_count": count for name in list(totals)}


def _per_step_plan(batch: Batch, config: ModelConfig) -> Tensor:
    """The plan row of each step's bar: (B, T, 6)."""
    rows = config.past_bars + batch.bar_of_half.repeat_interleave(HALF_STEPS, dim=1)
    return batch.plan.gather(1, rows[..., None].expand(-1, -1, batch.plan.shape[-1]))


def _guides(batch: Batch, step_plan: Tensor, places: slice) -> Guides:
    chroma = batch.chroma.repeat_interleave(HALF_STEPS, dim=1)[:, places]
    return Guides(
        step_plan[:, places],
        chroma,
        batch.remaining[:, places],
        batch.steps_left[:, places],
        batch.plan_given,
        batch.chroma_given,
    )
