"""The fractal: levels and a leaf, each handing a condition down to the next.

Level 0 decides the plan of each bar; level 1, of each half bar, what it echoes, the harmony, the number of onsets
and a condition that carries its texture; the levels below a condition per token; the leaf the notes of a step. A
level knows nothing of what lies below it; what it decides readably is given to all below, so that it can be set
from outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fractal_live.model.ar import SequentialGenerator
from fractal_live.model.balance import earlier_harmony
from fractal_live.model.batch import Batch, Plans
from fractal_live.model.config import HALF_STEPS, MAX_HALF_ONSETS, ModelConfig
from fractal_live.model.echo import (
    NO_ECHO,
    allowed_echoes,
    can_source,
    echo_before,
    run_before,
    source_of,
    strength_index,
    strength_of,
)
from fractal_live.model.latent import LatentEncoder
from fractal_live.model.layers import GuideEncoder, Guides, StepCodes, StepEncoder, Texture
from fractal_live.model.lean import LeanLevel
from fractal_live.model.mar import MaskedGenerator
from fractal_live.model.order import band_of, band_width, cells_per_half, opening, scan, sees_known
from fractal_live.model.phrase import PhraseHeads, Source
from fractal_live.model.pitch import (
    RECALL_STEPS,
    ChordTokens,
    Leaf,
    PitchRange,
    Recall,
    recall_maps,
)
from fractal_live.model.structure import Structure, Wish, plan_bin

CHORD_SIZES = ((0, 0), (1, 1), (2, 2), (3, 4))


@dataclass(frozen=True, slots=True)
class Levels:
    """What the levels say: phrase (B, H, dim); hidden, the states of level 2 and below (B, P, dim) each; and for the
    leaf its condition (B, C, cond) and its memory, B*C cells in a row."""

    phrase: Tensor
    hidden: tuple[Tensor, ...]
    leaf_cond: Tensor
    recall: Recall


class Level(nn.Module):
    """A level from the phrase down: its guide, its generator, and what it hands down."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        level = config.levels[index]
        self.span = config.spans[index]
        is_below_phrase = index > 1
        content_dim = self.span * config.step_dim
        cond_dim = config.levels[index - 1].compressed_dim + config.guide_dim
        self.guide = GuideEncoder(config, has_texture=is_below_phrase)
        kind = MaskedGenerator if level.generator == "mar" else SequentialGenerator
        self.generator: MaskedGenerator | SequentialGenerator = kind(level, config, content_dim, cond_dim)
        self.down = nn.Linear(level.embed_dim, level.compressed_dim)
        self.echo = nn.Linear(content_dim, level.embed_dim, bias=False) if is_below_phrase else None
        if self.echo is not None:
            nn.init.zeros_(self.echo.weight)
        self._few: tuple[int, LeanLevel] | None = None

    @property
    def lean(self) -> LeanLevel:
        """The twin for a few places on a CPU, of the weights as they are now."""
        at = self.down.weight.data_ptr()
        if self._few is None or self._few[0] != at:
            self._few = at, LeanLevel(self)
        return self._few[1]


