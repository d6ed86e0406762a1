"""The shape of a model: one column per level, and the quantisation its leaf speaks.

Travels as JSON inside the checkpoint; nothing of it is repeated elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

GENERATORS = ("mar", "ar")
DURATIONS = (*range(1, 17), 20, 24, 28, 32, 40, 48, 64)
VELOCITY_BINS = 32
PLAN_BINS = 48
FREQUENCIES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Half turns over its range at which a value of the plan is told."""
SKETCH_WIDTH = 0.1  # of a value's range: what lies farther from the sketch is doubted as far as that is trusted
RETURNS = (1, 2, 4, 8, 16, 32, -1, -2, -4, -8, -16, -32)
"""How many bars before a row another stands that it may repeat; a later one where that is known first."""
CHROMA_LEVELS = 4
MAX_HALF_ONSETS = 32
ECHO_LAGS = (1, 2, 4, 8, 16, 32)
ECHO_SOURCES = (*(-lag for lag in ECHO_LAGS), *ECHO_LAGS)
ECHO_STRENGTHS = (0.5, 0.78, 1.0)
ECHOES = 1 + len(ECHO_SOURCES) * len(ECHO_STRENGTHS)

BAR_STEPS = 16
HALF_STEPS = 8
LEAVES = ("transformer", "lstm")
SCAN_ORDERS = ("column_major", "row_major")


class ConfigError(ValueError):
    """A model shape that cannot be built; the message says which value and what is allowed."""


def check_keys(shape: type[Any], values: Mapping[str, Any]) -> None:
    """Raises ConfigError if some of the keys are no fields of the shape, a dataclass; names them."""
    known = {field.name for field in fields(shape)}
    if unknown := set(values) - known:
        raise ConfigError(f"unknown model keys {sorted(unknown)}; known: {sorted(known)}")


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """One level of the fractal: how many tokens a training crop has, width, depth and heads of its transformer,
    how it generates, how many numbers of its hidden state it hands down (`compressed_dim`, the harmonic
    compression), and how far in tokens it sees to either side (`window`, 0 for everything)."""

    seq_len: int
    embed_dim: int
    num_blocks: int
    num_heads: int
    generator: str
    compressed_dim: int = 64
    window: int = 0

    def __post_init__(self) -> None:
        if self.generator not in GENERATORS:
            raise ConfigError(f"generator is {self.generator!r}; allowed: {', '.join(GENERATORS)}")
        _check_heads(self.embed_dim, self.num_heads)


@dataclass(frozen=True, slots=True)
class LeafConfig:
    """The pitch-autoregressive leaf: a causal transformer over the notes of a step, or an LSTM (`kind`)."""

    kind: str = "transformer"
    embed_dim: int = 128
    num_blocks: int = 2
    num_heads: int = 4

    def __post_init__(self) -> None:
        if self.kind not in LEAVES:
            raise ConfigError(f"leaf kind is {self.kind!r}; allowed: {', '.join(LEAVES)}")
        _check_heads(self.embed_dim, self.num_heads)


def _check_heads(embed_dim: int, num_heads: int) -> None:
    if num_heads < 1 or embed_dim % (2 * num_heads):
        raise ConfigError(f"embed_dim {embed_dim} must be a multiple of 2 x num_heads {num_heads}")


DEFAULT_LEVELS = (
    LevelConfig(32, 128, 3, 4, "mar"),
    LevelConfig(64, 192, 4, 6, "mar"),
    LevelConfig(128, 192, 2, 6, "ar", window=16),
    LevelConfig(512, 192, 3, 6, "ar", compressed_dim=128, window=32),
)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The whole fractal: its levels from the coarsest down, and the leaf.

    The first level has a token per 4/4 bar, the second one per half bar, the last one per step; between the
    second and the last stand any levels of 4 or 2 steps. `scan_order` is the order in which the content level
    goes through a half bar whose pitches are split into `pitch_bands`: `column_major` takes all bands of a step
    before the next step, `row_major` all steps of the lowest band before the next band. `past_bars` is how many
    plan rows of what was played the first level looks at; `recall_channels` is the width of the leaf's memory.
    """

    levels: tuple[LevelConfig, ...] = DEFAULT_LEVELS
    leaf: LeafConfig = LeafConfig()
    scan_order: str = "column_major"
    pitch_bands: int = 1
    step_dim: int = 96
    conv_channels: int = 24
    guide_dim: int = 64
    recall_channels: int = 16
    mlp_ratio: int = 3
    dropout: float = 0.0
    past_bars: int = 32
    max_bar_len: int = 64
    max_notes_per_step: int = 10
    latent_dims: int = 16
    pitch_low: int = 0
    pitch_high: int = 127

    def __post_init__(self) -> None:
        lengths = [level.seq_len for level in self.levels]
        if len(lengths) < 3 or min(lengths) < 1:
            raise ConfigError(f"levels have seq_len {lengths}; at least three are needed: bars, half bars, steps")
        spans = [lengths[-1] / length for length in lengths]
        middle = spans[2:-1]
        is_halving = all(span in (4, 2) for span in middle) and middle == sorted(set(middle), reverse=True)
        if spans[0] != BAR_STEPS or spans[1] != HALF_STEPS or not is_halving:
            raise ConfigError(
                f"levels have seq_len {lengths}, so {spans} steps per token; allowed: {BAR_STEPS} (a bar), then "
                f"{HALF_STEPS} (a half bar), then 4 and 2, or one or none of them, then 1; as in [32, 64, 128, 512]"
            )
        if self.scan_order not in SCAN_ORDERS:
            raise ConfigError(f"scan_order is {self.scan_order!r}; allowed: {', '.join(SCAN_ORDERS)}")
        if not 1 <= self.pitch_bands <= 8:
            raise ConfigError(f"pitch_bands is {self.pitch_bands}; allowed: 1 to 8")
        if not 0 <= self.pitch_low < self.pitch_high <= 127:
            raise ConfigError(f"pitches {self.pitch_low} to {self.pitch_high} must lie in 0 to 127, low below high")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; allowed: 0 to below 1")

    @property
    def plan_bars(self) -> int:
        """How many bars level 0 imagines at once."""
        return self.levels[0].seq_len

    @property
    def spans(self) -> tuple[int, ...]:
        """Steps per token at every level."""
        return tuple(self.levels[-1].seq_len // level.seq_len for level in self.levels)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Raises ConfigError on unknown keys, naming them."""
        check_keys(cls, values)
        built = dict(values)
        try:
            if "levels" in values:
                built["levels"] = tuple(LevelConfig(**level) for level in values["levels"])
            if "leaf" in values:
                built["leaf"] = LeafConfig(**values["leaf"])
        except TypeError as error:
            raise ConfigError(f"a level of the model cannot be read: {error}") from error
        return cls(**built)


def duration_class(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The index of the nearest representable duration, steps at least 1."""
    table = np.array(DURATIONS)
    right = np.clip(np.searchsorted(table, steps), 1, len(table) - 1)
    return np.where(steps - table[right - 1] <= table[right] - steps, right - 1, right)


def velocity_bin(velocity: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return velocity * VELOCITY_BINS // 128


def velocity_of_bin(index: int) -> int:
    """The middle of a bin: 2, 6, ... 126."""
    width = 128 // VELOCITY_BINS
    return index * width + width // 2


CHROMA_EDGES = (0.001, 0.25, 0.6)
CHROMA_CENTRES = (0.0, 0.15, 0.42, 1.0)


def chroma_level(chroma: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Chroma in 0 to 1 as one of four levels: absent, touched, present, ruling."""
    return np.digitize(chroma, CHROMA_EDGES).astype(np.int64)
