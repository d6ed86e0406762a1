"""The shape of a model: one column per level, and the quantisation its leaf speaks.

Travels as JSON inside the checkpoint; nothing of it is repeated elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

GENERATORS = ("mar", "ar")
DURATIONS = (*range(1, 17), 20, 24, 28, 32, 40, 48, 64)
VELOCITY_BINS = 32
PLAN_BINS = 48
CHROMA_LEVELS = 4
MAX_HALF_ONSETS = 32

BEAT_STEPS = 4
HALF_STEPS = 8


class ConfigError(ValueError):
    """A model shape that cannot be built; the message says which value and what is allowed."""


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """One column: width, depth and heads of a level's transformer, how it generates, and how many
    numbers of its hidden state it hands down (`compressed_dim`, the harmonic compression)."""

    embed_dim: int
    num_blocks: int
    num_heads: int
    generator: str
    compressed_dim: int = 64

    def __post_init__(self) -> None:
        if self.generator not in GENERATORS:
            raise ConfigError(f"generator is {self.generator!r}; allowed: {', '.join(GENERATORS)}")
        if self.embed_dim % (2 * self.num_heads):
            raise ConfigError(f"embed_dim {self.embed_dim} must be a multiple of 2 x num_heads {self.num_heads}")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The whole fractal. Windows are in the tokens of their level; `past_bars` is how much of what was
    played the model looks at; `recall_channels` is the width of the leaf's memory of recent pitches."""

    structure: LevelConfig = field(default_factory=lambda: LevelConfig(128, 3, 4, "mar"))
    phrase: LevelConfig = field(default_factory=lambda: LevelConfig(192, 4, 6, "mar"))
    beat: LevelConfig = field(default_factory=lambda: LevelConfig(192, 2, 6, "ar"))
    content: LevelConfig = field(default_factory=lambda: LevelConfig(192, 3, 6, "ar", compressed_dim=128))
    leaf: LevelConfig = field(default_factory=lambda: LevelConfig(128, 2, 4, "ar"))
    step_dim: int = 96
    conv_channels: int = 24
    guide_dim: int = 64
    recall_channels: int = 16
    mlp_ratio: int = 3
    plan_bars: int = 32
    past_bars: int = 32
    beat_window: int = 16
    step_window: int = 32
    max_bar_len: int = 64
    max_notes_per_step: int = 10
    latent_dims: int = 16
    pitch_low: int = 0
    pitch_high: int = 127

    def __post_init__(self) -> None:
        for name, wanted in (
            ("structure", "mar"),
            ("phrase", "mar"),
            ("beat", "ar"),
            ("content", "ar"),
            ("leaf", "ar"),
        ):
            if getattr(self, name).generator != wanted:
                raise ConfigError(f"level {name} is {getattr(self, name).generator!r}; this version builds {wanted!r}")
        if not 0 <= self.pitch_low < self.pitch_high <= 127:
            raise ConfigError(f"pitches {self.pitch_low} to {self.pitch_high} must lie in 0 to 127, low below high")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Raises ConfigError on unknown keys, naming them."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"unknown model keys {sorted(unknown)}; known: {sorted(cls.__dataclass_fields__)}")
        try:
            levels = {key: LevelConfig(**value) for key, value in values.items() if isinstance(value, dict)}
        except TypeError as error:
            raise ConfigError(f"a level of the model cannot be read: {error}") from error
        return cls(**{**values, **levels})


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
