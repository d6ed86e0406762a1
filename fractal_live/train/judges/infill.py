"""Does it fill a gap? Four bars of sixteen made again with both sides known, against the bars that were there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fractal_live.music.consensus import mended
from fractal_live.music.distances import cosine
from fractal_live.music.excerpt import Excerpt, cut, excerpt_of, rhythm_by_bar, struck_classes_by_bar
from fractal_live.music.features import WINDOW_BARS, features
from fractal_live.music.ngrams import onset_f1
from fractal_live.music.notes import Bar
from fractal_live.music.request import Generator, InfillRequest
from fractal_live.train.corpus import Song
from fractal_live.train.judges.real import pieces
from fractal_live.train.judges.report import Report, at_least, at_most, lines_of
from fractal_live.train.judges.trial import JudgeError, Trial
from fractal_live.train.judges.two_sample import FOLDS, LEAST_WINDOWS, Heard, told_apart

PIECE_BARS = 16
FIRST, MISSING = 6, 4

GOALS = {
    "onset_f1": at_least(0.30, 0.35),
    "chroma_cosine": at_least(0.70, 0.74),
    "groove_cosine": at_least(0.86, 0.88),
    "seams_told_apart": at_most(None, 0.60),
    "locked_kept": at_least(1.0, 1.0),
}


def infill(generator: Generator, songs: Sequence[Song], trial: Trial) -> Report:
    """Judges so many stretches of 16 bars of held-out songs. Raises JudgeError without stretches long enough."""
    real = pieces(songs, PIECE_BARS, trial.pieces)
    if len(real) < 2:
        raise JudgeError(f"infill needs two runs of {PIECE_BARS} full 4/4 bars; there are {len(real)}: give more songs")
    is_missing = tuple(FIRST <= index < FIRST + MISSING for index in range(PIECE_BARS))
    filled: list[tuple[Bar, ...]] = []
    for place, bars in enumerate(real):
        request = InfillRequest(
            tuple(_emptied(bar) if gone else bar for bar, gone in zip(bars, is_missing, strict=True)),
            is_missing,
            sampling=trial.sampling,
            seed=trial.seed + place,
        )
        made = mended(generator, request)
        trial.heard(made, f"infill-{trial.seed + place:06d}")
        filled.append(made)
    truths = [excerpt_of(bars) for bars in real]
    rows = _rows(filled, truths)
    columns = {name: _mean([compare(guess, truth) for guess, truth in pairs]) for name, pairs in rows.items()}
    columns["model"]["locked_kept"] = _kept(filled, real, is_missing)
    if len(real) >= FOLDS:
        columns["model"]["seams_told_apart"] = _seams([excerpt_of(bars) for bars in filled], truths, trial.seed)
    return Report(
        "infill",
        f"bars {FIRST + 1} to {FIRST + MISSING} of {len(real)} stretches of {PIECE_BARS} bars of held-out songs",
        tuple(columns),
        lines_of(list(columns.values()), GOALS),
        _remarks(len(real)),
    )


def _emptied(bar: Bar) -> Bar:
    """Without its notes, so that nothing can be read from it."""
    return Bar(bar.index, (), bar.meter, bar.tempo_bpm)


def _rows(filled: Sequence[Sequence[Bar]], truths: Sequence[Excerpt]) -> dict[str, list[tuple[Excerpt, Excerpt]]]:
    """The guesses of each row beside the four bars that were there."""
    gaps = [cut(truth, FIRST, MISSING) for truth in truths]
    others = [*gaps[1:], gaps[0]]
    return {
        "model": [(cut(excerpt_of(bars), FIRST, MISSING), gap) for bars, gap in zip(filled, gaps, strict=True)],
        "copy previous": [(cut(truth, FIRST - MISSING, MISSING), gap) for truth, gap in zip(truths, gaps, strict=True)],
        "copy next": [(cut(truth, FIRST + MISSING, MISSING), gap) for truth, gap in zip(truths, gaps, strict=True)],
        "other song": list(zip(others, gaps, strict=True)),
    }


def compare(guess: Excerpt, truth: Excerpt) -> dict[str, float]:
    """F1 of onsets; mean cosine per bar of how many notes each pitch class has, and of the steps on which notes
    begin; error in the number of notes, as a share of the truth's."""
    chroma = zip(struck_classes_by_bar(guess), struck_classes_by_bar(truth), strict=True)
    groove = zip(np.minimum(rhythm_by_bar(guess), 1), np.minimum(rhythm_by_bar(truth), 1), strict=True)
    return {
        "onset_f1": onset_f1(guess, truth),
        "chroma_cosine": float(np.mean([cosine(here, there) for here, there in chroma])),
        "groove_cosine": float(np.mean([cosine(here, there) for here, there in groove])),
        "density_error": abs(len(guess.notes) - len(truth.notes)) / max(1, len(truth.notes)),
    }


def _mean(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}


def _kept(filled: Sequence[Sequence[Bar]], real: Sequence[Sequence[Bar]], is_missing: Sequence[bool]) -> float:
    """The share of bars that were not missing whose notes came back exactly."""
    pairs = [
        (len(made) == len(given) and made[place].notes == given[place].notes)
        for made, given in zip(filled, real, strict=True)
        for place, gone in enumerate(is_missing)
        if not gone
    ]
    return float(np.mean(pairs))


def _seams(filled: Sequence[Excerpt], truths: Sequence[Excerpt], seed: int) -> float:
    """Whether windows of 8 bars around where the made bars begin and end are told from the real ones."""
    firsts = (FIRST - WINDOW_BARS // 2, FIRST + MISSING - WINDOW_BARS // 2)

    def heard(excerpts: Sequence[Excerpt]) -> Heard:
        windows = [features(cut(excerpt, first, WINDOW_BARS)) for excerpt in excerpts for first in firsts]
        return Heard(np.array(windows), np.repeat(np.arange(len(excerpts)), len(firsts)))

    return told_apart(heard(filled), heard(truths), seed, is_paired=True)


def _remarks(stretches: int) -> tuple[str, ...]:
    windows = 2 * stretches
    if windows >= LEAST_WINDOWS:
        return ()
    return (f"{windows} windows are fewer than {LEAST_WINDOWS}: seams_told_apart is too kind; hear more pieces",)
