"""What a generator of bars is asked: the door behind which the fractal and its rivals stand.

A request is complete: the same request to the same checkpoint on the same device gives the same bar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar
from fractal_live.music.plan import PlanTable, unknown_plan

LATENT_DIMS = 16
MEMORY_BARS = 64  # how far back the past of a request reaches
GAIN_AT_REST = 0.3  # of a latent that nobody touched: it holds a long set near the songs' middle and lets it move


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw from the model's distributions.

    `temperature` 0.1 to 2 at every level. `cfg_scale` 0 to 5, guidance by plan and harmony (1 = off);
    `cfg_schedule` says how it grows while a piece is opened (`constant`, or `linear` from off to full), and
    `cfg_levels` how much of it the structure, the phrase and the leaf take (0 to 1 each). Filters, in this order:
    `top_k` likeliest choices only (0 = off); the likeliest that sum to `top_p` only (1 = off); not the `mask_k`
    likeliest (0 = off); not the likeliest that sum to `mask_p` (0 = off); the last two push away from the obvious.
    `echo` in nats, -6 to 6, favours half bars that repeat earlier ones (0 = as the model likes it).
    `iterations` is how many rounds the masked levels take to open what is unknown, and `refine` the share of
    half bars that is drawn again afterwards, the least confident first (0 = off; infill and offline only)."""

    temperature: float = 1.0
    cfg_scale: float = 1.0
    cfg_schedule: str = "constant"
    cfg_levels: tuple[float, float, float] = (1.0, 1.0, 1.0)
    top_p: float = 1.0
    top_k: int = 0
    mask_k: int = 0
    mask_p: float = 0.0
    echo: float = 0.0
    iterations: int = 4
    refine: float = 0.0


MENDING = Sampling(temperature=0.3, echo=2.0, iterations=16)
"""How a gap is filled unless told otherwise: cautiously, in the manner of what stands around it."""


@dataclass(frozen=True, slots=True)
class BarRequest:
    """One bar, please.

    `past` is what was really played, oldest first (the newest bars matter). `plan` is (32, 6): row 0 is
    the bar asked for, NaN what the model shall imagine. `chroma` is (halves, 12) for the bar asked for
    or None; `latent` has 16 floats, `latent_gain` 0 to 1 is its influence. `version` is handed back. `asked` has the
    shape of `plan`: what of it somebody asked for, NaN for what was imagined when earlier bars were made; None if
    all that the plan knows was asked for.
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
    asked: PlanTable | None = None


@dataclass(frozen=True, slots=True)
class BarReply:
    """The bar, the whole plan it stands in (32, 6: nothing unknown), and how long it took."""

    bar: Bar
    plan: PlanTable
    version: int
    took_ns: int


@dataclass(frozen=True, slots=True)
class InfillRequest:
    """Some bars of a piece again, please, knowing what stands on both sides.

    `bars` is the piece, at most 32 bars in a row; `is_missing` marks the bars to be made again, whose notes are
    neither read nor kept, except pitches outside `low` to `high`, which come back as they were. `plan` is
    (bars, 6), NaN for what the model shall imagine; only rows of missing bars are read. `version` is handed back.
    """

    bars: tuple[Bar, ...]
    is_missing: tuple[bool, ...]
    plan: PlanTable | None = None
    sampling: Sampling = Sampling()
    seed: int = 0
    low: int = 0
    high: int = 127
    version: int = 0

    def __post_init__(self) -> None:
        if len(self.bars) != len(self.is_missing):
            raise ValueError(f"{len(self.bars)} bars but {len(self.is_missing)} marks of what is missing")
        if not 0 <= self.low <= self.high <= 127:
            raise ValueError(f"pitches {self.low} to {self.high} must lie in 0 to 127, low not above high")


@dataclass(frozen=True, slots=True)
class InfillReply:
    """The whole piece of an InfillRequest, its missing bars made, and how long it took."""

    bars: tuple[Bar, ...]
    version: int
    took_ns: int


class Withdrawn(Exception):
    """Nobody waits for the answer any more."""


class Generator(Protocol):
    """What makes music on request: the fractal's engine, or a rival's. The same request gives the same bars on
    the same device."""

    checkpoint_id: str
    training: dict[str, Any]

    @property
    def parameters(self) -> int: ...

    def bar(self, request: BarRequest, is_wanted: Callable[[], bool] = lambda: True) -> BarReply:
        """Looks now and then whether the bar is still wanted. Raises Withdrawn if not."""
        ...

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]: ...


@dataclass(frozen=True, slots=True)
class ModelSetup:
    """First message to the model process. `device` is auto, cpu or cuda. `is_restart`: it takes the place of one that
    died in the middle of a set, so its first bars are real ones instead of those that would make it warm."""

    checkpoint: str
    device: str = "auto"
    threads: int = 1
    is_restart: bool = False


@dataclass(frozen=True, slots=True)
class ModelPing:
    """To the model process: does it live? Answered with itself, even while a bar is made."""


@dataclass(frozen=True, slots=True)
class ModelReady:
    """From the model process, once it can make bars. `bar_ns` is how long its last warm-up bar took, 0 where it made
    none."""

    checkpoint_id: str
    device: str
    parameters: int
    bar_ns: int


@dataclass(frozen=True, slots=True)
class ModelFault:
    """From the model process: this request could not be answered (`version`, -1 for none). `begins_anew`: nor can the
    next ones until it says ModelReady again."""

    text: str
    version: int = -1
    begins_anew: bool = False
