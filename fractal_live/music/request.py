"""What a generator of bars is asked: the door behind which the fractal and its rivals stand.

A request is complete: the same request to the same checkpoint on the same device gives the same bar.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar
from fractal_live.music.plan import PlanTable, unknown_plan

LATENT_DIMS = 16


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw from the model's distributions. `temperature` 0.1 to 2 at every level; `cfg_scale`
    0 to 5, guidance by plan and harmony (1 = off); `top_p` in (0, 1], 1 = off; `top_k` 0 = off;
    `iterations` is how many rounds the masked levels take to open what is unknown."""

    temperature: float = 1.0
    cfg_scale: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    iterations: int = 4


@dataclass(frozen=True, slots=True)
class BarRequest:
    """One bar, please.

    `past` is what was really played, oldest first (the newest bars matter). `plan` is (32, 6): row 0 is
    the bar asked for, NaN what the model shall imagine. `chroma` is (halves, 12) for the bar asked for
    or None; `latent` has 16 floats, `latent_gain` 0 to 1 is its influence. `version` is handed back.
    """

    index: int
    past: tuple[Bar, ...] = ()
    plan: PlanTable = field(default_factory=unknown_plan)
    chroma: npt.NDArray[np.float32] | None = None
    latent: tuple[float, ...] = (0.0,) * LATENT_DIMS
    latent_gain: float = 0.0
    meter: Meter = FOUR_FOUR
    sampling: Sampling = Sampling()
    seed: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class BarReply:
    """The bar, the whole plan it stands in (32, 6: nothing unknown), and how long it took."""

    bar: Bar
    plan: PlanTable
    version: int
    took_ns: int


@dataclass(frozen=True, slots=True)
class ModelSetup:
    """First message to the model process. `device` is auto, cpu or cuda."""

    checkpoint: str
    device: str = "auto"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class ModelReady:
    """From the model process, once it is warm. `bar_ns` is how long its last warm-up bar took."""

    checkpoint_id: str
    device: str
    parameters: int
    bar_ns: int


@dataclass(frozen=True, slots=True)
class ModelFault:
    """From the model process: this request could not be answered (`version`, -1 for none)."""

    text: str
    version: int = -1
