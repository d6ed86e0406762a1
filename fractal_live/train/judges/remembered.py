"""What the training songs hold, as hashes, and how much of other music is found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fractal_live.music.excerpt import Excerpt, cuts
from fractal_live.music.features import WINDOW_BARS
from fractal_live.music.ngrams import LENGTHS, Hashes, bar_patterns, note_ngrams, onset_f1

SHARE_BITS = 2
"""Of the n-grams only those whose hash begins with so many zero bits are kept and asked for: a quarter, the same
quarter everywhere, so shares found stay what they are."""

F1_BARS = 4
F1_PAIRS = 2000
LEAST_NOTES = 40

Short = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """Sorted 32-bit hashes: `ngrams` by length in moves, `patterns` of whole bars."""

    ngrams: dict[int, Short]
    patterns: Short

    @staticmethod
    def of(music: Sequence[Excerpt]) -> Remembered:
        ngrams = {length: _sorted([sampled(note_ngrams(song, length)) for song in music]) for length in LENGTHS}
        return Remembered(ngrams, _sorted([shortened(bar_patterns(song)) for song in music]))

    def as_arrays(self) -> dict[str, Short]:
        """As differences of neighbours, which compress better than the hashes."""
        named = {f"ngrams_{length}": hashes for length, hashes in self.ngrams.items()} | {"patterns": self.patterns}
        return {name: np.diff(hashes, prepend=np.uint32(0)) for name, hashes in named.items()}

    @staticmethod
    def from_arrays(arrays: dict[str, npt.NDArray[np.generic]]) -> Remembered:
        summed = {name: np.cumsum(steps, dtype=np.uint32) for name, steps in arrays.items()}
        return Remembered({length: summed[f"ngrams_{length}"] for length in LENGTHS}, summed["patterns"])


def _sorted(parts: Sequence[Short]) -> Short:
    return np.unique(np.concatenate([*parts, np.zeros(0, dtype=np.uint32)]))


def sampled(hashes: Hashes) -> Short:
    """Those that are kept, by the 32 bits after the ones that chose them."""
    kept = hashes[hashes >> np.uint64(64 - SHARE_BITS) == 0]
    short: Short = (kept >> np.uint64(32 - SHARE_BITS)).astype(np.uint32)
    return short


def shortened(hashes: Hashes) -> Short:
    short: Short = (hashes >> np.uint64(32)).astype(np.uint32)
    return short


def share_found(hashes: Short, known: Short) -> float | None:
    """The share of hashes that are known; None without any."""
    if not len(hashes):
        return None
    if not len(known):
        return 0.0
    place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return float((known[place] == hashes).mean())


def memory_figures(pieces: Sequence[Excerpt], of_piece: Sequence[int], known: Remembered) -> dict[str, float]:
    """Of 8-bar windows the share of note n-grams and of whole bars that training songs hold, mean over windows (for
    12 moves the 95th percentile too); `cross_f1` how alike 4-bar stretches of different pieces are."""
    windows = [window for piece in pieces for window in cuts(piece, WINDOW_BARS) if len(window.notes) >= LEAST_NOTES]
    found: dict[str, float] = {}
    for length in LENGTHS:
        shares = [share_found(sampled(note_ngrams(window, length)), known.ngrams[length]) for window in windows]
        heard = [share for share in shares if share is not None]
        found[f"ngrams_{length}"] = float(np.mean(heard)) if heard else 0.0
        if length == 12:
            found["ngrams_12_p95"] = float(np.percentile(heard, 95)) if heard else 0.0
    bars = [share_found(shortened(bar_patterns(window)), known.patterns) for window in windows]
    heard = [share for share in bars if share is not None]
    found["bar_patterns"] = float(np.mean(heard)) if heard else 0.0
    found["cross_f1"] = cross_f1(pieces, of_piece)
    return found


def cross_f1(pieces: Sequence[Excerpt], of_piece: Sequence[int], seed: int = 0) -> float:
    """Mean onset F1 of pairs of 4-bar stretches from different pieces, as they stand, in their own keys; 0 where
    there is only one piece."""
    parts = [(of, part) for of, piece in zip(of_piece, pieces, strict=True) for part in cuts(piece, F1_BARS)]
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, len(parts), (F1_PAIRS, 2))
    found = [onset_f1(parts[a][1], parts[b][1]) for a, b in pairs if parts[a][0] != parts[b][0]]
    return float(np.mean(found)) if found else 0.0