class Fractal(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.latent = LatentEncoder(config)
        self.structure = Structure(config)
        self.no_plan = nn.Parameter(torch.zeros(config.levels[0].compressed_dim))
        self.steps = StepEncoder(config)
        self.step_codes: StepCodes | None = None  # set by those who know that the weights stay as they are
        self.levels = nn.ModuleList(Level(config, index) for index in range(1, len(config.levels)))
        self.heads = PhraseHeads(config.levels[1].embed_dim)
        self.bands = nn.Parameter(torch.zeros(config.pitch_bands, config.levels[-1].embed_dim))
        self.leaf_guide = GuideEncoder(config, has_texture=True)
        self.leaf = Leaf(config, config.levels[-1].compressed_dim + config.guide_dim)

    def forward(self, batch: Batch) -> Levels:
        """All levels, teacher-forced: what is predicted at each place from what is visible there."""
        config = self.config
        step_plan = _per_step_plan(batch, config)
        encoded = self.steps(batch.content)  # (B, T, step_dim)
        source = _source_step(batch)
        echoed = _at_steps(encoded, source) * (batch.echo != NO_ECHO).repeat_interleave(HALF_STEPS, 1)[..., None]
        echoed = echoed * batch.texture_given[:, None, None]
        parent = self._parents(batch)
        hidden: list[Tensor] = []
        for level in self.levels:
            assert isinstance(level, Level), "a list of levels"
            if hidden:
                parent = self._handed(hidden[-1], len(hidden) - 1, level.span)
            is_content = level.span == 1
            make = self._content_level if is_content else self._level
            hidden.append(make(level, batch, encoded, echoed, parent, step_plan))
        last = self.levels[-1]
        assert isinstance(last, Level), "a list of levels"
        guides = self._guides(batch, step_plan, 1)
        leaf_cond = torch.cat([last.down(hidden[-1]), self.leaf_guide(guides)], dim=-1)
        return Levels(hidden[0], tuple(hidden[1:]), leaf_cond, self._recall(batch, _at_steps(batch.content, source)))

    def phrase(self, batch: Batch) -> Tensor:
        """The hidden states of level 1 alone, as in `forward`: (B, H, dim)."""
        level = self.levels[0]
        assert isinstance(level, Level), "a list of levels"
        encoded = self.steps(batch.content)
        return self._level(level, batch, encoded, encoded, self._parents(batch), _per_step_plan(batch, self.config))

    def _parents(self, batch: Batch) -> Tensor:
        """What level 0 hands down to each half bar: (B, H, compressed)."""
        rows = self.structure.hand_down(batch.plan, batch.is_present)
        rows = torch.where(batch.plan_given[:, None, None], rows, self.no_plan.to(rows.dtype))
        place = self.config.past_bars + batch.bar_of_half
        return rows.gather(1, place[..., None].expand(-1, -1, rows.shape[-1]))

    def _handed(self, hidden: Tensor, index: int, span: int) -> Tensor:
        """What a level's states say to the places of `span` steps below them."""
        above = self.levels[index]
        assert isinstance(above, Level), "a list of levels"
        out: Tensor = above.down(hidden).repeat_interleave(above.span // span, dim=1)
        return out

    def _level(
        self, level: Level, batch: Batch, encoded: Tensor, echoed: Tensor, parent: Tensor, step_plan: Tensor
    ) -> Tensor:
        """The hidden states of a level of several steps a place: (B, P, dim); encoded and echoed (B, T, step_dim) are
        what the steps hold and what they are to echo."""
        span, config = level.span, self.config
        cond = torch.cat([parent, level.guide(self._guides(batch, step_plan, span))], dim=-1)
        place = level.generator.place(batch.step_in_bar[:, ::span], batch.bar_len[:, ::span])
        content = encoded.view(len(encoded), -1, span * config.step_dim)
        hint = echoed.new_zeros(()) if level.echo is None else level.echo(echoed.view(content.shape))
        out: Tensor = level.generator(content, cond, place, hint, opening(batch.order, span * config.pitch_bands))
        return out

    def _content_level(
        self, level: Level, batch: Batch, encoded: Tensor, echoed: Tensor, parent: Tensor, step_plan: Tensor
    ) -> Tensor:
        """The hidden states of all cells, (B, C, dim), gone through in scan order."""
        config, bands = self.config, self.config.pitch_bands
        content = self.encoded_cells(batch.content, encoded)
        cond = torch.cat([parent.repeat_interleave(bands, 1), level.guide(self._guides(batch, step_plan, 1))], dim=-1)
        place = level.generator.place(batch.step_in_bar, batch.bar_len)
        place = (place[:, :, None] + self.bands.to(place.dtype)).flatten(1, 2)
        assert level.echo is not None, "the content level is below the phrase"
        hint = level.echo(echoed).repeat_interleave(bands, 1)
        ordered = scan_index(config, batch.order.shape[1], encoded.device)
        places = opening(batch.order[:, ordered], 1)
        hidden = level.generator(content[:, ordered], cond[:, ordered], place[:, ordered], hint[:, ordered], places)
        out: Tensor = hidden[:, ordered.argsort()]
        return out

    def encoded_cells(self, content: Tensor, encoded: Tensor) -> Tensor:
        """What every cell holds, encoded: (B, C, step_dim), from the steps' content (B, T, 3, 128) and its encoding."""
        bands = self.config.pitch_bands
        if bands == 1:
            return encoded
        band = torch.from_numpy(band_of(self.config, np.arange(128))).to(content.device)
        of_band = band == torch.arange(bands, device=content.device)[:, None]  # (bands, 128)
        split = content[:, :, None] * of_band[:, None].to(content.dtype)  # (B, T, bands, 3, 128)
        out: Tensor = self.steps(split.flatten(1, 2))
        return out

    def _guides(self, batch: Batch, step_plan: Tensor, span: int) -> Guides:
        if span == HALF_STEPS:
            return Guides(step_plan[:, ::span], None, batch.plan_given, batch.texture_given)
        bands = self.config.pitch_bands
        width = bands if span == 1 else 1  # the content level has a place per cell
        cells = span * bands // width
        B, places = len(step_plan), batch.order.shape[1] // cells
        per_half = cells_per_half(self.config) // cells
        texture = Texture(
            batch.chroma.repeat_interleave(per_half, dim=1),
            batch.remaining.view(B, places, cells).amax(-1),
            batch.steps_left.view(B, places, cells).amax(-1),
            batch.echo.repeat_interleave(per_half, dim=1),
        )
        plan = step_plan[:, ::span].repeat_interleave(width, dim=1)
        return Guides(plan, texture, batch.plan_given, batch.texture_given)

    def _recall(self, batch: Batch, echoed: Tensor) -> Recall:
        """What sounds on from before comes from the content of the step before; echoed (B, T, 3, 128) is what the
        steps hold that are echoed."""
        bands = self.config.pitch_bands
        cells, steps = opening(batch.order, 1), opening(batch.order, bands)
        known = sees_known(cells, steps)  # (B, C, T)
        T, index = known.shape[2], torch.arange(known.shape[2], device=known.device)
        step = index.repeat_interleave(bands)
        distance = step[:, None] - index
        before = known.gather(2, (step - 1).clamp(min=0)[None, :, None].expand(len(known), -1, 1))[..., 0]
        remaining = F.pad((batch.content[:, :-1, 2] - 1 / 16).clamp(min=0), (0, 0, 1, 0))
        held = remaining.repeat_interleave(bands, 1) * (before & (step > 0))[..., None]
        strength = (strength_of(batch.echo) * batch.texture_given[:, None]).repeat_interleave(
            T // batch.echo.shape[1], 1
        )
        echo_map = (echoed[:, :, 0] * strength[..., None]).repeat_interleave(bands, 1)
        source = (echoed * (strength > 0)[..., None, None]).repeat_interleave(bands, 1)
        seen = known & (distance <= RECALL_STEPS)
        grade = (strength_index(batch.echo) * batch.texture_given[:, None]).repeat_interleave(
            cells_per_half(self.config), 1
        )
        maps = recall_maps(seen, distance, batch.content[:, :, 0], held, echo_map)
        out: Recall = self.leaf.recall(maps, source, grade)
        return out

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Negative log-likelihoods in nats, summed over the batch, each beside the number of things it is
        over (`name_count`): plan cells; echo, chroma and onsets per half bar; pitch, velocity and duration of notes;
        and of the latent, per plan, its `kl` and how far its `sketch` is from the plan."""
        levels = self(batch)
        return (
            self.structure_losses(_all_plans(batch))
            | self._phrase_losses(levels.phrase, batch)
            | self._leaf_losses(levels.leaf_cond.flatten(0, 1), levels.recall, batch)
        )

    def structure_losses(self, plans: Plans) -> dict[str, Tensor]:
        """The losses of level 0 and of the latent, as in `losses`."""
        horizon = plans.plan[:, self.config.past_bars :]
        z, kl = self.latent(horizon, plans.noise)
        sketch = self.latent.sketch(z)
        gain = plans.latent_given.to(z.dtype)
        known = plans.plan.masked_fill(plans.hidden_cells, float("nan"))
        wish = Wish(z, sketch, gain)
        logits = self.structure.scores(known, plans.plan, plans.is_present, wish)
        wanted = plans.hidden_cells & ~torch.isnan(plans.plan) & plans.is_present[..., None]
        nll = _nll(logits.float(), plan_bin(plans.plan))
        count = gain.new_tensor(float(len(gain)))
        return {
            "plan": (nll * wanted).sum(),
            "plan_count": wanted.sum(),
            "kl": kl.sum(),
            "kl_count": count,
            "sketch": self.latent.sketch_nll(sketch, horizon).sum(),
            "sketch_count": count,
        }

    def _phrase_losses(self, phrase: Tensor, batch: Batch) -> dict[str, Tensor]:
        is_valid = batch.is_valid[:, ::HALF_STEPS]
        has_onsets = (batch.onsets > 0) & is_valid
        allowed = allowed_echoes(can_source(batch.group, has_onsets))
        before = echo_before(batch.echo, batch.group), run_before(batch.echo, batch.group)
        echo = self.heads.echo_scores(phrase, allowed, *before)
        source = sources(batch)
        chroma = self.heads.chroma_scores(phrase, batch.chroma, source)
        count = self.heads.count_scores(phrase, source)
        onsets = batch.onsets.clamp(max=MAX_HALF_ONSETS)
        nll = {
            "echo": _nll(echo, batch.echo),
            "chroma": _nll(chroma, batch.chroma).sum(-1),
            "onsets": _nll(count, onsets),
        }
        return {name: (value * is_valid).sum() for name, value in nll.items()} | {
            f"{name}_count": is_valid.sum() for name in nll
        }

    def _leaf_losses(self, cond: Tensor, recall: Recall, batch: Batch) -> dict[str, Tensor]:
        """Cells are taken in groups of like size, so that little is spent on padding."""
        cells, bands = batch.order.numel(), self.config.pitch_bands
        counts = torch.bincount(batch.notes[:, 0], minlength=cells)
        first = torch.cumsum(counts, 0) - counts
        is_valid = batch.is_valid.repeat_interleave(bands, 1).flatten()
        within = band_range(self.config, torch.arange(cells, device=cond.device) % bands)
        totals = {name: cond.new_zeros((), dtype=torch.float32) for name in ("pitch", "velocity", "duration")}
        for low, high in (*CHORD_SIZES, (5, self.config.max_notes_per_step)):
            chosen = torch.nonzero((counts >= low) & (counts <= high) & is_valid)[:, 0]
            if not len(chosen):
                continue
            index = first[chosen, None] + torch.arange(high, device=chosen.device)
            rows = (
                batch.notes[index.clamp(max=len(batch.notes) - 1)] if high else batch.notes.new_zeros(len(chosen), 0, 4)
            )
            tokens = ChordTokens(rows[..., 1], rows[..., 2], rows[..., 3])
            pitches = PitchRange(within.low[chosen], within.high[chosen])
            nll = self.leaf.nll(tokens, counts[chosen], cond[chosen], recall.rows(chosen), pitches)
            for name, value in nll.items():
                totals[name] = totals[name] + value.sum()
        count = is_valid[batch.notes[:, 0]].sum()
        return totals | {f"{name}_count": count for name in list(totals)}


def sources(batch: Batch) -> Source:
    """What the half bars of a batch echo, and what harmony is before them."""
    there = _source_half(batch)
    chroma = batch.chroma.gather(1, there[..., None].expand(-1, -1, 12))
    earlier = earlier_harmony(batch.chroma, batch.group)
    return Source(batch.echo, chroma, batch.onsets.gather(1, there), earlier)


def scan_index(config: ModelConfig, cells: int, device: torch.device) -> Tensor:
    """The cells of consecutive half bars in scan order: (C,)."""
    each = torch.from_numpy(scan(config)).to(device)
    start = torch.arange(0, cells, len(each), device=device)
    return (start[:, None] + each).reshape(-1)


def band_range(config: ModelConfig, band: Tensor) -> PitchRange:
    """The pitches of bands (N,); together they are the model's range."""
    width = band_width(config)
    low = config.pitch_low + band * width
    return PitchRange(low, (low + width - 1).clamp(max=config.pitch_high))


def _all_plans(batch: Batch) -> Plans:
    """The plans of the crops, and those beside them."""
    return Plans(
        **{name: torch.cat([getattr(batch, name), getattr(batch.plans, name)]) for name in Plans.__dataclass_fields__}
    )


def _nll(scores: Tensor, target: Tensor) -> Tensor:
    flat = F.cross_entropy(scores.flatten(0, -2), target.flatten(), reduction="none")
    return flat.view(target.shape)


def _source_half(batch: Batch) -> Tensor:
    """The half bar that each half bar echoes, itself where it echoes none: (B, H)."""
    index = torch.arange(batch.echo.shape[1], device=batch.echo.device)
    return (index + source_of(batch.echo)).clamp(0, len(index) - 1)


def _source_step(batch: Batch) -> Tensor:
    """The step that each step echoes, itself where it echoes none: (B, T)."""
    half = _source_half(batch).repeat_interleave(HALF_STEPS, 1)
    return half * HALF_STEPS + torch.arange(half.shape[1], device=half.device) % HALF_STEPS


def _at_steps(values: Tensor, steps: Tensor) -> Tensor:
    """What other steps (B, T) have in values (B, T, ...)."""
    return values[torch.arange(len(values), device=values.device)[:, None], steps]


def _per_step_plan(batch: Batch, config: ModelConfig) -> Tensor:
    """The plan row of each step's bar: (B, T, 6)."""
    rows = config.past_bars + batch.bar_of_half.repeat_interleave(HALF_STEPS, dim=1)
    return batch.plan.gather(1, rows[..., None].expand(-1, -1, batch.plan.shape[-1]))
