"""Draws docs/dashboard.svg, the README's picture: one frame of a show that could have been.

python docs/draw_dashboard.py [path]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fractal_live.dashboard import DashboardState, svg_of
from fractal_live.live.snapshot import ControlSnapshot
from fractal_live.music.meter import FOUR_FOUR, PPQN, TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import PLAN_BARS
from fractal_live.music.request import Sampling


def main(arguments: Sequence[str]) -> None:
    """Writes the picture to the path given, or beside this file."""
    path = Path(arguments[0]) if arguments else Path(__file__).with_name("dashboard.svg")
    path.write_text(svg_of(plausible_state()), encoding="utf-8")


def plausible_state(seed: int = 1) -> DashboardState:
    """A moment of a show that could have been: the plan swells, four bars are known, a few controls moved."""
    rng = np.random.default_rng(seed)
    swell = np.sin(np.linspace(0, math.pi, PLAN_BARS))
    columns = (9 + 14 * swell, np.full(PLAN_BARS, 72.0), 2 + 2 * swell, 5 - 3 * swell, 58 + 8 * swell, 45 + 45 * swell)
    plan = np.stack(columns, axis=1) + rng.normal(0, 1, (PLAN_BARS, 6)) * (1, 0, 0.3, 0.4, 1, 3)
    given = np.full((PLAN_BARS, 6), np.nan)
    given[:, 1] = 72
    given[:12, 5] = plan[:12, 5]
    snapshot = ControlSnapshot(
        version=41,
        sampling=Sampling(temperature=0.9, cfg_scale=1.8),
        latent=tuple(float(value) for value in rng.normal(0, 1.2, 16)),
        latent_gain=1.0,
        plan=(None,) * 6,
        cycle_seed=1810,
        rerolls=2,
        lead_bars=2,
        transpose=0,
        velocity=1.0,
    )
    return DashboardState(
        title="Nocturne",
        is_rolling=True,
        is_locked=True,
        tempo_bpm=72.03,
        tick=20 * FOUR_FOUR.ticks_per_bar + 2 * PPQN + 130,
        plan=plan.astype(np.float32),
        given=given.astype(np.float32),
        bars=tuple(_plausible_bar(20 + place, rng) for place in range(4)),
        controls=snapshot,
        lead_bars=2,
        generation_ms=87,
        lateness_p50_ns=31_000,
        lateness_p99_ns=412_000,
        lateness_max_ns=1_370_000,
        sounding=4,
        osc_messages=18_204,
        osc_refused=1,
        osc_last="/fractal/plan/loudness 45 52 60 ...",
        device="cpu",
        checkpoint="live",
        output_port="fractal-live",
        input_port="fractal-live",
        osc_port="127.0.0.1:5005",
        recording="nocturne.mid",
        errors=("/fractal/param/temprature: no such address; nearest: /fractal/param/temperature",),
    )


def _plausible_bar(index: int, rng: np.random.Generator) -> Bar:
    """A broken chord low down and a few long notes above it."""
    root = (45, 41, 48, 43)[index % 4]
    below = [
        Note(step * TICKS_PER_STEP, root + (0, 7, 12, 16)[step // 2 % 4], 2 * TICKS_PER_STEP, 60)
        for step in range(0, 16, 2)
    ]
    above = [
        Note(int(step) * TICKS_PER_STEP, root + 24 + int(rng.choice((0, 3, 7, 10, 12))), 3 * TICKS_PER_STEP, 80)
        for step in sorted(rng.choice(range(0, 16, 2), size=4, replace=False))
    ]
    return Bar(index, tuple(sorted(below + above)))


if __name__ == "__main__":
    main(sys.argv[1:])
