"""The event transformer behind the fractal's door: it goes on from what was played, one bar at a time.

It hears the past and nothing else. Plan, harmony and latent cannot be obeyed, density least of all: how many notes
a bar has shows only once it is written. Tempo is taken over, since it is no matter of notes: from the plan where it
is given, else from the bar before. Infill goes on from the left; what stands on the right is not heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fractal_live.baselines.event_checkpoint import load
from fractal_live.baselines.event_decoding import Decoder
from fractal_live.baselines.events import (
    MOST_NOTES_PER_STEP,
    PITCHES,
    notes_from_tokens,
    tokens_from_bars,
)
from fractal_live.model.config import BAR_STEPS
from fractal_live.model.engine import choose_device
from fractal_live.model.sampling import draw
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import COLUMN, HIGH, LOW, PlanTable, measure
from fractal_live.music.request import MEMORY_BARS, BarReply, BarRequest, InfillRequest, Sampling, Withdrawn

WARM_UP_BARS = 3
DEFAULT_TEMPO_BPM = 120.0
MEASURED_BARS = 8


class EventEngine:
    """Writes bars with one model on one device. Not for several threads at once."""

    def __init__(self, checkpoint_path: Path, device: str = "auto") -> None:
        self.device = choose_device(device)
        loaded = load(checkpoint_path, self.device)
        self.model, self.checkpoint_id, self.training = loaded.model, loaded.checkpoint_id, loaded.training
        self._decoder = Decoder(self.model)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def warm_up(self) -> int:
        """Writes a few bars, so that the first real one is not the slowest. Returns the nanoseconds the last took."""
        past: tuple[Bar, ...] = ()
        took_ns = 0
        for index in range(WARM_UP_BARS):
            reply = self.bar(BarRequest(index, past))
            past, took_ns = (*past, reply.bar), reply.took_ns
        return took_ns

    def bar(self, request: BarRequest, is_wanted: Callable[[], bool] = lambda: True) -> BarReply:
        """The bar that follows the past. Chance comes from the request's seed and index alone. Whether it `is_wanted`
        is looked at once, before it is begun; raises Withdrawn if not."""
        if not is_wanted():
            raise Withdrawn
        started_ns = time.monotonic_ns()
        tempo_bpm = float(request.plan[0, COLUMN["tempo"]])
        if np.isnan(tempo_bpm):
            tempo_bpm = request.past[-1].tempo_bpm if request.past else DEFAULT_TEMPO_BPM
        notes = self._written(request.past, request.meter, request.sampling, self._chance(request.seed, request.index))
        bar = Bar(request.index, notes, request.meter, tempo_bpm, seed=request.seed, checkpoint_id=self.checkpoint_id)
        plan = _with_nothing_unknown(request.plan, (*request.past, bar))
        return BarReply(bar, plan, request.version, time.monotonic_ns() - started_ns)

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
        """The missing bars, one after another, each from what stands to its left."""
        done: list[Bar] = []
        pitches = (request.low, request.high)
        for bar, is_missing in zip(request.bars, request.is_missing, strict=True):
            if is_missing:
                kept = [note for note in bar.notes if not request.low <= note.pitch <= request.high]
                chance = self._chance(request.seed, len(done))
                made = self._written(done, bar.meter, request.sampling, chance, pitches)
                notes = tuple(sorted([*kept, *made]))
                bar = replace(bar, notes=notes, plan=(), chroma=(), seed=request.seed, checkpoint_id=self.checkpoint_id)
            done.append(bar)
        return tuple(done)

    def piece(
        self,
        plan: PlanTable,
        sampling: Sampling,
        seed: int,
        latent: tuple[float, ...] = (),
        latent_gain: float = 0.0,
        meter: Meter = FOUR_FOUR,
    ) -> tuple[Bar, ...]:
        """A whole piece in one go, one bar per row of the plan (n, 6), of which only a tempo is obeyed."""
        chance, starts = self._chance(seed, 0), range(0, meter.steps_per_bar, BAR_STEPS)
        bars: list[Bar] = []
        tempo_bpm = DEFAULT_TEMPO_BPM
        with torch.inference_mode():
            scores = self._decoder.start([self.model.words.bar], self.model.config.context)
            for index, row in enumerate(plan):
                wanted_bpm = float(row[COLUMN["tempo"]])
                tempo_bpm = tempo_bpm if np.isnan(wanted_bpm) else wanted_bpm
                scores, made = self._one_bar(scores, starts, meter, (0, PITCHES - 1), sampling, chance)
                notes = notes_from_tokens(made, starts)
                bars.append(Bar(index, notes, meter, tempo_bpm, seed=seed, checkpoint_id=self.checkpoint_id))
        return tuple(bars)

    def _chance(self, seed: int, index: int) -> torch.Generator:
        generator = torch.Generator(self.device)
        generator.manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
        return generator

    def _written(
        self,
        past: Sequence[Bar],
        meter: Meter,
        sampling: Sampling,
        generator: torch.Generator,
        pitches: tuple[int, int] = (0, PITCHES - 1),
    ) -> tuple[Note, ...]:
        """The notes of the bar that follows, their pitches in a range."""
        starts = range(0, meter.steps_per_bar, BAR_STEPS)
        context = tokens_from_bars(past[-MEMORY_BARS:]).tolist()
        with torch.inference_mode():
            scores = self._decoder.start(context, self.model.config.context * 3 // 4)
            _, made = self._one_bar(scores, starts, meter, pitches, sampling, generator)
        return notes_from_tokens(made, starts)

    def _one_bar(
        self,
        scores: Tensor,
        starts: range,
        meter: Meter,
        pitches: tuple[int, int],
        sampling: Sampling,
        generator: torch.Generator,
    ) -> tuple[Tensor, list[int]]:
        """Writes a bar, a long one as REMI bars in a row, and the Bar behind it. Returns the scores of what follows
        and the bar's tokens."""
        made = [self.model.words.bar]
        for start in starts:
            forbidden = self._forbidden(meter.steps_per_bar - start, pitches)
            scores = self._remi_bar(scores, forbidden, made, sampling, generator)
        return scores, made[:-1]

    def _remi_bar(
        self, scores: Tensor, forbidden: Tensor, made: list[int], sampling: Sampling, generator: torch.Generator
    ) -> Tensor:
        """Writes on until the next Bar, which is written too. Returns the scores of what follows it."""
        words = self.model.words
        crowded = forbidden.clone()
        crowded[words.pitch : words.pitch + PITCHES] = True
        on_step = 0
        while True:
            is_full = on_step == MOST_NOTES_PER_STEP
            masked = scores.masked_fill(crowded if is_full else forbidden, float("-inf"))
            token = int(draw(masked[None], sampling, generator))
            made.append(token)
            scores = self._decoder.follow(token)
            if token == words.bar:
                return scores
            if words.position <= token < words.position + BAR_STEPS:
                on_step = 0
            on_step += words.duration <= token < words.position

    def _forbidden(self, steps: int, pitches: tuple[int, int]) -> Tensor:
        """Tokens that the meter and the wanted range leave no room for: (V,) bool."""
        words = self.model.words
        forbidden = torch.zeros(words.size, dtype=torch.bool, device=self.device)
        forbidden[words.position + min(steps, BAR_STEPS) : words.position + BAR_STEPS] = True
        forbidden[words.pitch : words.pitch + pitches[0]] = True
        forbidden[words.pitch + pitches[1] + 1 : words.pitch + PITCHES] = True
        return forbidden


def _with_nothing_unknown(plan: PlanTable, bars: Sequence[Bar]) -> PlanTable:
    """The plan with unknown cells told as what sounds now goes on: the last bar that measures an attribute. What
    none does stands in the middle of its range."""
    known = (LOW + HIGH) / 2
    for bar in bars[-MEASURED_BARS:]:
        row = measure(bar)
        known = np.where(np.isnan(row), known, row)
    return np.where(np.isnan(plan), known, plan).astype(np.float32)
