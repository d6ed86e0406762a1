"""Is it new? How much of what a generator invents stood in the songs it learnt from, and how alike its pieces are."""

from __future__ import annotations

from fractal_live.music.excerpt import excerpt_of
from fractal_live.music.features import WINDOW_BARS
from fractal_live.music.request import Generator
from fractal_live.train.judges.anchors import Anchors
from fractal_live.train.judges.playing import invented
from fractal_live.train.judges.remembered import memory_figures
from fractal_live.train.judges.report import Report, at_most, lines_of
from fractal_live.train.judges.trial import JudgeError, Trial

GOALS = {
    "ngrams_12": at_most(0.006, 0.004),
    "ngrams_16": at_most(0.002, 0.001),
    "ngrams_24": at_most(None, 0.0),
    "bar_patterns": at_most(None, 0.005),
    "cross_f1": at_most(None, 0.08),
}


def memory(generator: Generator, anchors: Anchors, trial: Trial) -> Report:
    """Judges pieces invented from nothing. Raises JudgeError for pieces shorter than a window."""
    if trial.bars < WINDOW_BARS or trial.pieces < 2:
        raise JudgeError(f"memory needs at least two pieces of {WINDOW_BARS} bars; ask for more")
    pieces = [excerpt_of(bars) for bars in invented(generator, trial, "memory")]
    model = memory_figures(pieces, range(len(pieces)), anchors.known)
    return Report(
        "memory",
        f"{trial.pieces} pieces of {trial.bars} bars",
        ("model", *anchors.memory),
        lines_of([model, *anchors.memory.values()], GOALS),
        (
            "ngrams_N: share of runs of N moves (steps on, semitones up) that a training song holds, in any key",
            "bar_patterns: share of bars that a training song holds whole, in any key",
            "cross_f1: how alike pieces of one generator are, note for note",
        ),
    )
