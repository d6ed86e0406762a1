"""The unfolding of one bar: plan, harmony, beats, steps, notes, each level sampled under the one above.

Slow and obvious where it can afford to be: every bar is unfolded afresh from what was played. Inside a
bar keys and values are kept, so that each step is computed once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fractal_live.model.config import (
    BEAT_STEPS,
    CHROMA_CENTRES,
    DURATIONS,
    HALF_STEPS,
    MAX_HALF_ONSETS,
    chroma_level,
    velocity_of_bin,
)
from fractal_live.model.fractal import BEATS_PER_HALF, Fractal
from fractal_live.model.grid import (
    FloatArray,
    IntArray,
    bar_starts,
    grid_notes,
    limit_chords,
    padded_steps,
    remaining_onsets,
    scaled_plan,
    steps_left,
    unscaled_plan,
    visible_content,
)
from fractal_live.model.layers import Guides, KVCache
from fractal_live.model.pitch import PITCHES, RECALL_STEPS, STOP, ChordTokens, Recall, recall_maps
from fractal_live.model.sampling import draw, guided
from fractal_live.model.structure import plan_of_bin
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note, on_grid, without_overlaps
from fractal_live.music.plan import COLUMN, measure
from fractal_live.music.request import BarRequest, Sampling

LATER_ONSETS = 4  # a chord that the steps left in a half bar may be counted on to bear


@dataclass(frozen=True, slots=True)
class Unfolded:
    """What each level decided: plan (32, 6) in units, chroma (H, 12) in 0..1, onsets per half bar, notes;
    the log-likelihood of the notes as they were drawn, in nats; and that of the stops that were not drawn
    because the half bar had all its onsets."""

    plan: FloatArray
    chroma: FloatArray
    onsets: tuple[int, ...]
    notes: tuple[Note, ...]
    log_likelihood: float
    forced_log_likelihood: float


def imagine_plan(model: Fractal, request: BarRequest, past_rows: FloatArray, generator: torch.Generator) -> FloatArray:
    """The plan with its unknown cells drawn, in a few rounds of random cells on a cosine schedule (Chang et
    al. 2022, MaskGIT): (32, 6) in units. past_rows (n <= past_bars, 6) in units, newest last."""
    config, sampling, device = model.config, request.sampling, model.no_plan.device
    plan, is_present = _plan_window(model, past_rows, request.plan)
    unknown = torch.isnan(plan[0]) & (torch.arange(plan.shape[1], device=device) >= config.past_bars)[:, None]
    cells = torch.nonzero(unknown)
    cells = cells[torch.randperm(len(cells), generator=generator, device=generator.device).to(device)]
    z = torch.tensor([request.latent], dtype=torch.float32, device=device)
    gain = torch.tensor([request.latent_gain], dtype=torch.float32, device=device)
    rounds = max(1, min(sampling.iterations, len(cells)))
    opened = 0
    for turn in range(rounds if len(cells) else 0):
        left = math.floor(len(cells) * math.cos(math.pi / 2 * (turn + 1) / rounds)) if turn < rounds - 1 else 0
        chosen = cells[opened : max(opened + 1, len(cells) - left)]
        opened += len(chosen)
        hidden = model.structure.imagine(plan, is_present, z, gain)
        scores = model.structure.logits(hidden)[0, chosen[:, 0], chosen[:, 1]]
        plan[0, chosen[:, 0], chosen[:, 1]] = plan_of_bin(draw(scores, sampling, generator))
    imagined = unscaled_plan(plan[0, config.past_bars :].cpu().numpy())
    return np.where(np.isnan(request.plan), imagined, request.plan).astype(np.float32)


def _plan_window(model: Fractal, past_rows: FloatArray, plan: FloatArray) -> tuple[Tensor, Tensor]:
    """Past and horizon as the structure level reads them: scaled (1, R, 6) and presence (1, R)."""
    config, device = model.config, model.no_plan.device
    rows = np.full((config.past_bars + config.plan_bars, plan.shape[1]), np.nan, dtype=np.float32)
    is_present = np.zeros(len(rows), dtype=bool)
    recent = past_rows[-config.past_bars :]
    if len(recent):
        rows[config.past_bars - len(recent) : config.past_bars] = recent
    rows[config.past_bars :] = plan
    is_present[config.past_bars - len(recent) :] = True
    return torch.from_numpy(scaled_plan(rows))[None].to(device), torch.from_numpy(is_present)[None].to(device)


def unfold(model: Fractal, request: BarRequest, generator: torch.Generator, scores_forced: bool = False) -> Unfolded:
    """One bar, from plan to notes. `generator` is the only source of chance. `scores_forced` also scores the
    stops that follow from the number of onsets (slower; the notes are the same)."""
    past_rows = np.stack([measure(bar) for bar in request.past]) if request.past else np.zeros((0, len(COLUMN)))
    plan = imagine_plan(model, request, past_rows.astype(np.float32), generator)
    return _Unfolding(model, request, plan, past_rows.astype(np.float32), generator, scores_forced).run()


class _Unfolding:
    """The state of one bar in the making. Row 0 of every batch is the conditional branch; with guidance a
    second row, which knows neither plan nor harmony, follows the same notes."""

    def __init__(
        self,
        model: Fractal,
        request: BarRequest,
        plan: FloatArray,
        past_rows: FloatArray,
        generator: torch.Generator,
        scores_forced: bool,
    ) -> None:
        config = model.config
        self.scores_forced = scores_forced
        self.model, self.request, self.plan, self.generator = model, request, plan, generator
        self.sampling: Sampling = request.sampling
        self.device = model.no_plan.device
        self.rows = 1 if self.sampling.cfg_scale == 1.0 else 2
        self.given = torch.tensor([True, False][: self.rows], device=self.device)

        memory = min(config.past_bars, config.plan_bars) - 1
        past = tuple(on_grid(bar) for bar in request.past[-memory:])
        new = Bar(request.index, (), request.meter)
        bars = (*past, new)
        starts = bar_starts(bars)
        self.start, self.steps = int(starts[-2]), int(starts[-1])
        notes = limit_chords(grid_notes(past), config.max_notes_per_step)
        time_order = np.arange(self.steps // HALF_STEPS)
        self.content = torch.from_numpy(visible_content(notes, time_order, self.steps)).to(self.device)

        lengths = np.array([bar.meter.steps_per_bar for bar in bars])
        bar_of_step = np.repeat(np.arange(len(bars)), np.diff(starts))
        step_in_bar = np.arange(self.steps) - starts[bar_of_step]
        is_valid = step_in_bar < lengths[bar_of_step]
        self.is_valid = is_valid
        self.bar_of_step = torch.from_numpy(bar_of_step).to(self.device)
        self.step_in_bar = torch.from_numpy(np.minimum(step_in_bar, config.max_bar_len - 1)).to(self.device)
        self.bar_len = torch.from_numpy(np.minimum(lengths, config.max_bar_len)[bar_of_step]).to(self.device)

        plan_rows = np.concatenate([past_rows[len(past_rows) - len(past) :], plan[:1]])
        self.plan_rows = torch.from_numpy(scaled_plan(plan_rows)).to(self.device)  # (bars, 6)
        window, is_present = _plan_window(model, past_rows, plan)
        handed = model.structure.hand_down(window, is_present)[:, config.past_bars - len(past) :][:, : len(bars)]
        self.parents = torch.where(self.given[:, None, None], handed, model.no_plan)  # (rows, bars, compressed)

        halves = [chroma_level(chroma_of_bar(bar)) for bar in past]
        silent = np.zeros((padded_steps(request.meter.steps_per_bar) // HALF_STEPS, 12), dtype=np.int64)
        self.chroma = torch.from_numpy(np.concatenate([*halves, silent])).to(self.device)  # (H, 12)
        remaining: IntArray = remaining_onsets(notes, self.steps)
        self.remaining = torch.from_numpy(remaining).to(self.device)
        self.steps_left = torch.from_numpy(steps_left(is_valid)).to(self.device)
        self.encoded = (
            model.steps(self.content[None, : self.start])
            if self.start
            else torch.zeros(1, 0, config.step_dim, device=self.device)
        )
        self.table = model.leaf.pitch_table()
        self.phrase_cache, self.beat_cache, self.content_cache = KVCache(), KVCache(), KVCache()
        self.half_onsets = 0
        self.notes: list[Note] = []
        self.log_likelihood = 0.0
        self.forced_log_likelihood = 0.0

    def run(self) -> Unfolded:
        onsets: list[int] = []
        first_half = self.start // HALF_STEPS
        for half in range(first_half, self.steps // HALF_STEPS):
            phrase = self._read_past() if half == first_half else self._next_phrase(half)
            self._decide_half(half, phrase, onsets)
            for beat in range(half * BEATS_PER_HALF, (half + 1) * BEATS_PER_HALF):
                self._unfold_beat(beat, self._beats(beat, beat + 1, self.model.phrase_down(phrase)))
        centres = np.array(CHROMA_CENTRES, dtype=np.float32)
        chroma = centres[self.chroma[first_half:].cpu().numpy()]
        notes = without_overlaps(self.notes)
        return Unfolded(self.plan, chroma, tuple(onsets), notes, self.log_likelihood, self.forced_log_likelihood)

    # What was played, read once by each level.

    def _read_past(self) -> Tensor:
        """Fills the caches from the past and returns the phrase state of the first new half bar."""
        config = self.model.config
        new_half = self.start // HALF_STEPS
        if new_half:
            self._append_halves(0, new_half)
        beat_reach = config.beat.num_blocks * config.beat_window
        step_reach = config.content.num_blocks * config.step_window
        first_step = max(0, self.start - step_reach) // HALF_STEPS * HALF_STEPS
        first_half = max(0, first_step // HALF_STEPS - beat_reach // BEATS_PER_HALF)
        phrases = self._ask_halves(first_half, new_half + 1)
        if first_half < new_half:
            parents = self.model.phrase_down(phrases[:, :-1]).repeat_interleave(BEATS_PER_HALF, dim=1)
            beats = self._beats(first_half * BEATS_PER_HALF, new_half * BEATS_PER_HALF, parents)
            skipped = first_step // BEAT_STEPS - first_half * BEATS_PER_HALF
            self._steps(first_step, self.start, beats[:, skipped:].repeat_interleave(BEAT_STEPS, dim=1))
        return phrases[:, -1:]

    def _next_phrase(self, half: int) -> Tensor:
        self._append_halves(half - 1, half)
        return self._ask_halves(half, half + 1)

    def _phrase_cond(self, low: int, high: int) -> tuple[Tensor, Tensor]:
        steps = slice(low * HALF_STEPS, high * HALF_STEPS, HALF_STEPS)
        guides = Guides(self._plan_at(steps), None, None, None, self.given, self.given)
        cond = torch.cat([self.parents[:, self.bar_of_step[steps]], self.model.phrase_guide(guides)], dim=-1)
        return cond, self.model.phrase.place(self.step_in_bar[steps], self.bar_len[steps])

    def _append_halves(self, low: int, high: int) -> None:
        cond, place = self._phrase_cond(low, high)
        content = self.encoded[:, low * HALF_STEPS : high * HALF_STEPS].reshape(1, high - low, -1)
        self.model.phrase.append(content.expand(self.rows, -1, -1), cond, place, low, self.phrase_cache)

    def _ask_halves(self, low: int, high: int) -> Tensor:
        cond, place = self._phrase_cond(low, high)
        return self.model.phrase.ask(cond, place.expand(self.rows, -1, -1), low, self.phrase_cache)

    def _beats(self, low: int, high: int, parents: Tensor) -> Tensor:
        """Beats low..high-1 under their half bars' conditions (rows, n, compressed): what they hand down."""
        steps = slice(low * BEAT_STEPS, high * BEAT_STEPS, BEAT_STEPS)
        cond = torch.cat([parents, self.model.beat_guide(self._guides(steps))], dim=-1)
        place = self.model.beat.place(self.step_in_bar[steps], self.bar_len[steps])
        previous, is_known = self._previous(low, high, BEAT_STEPS)
        handed: Tensor = self.model.beat_down(
            self.model.beat.step(previous, is_known, cond, place, low, self.beat_cache)
        )
        return handed

    def _steps(self, low: int, high: int, parents: Tensor) -> Tensor:
        """Steps low..high-1 under their beats' conditions: what they hand to the leaf (rows, n, compressed)."""
        steps = slice(low, high)
        cond = torch.cat([parents, self.model.content_guide(self._guides(steps))], dim=-1)
        place = self.model.content.place(self.step_in_bar[steps], self.bar_len[steps])
        previous, is_known = self._previous(low, high, 1)
        hidden = self.model.content.step(previous, is_known, cond, place, low, self.content_cache)
        handed: Tensor = self.model.content_down(hidden)
        return handed

    def _previous(self, low: int, high: int, size: int) -> tuple[Tensor, Tensor]:
        """The content of the places before low..high-1, places being `size` steps; the first has none."""
        known = self.encoded[:, max(0, low - 1) * size : (high - 1) * size]
        previous = F.pad(known, (0, 0, (high - low) * size - known.shape[1], 0)).reshape(1, high - low, -1)
        is_known = torch.arange(low, high, device=self.device)[None] > 0
        return previous.expand(self.rows, -1, -1), is_known

    def _plan_at(self, steps: slice) -> Tensor:
        return self.plan_rows[self.bar_of_step[steps]].expand(self.rows, -1, -1)

    def _guides(self, steps: slice) -> Guides:
        half = torch.arange(self.steps, device=self.device)[steps] // HALF_STEPS
        shape = (self.rows, -1)
        return Guides(
            self._plan_at(steps),
            self.chroma[half].expand(self.rows, -1, -1),
            self.remaining[steps].expand(shape),
            self.steps_left[steps].expand(shape),
            self.given,
            self.given,
        )

    # The new bar, level by level.

    def _decide_half(self, half: int, phrase: Tensor, onsets: list[int]) -> None:
        """The guiding values of level 1: chroma, drawn or given, and onsets, so that the bar's density is met."""
        first_half = self.start // HALF_STEPS
        if self.request.chroma is not None:
            level = chroma_level(np.asarray(self.request.chroma[half - first_half], dtype=np.float32))
            self.chroma[half] = torch.from_numpy(level).to(self.device)
        else:
            for pitch_class in range(12):
                scores = self.model.chroma_head(phrase[:, 0], self.chroma[half].expand(self.rows, -1))[:, pitch_class]
                choice = draw(guided(scores, self.sampling.cfg_scale), self.sampling, self.generator)
                self.chroma[half, pitch_class] = choice[0]
        wanted = round(float(self.plan[0, COLUMN["density"]])) - sum(onsets)
        if half == self.steps // HALF_STEPS - 1:
            count = wanted
        else:
            scores = guided(self.model.count_head(phrase[:, 0]), self.sampling.cfg_scale)
            later = MAX_HALF_ONSETS * (self.steps // HALF_STEPS - 1 - half)
            index = torch.arange(MAX_HALF_ONSETS + 1, device=self.device)
            scores = scores.masked_fill((index > wanted) | (index < wanted - later), float("-inf"))
            count = int(draw(scores, self.sampling, self.generator)[0])
        onsets.append(max(0, min(count, MAX_HALF_ONSETS)))
        self.half_onsets = onsets[-1]
        self.remaining[half * HALF_STEPS : (half + 1) * HALF_STEPS] = onsets[-1]

    def _unfold_beat(self, beat: int, handed: Tensor) -> None:
        for step in range(beat * BEAT_STEPS, (beat + 1) * BEAT_STEPS):
            state = self._steps(step, step + 1, handed)
            if self.is_valid[step]:
                self._unfold_step(
                    step, torch.cat([state, self.model.leaf_guide(self._guides(slice(step, step + 1)))], -1)
                )
            self.encoded = torch.cat([self.encoded, self.model.steps(self.content[None, step : step + 1])], dim=1)

    def _owed(self, step: int) -> int:
        """How many onsets this step must have so that those after it can bear the rest of the half bar, few at a
        time: the number of onsets is given, so it is not left to the draw."""
        later = int(self.steps_left[step]) - 1
        in_half = int(self.steps_left[step // HALF_STEPS * HALF_STEPS])
        each = max(LATER_ONSETS, -(-self.half_onsets // in_half) + 1)
        return max(0, int(self.remaining[step]) - later * each)

    def _unfold_step(self, step: int, cond: Tensor) -> None:
        """The notes of one step, lowest first, at most as many as its half bar still has to come."""
        leaf, sampling = self.model.leaf, self.sampling
        cond = cond[:, 0]
        recall = self._recall(step)
        cache = KVCache()
        token = leaf.begin(cond, recall)
        below = -1
        room = min(int(self.remaining[step]), self.model.config.max_notes_per_step)
        owed = self._owed(step)
        for place in range(room + 1):
            if place == room and not self.scores_forced:
                break
            hidden = leaf.hidden(token, cond, place, cache)
            last = torch.full((self.rows, 1), below, device=self.device)
            scores = guided(leaf.pitch_logits(hidden, last, recall, self.table)[:, 0], sampling.cfg_scale)
            if place == room:
                self.forced_log_likelihood += float(scores.log_softmax(-1)[0, STOP])
                break
            pitch = self._choose(scores, owed - place)
            if pitch == STOP:
                break
            velocity, duration = self._velocity_and_duration(hidden, pitch)
            self._strike(step, pitch, velocity, duration)
            chosen = torch.tensor([[pitch], [velocity], [duration]], device=self.device).expand(3, self.rows)[..., None]
            token = leaf.embed_notes(ChordTokens(*chosen), self.table)
            below = pitch

    def _velocity_and_duration(self, hidden: Tensor, pitch: int) -> tuple[int, int]:
        leaf, scale = self.model.leaf, self.sampling.cfg_scale
        pitches = torch.full((self.rows, 1), pitch, device=self.device)
        velocity = self._choose(guided(leaf.velocity_logits(hidden, pitches, self.table)[:, 0], scale))
        velocities = torch.full_like(pitches, velocity)
        duration = self._choose(guided(leaf.duration_logits(hidden, pitches, velocities, self.table)[:, 0], scale))
        return velocity, duration

    def _choose(self, scores: Tensor, owed: int = 0) -> int:
        """A draw, scored by what the model would have given it with every choice open. Pitches that are `owed`
        may neither be stopped short of nor leave too few above them."""
        open_scores = scores
        if owed > 0:
            open_scores = scores.clone()
            open_scores[..., self.model.config.pitch_high - owed + 2 :] = float("-inf")
            if torch.isinf(open_scores).all():
                open_scores = scores
        choice = int(draw(open_scores, self.sampling, self.generator)[0])
        self.log_likelihood += float(scores.log_softmax(-1)[0, choice])
        return choice

    def _recall(self, step: int) -> Recall:
        low = max(0, step - RECALL_STEPS)
        distance = step - torch.arange(low, step, device=self.device)[None]
        seen = torch.ones_like(distance, dtype=torch.bool)[None]
        held = (self.content[step - 1, 2] - 1 / 16).clamp(min=0) if step else self.content.new_zeros(PITCHES)
        found: Recall = self.model.recall(
            recall_maps(seen, distance, self.content[None, low:step, 0], held[None, None])
        )
        return Recall(found.features.expand(self.rows, -1, -1), found.rhythm.expand(self.rows, -1))

    def _strike(self, step: int, pitch: int, velocity_bin: int, duration_index: int) -> None:
        velocity, duration = velocity_of_bin(velocity_bin), DURATIONS[duration_index]
        self.notes.append(Note((step - self.start) * TICKS_PER_STEP, pitch, duration * TICKS_PER_STEP, velocity))
        sounding = self.content[step:, :, pitch]
        sounding.zero_()
        length = min(duration, len(sounding))
        left = duration - torch.arange(length, device=self.device)
        sounding[:length, 2] = left.clamp(max=16) / 16
        sounding[0, 0] = 1
        sounding[0, 1] = velocity / 127
        rest = slice(step + 1, (step // HALF_STEPS + 1) * HALF_STEPS)
        self.remaining[rest] = (self.remaining[rest] - 1).clamp(min=0)
