"""How long a bar takes from its request to its notes, through the model process's pipe, as the daemon sees it.

Bars follow each other as on stage, with controls that move at random. Every few bars the request overtakes another
one, as it does when a control moves shortly before a bar line while the model is busy. A rival's checkpoint answers in
turns with ours. Beside it, a whole piece of 32 bars unfolded at once, in this process.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from fractal_live.baselines.door import open_engine
from fractal_live.bench.companion import Companion, companion
from fractal_live.bench.figures import shown, spread
from fractal_live.bench.machine import cpu_pressure
from fractal_live.live.planner import MARGIN_NS
from fractal_live.model_side import MODEL_ENTRY, MODEL_START_S
from fractal_live.music.notes import Bar
from fractal_live.music.plan import ATTRIBUTES, PLAN_BARS, unknown_plan
from fractal_live.music.request import LATENT_DIMS, BarReply, BarRequest, ModelReady, ModelSetup, Sampling
from fractal_live.ports.sender import AHEAD_NS

PAST_BARS = 64
ANSWER_S = 120.0
OVERTAKEN = -1  # the number of a request that another one overtakes
CHANGES_PER_BAR = 0.5
OVERTAKES_EVERY = 4  # bars
OVERTAKES_AFTER_S = (0.0, 0.1)  # of a bar under way
PIECE_BARS = 32

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BarSettings:
    """`against` is the checkpoint of the other side, if there is to be one; `pieces` of 32 bars are made at once,
    after one that does not count (0: none)."""

    checkpoint: Path
    against: Path | None = None
    bars: int = 100
    pieces: int = 3
    device: str = "auto"
    threads: int = 1
    seed: int = 1


def run_bar(settings: BarSettings, tell: Progress = lambda text: None) -> dict[str, Any]:
    """The figures. Raises BenchError."""
    sides = asyncio.run(_play(settings, tell))
    tell(f"{PIECE_BARS} bars at once")
    ours, *theirs = [side.figures() for side in sides]
    return {
        **ours,
        "piece_32_bars_s": piece_seconds(settings) if settings.pieces else None,
        "against": theirs[0] if theirs else None,
        "threads": settings.threads,
        "pressure": cpu_pressure(),
    }


class LiveSet:
    """The requests of a set, one after another: bars become the past, the plan slides, a control moves now and then.
    The same seed moves the same controls."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._seed = seed
        self._index = 0
        self._past: tuple[Bar, ...] = ()
        self._imagined = unknown_plan()
        self._held = unknown_plan()[0]
        self._latent = (0.0,) * LATENT_DIMS
        self._sampling = Sampling()

    def request(self) -> BarRequest:
        if self._rng.random() < CHANGES_PER_BAR:
            self._move_a_control()
        plan = np.where(np.isnan(self._held), self._imagined, self._held).astype(np.float32)
        return BarRequest(
            self._index,
            self._past,
            plan,
            latent=self._latent,
            latent_gain=1.0,
            sampling=self._sampling,
            seed=self._seed,
            version=self._index,
            asked=np.tile(self._held, (PLAN_BARS, 1)),
        )

    def answered(self, reply: BarReply) -> None:
        self._past = (*self._past, reply.bar)[-PAST_BARS:]
        self._imagined = np.concatenate([reply.plan[1:], unknown_plan()[:1]])
        self._index += 1

    def _move_a_control(self) -> None:
        rng = self._rng
        kind = rng.choice(("hold", "release", "temperature", "guidance", "top_p", "latent"))
        self._imagined = unknown_plan()  # what was imagined under the old values is imagined afresh, as on stage
        if kind == "hold":
            column = rng.randrange(len(ATTRIBUTES))
            attribute = ATTRIBUTES[column]
            self._held = self._held.copy()
            self._held[column] = rng.uniform(attribute.low, attribute.high)
        elif kind == "release":
            self._held = unknown_plan()[0]
        elif kind == "temperature":
            self._sampling = replace(self._sampling, temperature=rng.uniform(0.5, 1.5))
        elif kind == "guidance":
            self._sampling = replace(self._sampling, cfg_scale=rng.choice((1.0, rng.uniform(1.0, 3.0))))
        elif kind == "top_p":
            self._sampling = replace(self._sampling, top_p=rng.uniform(0.7, 1.0))
        else:
            self._latent = tuple(rng.gauss(0, 1) for _ in range(LATENT_DIMS))


