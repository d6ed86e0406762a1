"""How much a judge hears: how many pieces, how long, from which seed; and what is kept of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from fractal_live.music.midifile import write_score
from fractal_live.music.notes import Bar, Score
from fractal_live.music.request import Sampling


class JudgeError(ValueError):
    """A judge cannot judge; the message says what is missing and how to get it."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Trial:
    """`pieces` of `bars` bars; piece i has `seed` + i. The pieces judged are written as .mid to `keep`, pictures of
    them as .png to `plots`, where these are given. `recorded` is a folder of .mid files to judge instead of composing:
    what was kept before, or anyone's music. `on_piece` is called after every piece heard."""

    pieces: int
    bars: int
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    keep: Path | None = None
    plots: Path | None = None
    recorded: Path | None = None
    on_piece: Callable[[], None] = field(default=_nothing)

    def heard(self, bars: Sequence[Bar], name: str) -> None:
        """Says that a piece has been heard, and keeps it."""
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            score = Score(tuple(bar.moved_to(place) for place, bar in enumerate(bars)))
            write_score(score, self.keep / f"{name}.mid")
        self.on_piece()


def needed(module: str) -> ModuleType:
    """A package that only judging needs. Raises JudgeError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise JudgeError(
            f"{error.name} is not installed, and this judge needs it: pip install 'fractal-live[evaluate]'"
        ) from error
