"""The engine: a checkpoint kept warm, one request in, one bar out; or missing bars, or a whole piece."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fractal_live.model.checkpoint import load
from fractal_live.model.config import HALF_STEPS
from fractal_live.model.layers import StepCodes
from fractal_live.model.lean import pack
from fractal_live.model.unfold import Unfolded, next_plan, unfold_bar, unfold_missing, unfold_piece
from fractal_live.music.loudness import levelled
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar
from fractal_live.music.plan import COLUMN, PlanTable, unknown_plan
from fractal_live.music.request import (
    BarReply,
    BarRequest,
    InfillRequest,
    Sampling,
)

WARM_UP_BARS = 4


def choose_device(wanted: str) -> torch.device:
    """auto is CUDA where it works, else the CPU. Raises ValueError for a device that is not there."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {wanted!r}; allowed: auto, cpu, cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no CUDA device; use --device cpu or auto")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


class Engine:
    """Unfolds bars with one model on one device. Not for several threads at once."""

    def __init__(self, checkpoint_path: Path, device: str = "auto") -> None:
        self.device = choose_device(device)
        loaded = load(checkpoint_path, self.device)
        self.model, self.checkpoint_id, self.training = loaded.model, loaded.checkpoint_id, loaded.training
        if self.device.type == "cpu":
            pack(self.model)
        self.model.step_codes = StepCodes(self.model.steps)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def warm_up(self) -> int:
        """Unfolds a few bars on what came before, the first one with everything asked that can be, so that no real one
        is the first of its kind. Returns the nanoseconds the last one took."""
        past: tuple[Bar, ...] = ()
        took_ns = 0
        asked = unknown_plan()
        asked[:, [COLUMN["density"], COLUMN["duration"], COLUMN["register"]]] = 16, 2, 60
        demanding = Sampling(cfg_scale=2.0, top_p=0.9, top_k=40, mask_k=1)
        for index in range(WARM_UP_BARS):
            reply = self.bar(BarRequest(index, past) if index else BarRequest(0, plan=asked, sampling=demanding))
            past = (*past, reply.bar)
            took_ns = reply.took_ns
        return took_ns

    def bar(self, request: BarRequest, is_wanted: Callable[[], bool] = lambda: True) -> BarReply:
        """The bar a request asks for. Chance comes from its seed and index alone. Raises Withdrawn when it is not
        `is_wanted` any more, which is looked at many times a bar."""
        started_ns = time.monotonic_ns()
        chance = self._generator(request.seed, request.index)
        with torch.inference_mode():
            result = unfold_bar(self.model, request, chance, is_wanted=is_wanted)
        row = result.plan[0]
        bar = self._bar(request.index, result, 0, request.meter, request.seed)
        loudness = (request.plan if request.asked is None else request.asked)[0, COLUMN["loudness"]]
        if not np.isnan(loudness):  # a wish beyond what songs have is heard too
            bar = replace(bar, notes=levelled(bar.notes, float(loudness)))
        tempo_bpm = float(row[COLUMN["tempo"]])
        return BarReply(
            replace(bar, tempo_bpm=tempo_bpm), result.plan, request.version, time.monotonic_ns() - started_ns
        )

    def imagine(self, request: BarRequest) -> PlanTable:
        """The plan of a request, (32, 6), nothing unknown, without its notes: the one that `bar` would unfold."""
        with torch.inference_mode():
            return next_plan(self.model, request, self._generator(request.seed, request.index))

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
        """The piece with its missing bars made; the others come back as they were. Pieces longer than the model's
        horizon are made window by window, around each run of missing bars."""
        bars, is_missing = list(request.bars), list(request.is_missing)
        for low, high in _windows(request.is_missing, self.model.config.plan_bars):
            part = replace(
                request,
                bars=tuple(bars[low:high]),
                is_missing=tuple(is_missing[low:high]),
                plan=None if request.plan is None else request.plan[low:high],
            )
            with torch.inference_mode():
                result = unfold_missing(self.model, part, self._generator(request.seed, low))
            missing = [low + place for place, gone in enumerate(part.is_missing) if gone]
            is_missing[low:high] = [False] * (high - low)
            for place, (index, notes) in enumerate(zip(missing, result.bars, strict=True)):
                old = bars[index]
                outside = [note for note in old.notes if not request.low <= note.pitch <= request.high]
                made = [note for note in notes if request.low <= note.pitch <= request.high]
                halves = -(-old.meter.steps_per_bar // HALF_STEPS)
                chroma = result.chroma[place * halves : (place + 1) * halves]
                bars[index] = replace(
                    old,
                    notes=tuple(sorted([*outside, *made])),
                    plan=tuple(float(value) for value in result.plan[index - low]),
                    chroma=tuple(tuple(float(value) for value in half) for half in chroma),
                    seed=request.seed,
                    checkpoint_id=self.checkpoint_id,
                )
        return tuple(bars)

    def piece(
        self,
        plan: PlanTable,
        sampling: Sampling,
        seed: int,
        latent: tuple[float, ...],
        latent_gain: float,
        meter: Meter = FOUR_FOUR,
    ) -> tuple[Bar, ...]:
        """A whole piece, one bar per row of the plan (n, 6), NaN for what is imagined; all bars side by side, in
        `sampling.iterations` rounds."""
        with torch.inference_mode():
            result = unfold_piece(self.model, plan, sampling, self._generator(seed, 0), latent, latent_gain, meter)
        bars = [self._bar(index, result, index, meter, seed) for index in range(len(plan))]
        return tuple(
            replace(bar, tempo_bpm=float(row[COLUMN["tempo"]])) for bar, row in zip(bars, result.plan, strict=True)
        )

    def _generator(self, seed: int, index: int) -> torch.Generator:
        generator = torch.Generator(self.device)
        generator.manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
        return generator

    def _bar(self, index: int, result: Unfolded, place: int, meter: Meter, seed: int) -> Bar:
        halves = -(-meter.steps_per_bar // HALF_STEPS)
        chroma = result.chroma[place * halves : (place + 1) * halves]
        return Bar(
            index,
            result.bars[place],
            meter,
            plan=tuple(float(value) for value in result.plan[place]),
            chroma=tuple(tuple(float(value) for value in half) for half in chroma),
            seed=seed,
            checkpoint_id=self.checkpoint_id,
        )


def _windows(is_missing: tuple[bool, ...], horizon: int) -> list[tuple[int, int]]:
    """Stretches of at most `horizon` bars that hold every missing bar, each with what surrounds it on both sides; what
    an earlier window made is known to the next."""
    if len(is_missing) <= horizon:
        return [(0, len(is_missing))] if any(is_missing) else []
    found: list[tuple[int, int]] = []
    half = horizon // 2
    for low in range(0, len(is_missing), half):
        if any(is_missing[low : low + half]):
            start = max(0, min(low - half // 2, len(is_missing) - horizon))
            found.append((start, start + horizon))
    return found