class _Side:
    """One checkpoint's model process, its set, and how long each of its bars took."""

    def __init__(self, process: Companion, seed: int) -> None:
        self._process = process
        self._set = LiveSet(seed)
        self._ready: ModelReady | None = None
        self._chance = random.Random(seed)
        self._took_ns: list[int] = []
        self._overtook_ns: list[int] = []
        self._own_ns: list[int] = []
        self._notes = 0

    async def warm(self) -> None:
        self._ready = await self._process.expect(ModelReady, MODEL_START_S)

    async def play_a_bar(self, is_overtaking: bool) -> None:
        request = self._set.request()
        if is_overtaking:
            self._process.send(replace(request, seed=request.seed + 1, version=OVERTAKEN))
            await asyncio.sleep(self._chance.uniform(*OVERTAKES_AFTER_S))
        asked_ns = time.monotonic_ns()
        self._process.send(request)
        reply = await self._answer(request.version)
        (self._overtook_ns if is_overtaking else self._took_ns).append(time.monotonic_ns() - asked_ns)
        if not is_overtaking:
            self._own_ns.append(reply.took_ns)
        self._notes += len(reply.bar.notes)
        self._set.answered(reply)

    async def _answer(self, version: int) -> BarReply:
        """The answer to a request; one that was to be overtaken may have been quicker."""
        while (reply := await self._process.expect(BarReply, ANSWER_S)).version != version:
            pass
        return reply

    def figures(self) -> dict[str, Any]:
        assert self._ready is not None, "a side is warm before it plays"
        bars, took, overtook = (
            len(self._took_ns) + len(self._overtook_ns),
            spread(self._took_ns),
            spread(self._overtook_ns),
        )
        return {
            "request_to_notes_ms": took,
            "overtaking_to_notes_ms": overtook,
            "engine_ms": spread(self._own_ns),
            "control_to_bar_line_ms": control_to_bar_line_ms(max(took["p99"] or 0.0, overtook["p99"] or 0.0)),
            "bars": bars,
            "bars_per_second": round(bars / (sum((*self._took_ns, *self._overtook_ns)) / 1e9), 2),
            "notes_per_bar": round(self._notes / bars, 1),
            "device": self._ready.device,
            "checkpoint": self._ready.checkpoint_id,
            "parameters": self._ready.parameters,
        }


async def _play(settings: BarSettings, tell: Progress) -> list[_Side]:
    async with AsyncExitStack() as stack:
        sides = []
        for path in (settings.checkpoint, settings.against):
            if path is not None:
                setup = ModelSetup(str(path), settings.device, settings.threads)
                process = await stack.enter_async_context(companion(f"model {path.stem}", MODEL_ENTRY, setup))
                sides.append(_Side(process, settings.seed))
        tell("warming up")
        for side in sides:
            await side.warm()
        for index in range(settings.bars):
            tell(f"bar {index + 1} of {settings.bars}")
            for side in sides:
                await side.play_a_bar(index % OVERTAKES_EVERY == OVERTAKES_EVERY - 1)
        return sides


def piece_seconds(settings: BarSettings) -> float | None:
    """The median time of a piece of 32 bars with all its bars side by side; None for a system that cannot do that."""
    torch.set_num_threads(settings.threads)
    engine = open_engine(settings.checkpoint, settings.device)
    if not hasattr(engine, "piece"):
        return None
    took_s = []
    for number in range(settings.pieces + 1):
        started_s = time.monotonic()
        engine.piece(unknown_plan(PLAN_BARS), Sampling(), settings.seed + number, (0.0,) * LATENT_DIMS, 0.0)
        took_s.append(time.monotonic() - started_s)
    return round(statistics.median(took_s[1:]), 3)  # the first one warms up


def control_to_bar_line_ms(slowest_ms: float) -> float:
    """From how long before a bar line a change is heard there, with bars that take up to `slowest_ms`, the time in
    which another one gives way to them included: it must be there a little before the line."""
    return round(slowest_ms + (MARGIN_NS + AHEAD_NS // 2) / 1e6, 1)


def table(figures: dict[str, Any]) -> Table:
    """For people."""
    result = Table(
        "a bar, request to notes", "p50 ms", "p99 ms", "max ms", "overtaking p99", "bars/s", "notes/bar", "parameters"
    )
    for side in (figures, figures["against"]):
        if side is not None:
            took = side["request_to_notes_ms"]
            result.add_row(
                f"{side['checkpoint']} on {side['device']}",
                shown(took["p50"], 1),
                shown(took["p99"], 1),
                shown(took["max"], 1),
                shown(side["overtaking_to_notes_ms"]["p99"], 1),
                f"{side['bars_per_second']:g}",
                f"{side['notes_per_bar']:g}",
                f"{side['parameters']:,}",
            )
    pressure = figures["pressure"]
    result.caption = (
        f"{figures['bars']} bars each, in turns; {figures['threads']} threads; CPU pressure "
        f"{'unknown' if pressure is None else f'{pressure:g} %'}; "
        f"{PIECE_BARS} bars at once in {shown(figures['piece_32_bars_s'])} s; "
        f"a control is heard at a bar line {figures['control_to_bar_line_ms']:g} ms away"
    )
    return result
