"""A set of pieces as numbers: what one set of music is compared with another by, without the music itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from fractal_live.music.distances import Space, divergence, frechet, overlap
from fractal_live.music.excerpt import Excerpt, FloatArray, cuts
from fractal_live.music.features import FEATURES, WINDOW_BARS, features
from fractal_live.music.metrics import (
    FIGURES,
    OVERLAP_FIGURES,
    duration_histogram,
    figures,
    onset_histogram,
    pitch_histogram,
)
from fractal_live.music.structure import STRUCTURE_BARS, structure_features, structure_names
from fractal_live.train.judges.two_sample import Heard

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """windows (N, 142) features of 8-bar windows and figures (N, 14) of the same, `window_piece` (N,) says which
    piece each is from; structure (M, S) of 32-bar stretches and `structure_piece` (M,); onset (16,), pitch (128,),
    duration (64,) histograms of the notes.

    Numbers are kept in sixteen bits, always: a judge that hears both must not tell a stored set by its rounding.
    """

    windows: npt.NDArray[np.float16]
    figures: npt.NDArray[np.float16]
    window_piece: npt.NDArray[np.int32]
    structure: npt.NDArray[np.float16]
    structure_piece: npt.NDArray[np.int32]
    onset: FloatArray
    pitch: FloatArray
    duration: FloatArray

    def heard_windows(self) -> Heard:
        return Heard(self.windows.astype(np.float64), self.window_piece.astype(np.int64))

    def heard_structure(self) -> Heard:
        return Heard(self.structure.astype(np.float64), self.structure_piece.astype(np.int64))

    def as_arrays(self) -> dict[str, Array]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def portrait_of(
    pieces: Sequence[Excerpt], of_piece: Sequence[int] | None = None, structures: int | None = None
) -> Portrait:
    """The portrait of pieces of at least 8 bars. `of_piece` says which belong together (else each is its own);
    structure, which takes long, of up to `structures` stretches spread evenly."""
    of_piece = range(len(pieces)) if of_piece is None else of_piece
    windows = [(of, window) for of, piece in zip(of_piece, pieces, strict=True) for window in cuts(piece, WINDOW_BARS)]
    windows = [(of, window) for of, window in windows if len(window.notes)]
    long = [(of, part) for of, piece in zip(of_piece, pieces, strict=True) for part in cuts(piece, STRUCTURE_BARS)]
    long = [(of, part) for of, part in long if len(part.notes)]
    if structures is not None and len(long) > structures:
        long = [long[place] for place in np.linspace(0, len(long) - 1, structures).astype(int)]
    return Portrait(
        _table([features(window) for _, window in windows], FEATURES),
        _table([figures(window) for _, window in windows], len(FIGURES)),
        np.array([of for of, _ in windows], dtype=np.int32),
        _table([structure_features(part) for _, part in long], len(structure_names())),
        np.array([of for of, _ in long], dtype=np.int32),
        onset_histogram(pieces),
        pitch_histogram(pieces),
        duration_histogram(pieces),
    )


def _table(rows: list[FloatArray], width: int) -> npt.NDArray[np.float16]:
    return np.array(rows, dtype=np.float16).reshape(len(rows), width)


def distances(here: Portrait, there: Portrait, space: Space, count: int, seed: int) -> dict[str, float]:
    """How far a portrait is from a reference: Frechet distance of up to `count` windows in the reference's space,
    mean overlap of ten figures, divergences of three histograms."""
    rows = here.heard_windows().drawn(count, np.random.default_rng(seed)).features
    own, other = here.figures.astype(np.float64), there.figures.astype(np.float64)
    columns = [FIGURES.index(name) for name in OVERLAP_FIGURES]
    return {
        "frechet": frechet(space.place(rows), space.place(there.windows.astype(np.float64))),
        "overlap": float(np.mean([overlap(own[:, column], other[:, column]) for column in columns])),
        "onset_jsd": divergence(here.onset, there.onset),
        "pitch_jsd": divergence(here.pitch, there.pitch),
        "duration_jsd": divergence(here.duration, there.duration),
    }
