"""Bars as block characters: the dashboard's picture of what plays and what comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from rich.text import Text

from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note

PITCH_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
LABEL = 5  # columns before the first sixteenth, for the pitch names
NARROWEST_SPAN = 24
"""Pitches that are shown at least, so that a lone note does not fill the picture."""


def piano_roll(bars: Sequence[Bar], playhead: int | None, width: int, rows: int) -> list[Text]:
    """The bars, the playing one first, as `rows` lines of `width` block characters, a column per sixteenth and two
    pitches' bands per row; what plays now is green, what comes is cyan, and the playhead, the sixteenth of the first
    bar that sounds (None: nothing does), is a bright column."""
    columns = max(0, width - LABEL)
    cells, marks = _cells(bars, columns)
    low, high = _pitch_span([note for bar in bars for note in bar.notes])
    bands = rows * 2
    filled: dict[tuple[int, int], bool] = {}
    for first, last, pitch in cells:
        band = (pitch - low) * bands // (high - low + 1) if bands else 0
        for column in range(first, last):
            filled[(band, column)] = filled.get((band, column), False) or column == first
    playing_end = bars[0].meter.steps_per_bar if bars else 0
    lines = []
    for row in range(rows):
        top = bands - 1 - 2 * row
        name = _pitch_name(high) if row == 0 else _pitch_name(low) if row == rows - 1 else ""
        line = Text.assemble((f"{name:>4} ", "dim"), no_wrap=True, overflow="crop", end="")
        blocks = []
        for column in range(columns):
            upper, lower = filled.get((top, column)), filled.get((top - 1, column))
            block = " ▄▀█"[(2 if upper is not None else 0) + (1 if lower is not None else 0)]
            colour = "green" if column < playing_end else "cyan"
            style = f"bold {colour}" if upper or lower else f"dim {colour}"
            if column in marks and block == " ":
                block, style = "│", "dim"
            blocks.append((f"{style} on grey37" if column == playhead else style, block))
        for style, run in groupby(blocks, key=itemgetter(0)):
            line.append("".join(block for _, block in run), style)
        lines.append(line)
    return lines


def _cells(bars: Sequence[Bar], columns: int) -> tuple[list[tuple[int, int, int]], set[int]]:
    """(first column, column after the last, pitch) of every note that fits, and the bar lines' columns.
    A bar line takes a column of its own, so a note across it is drawn over it."""
    cells = []
    marks = set()
    start = 0
    for bar in bars:
        if start >= columns:
            break
        for note in bar.notes:
            first = start + note.onset_tick // TICKS_PER_STEP
            steps = max(1, min(note.duration_ticks // TICKS_PER_STEP, columns))
            cells.append((first, min(first + steps, columns), note.pitch))
        start += bar.meter.steps_per_bar
        marks.add(start)
        start += 1
    return cells, marks


def _pitch_span(notes: Iterable[Note]) -> tuple[int, int]:
    pitches = [note.pitch for note in notes] or [60]
    low, high = min(pitches), max(pitches)
    missing = max(0, NARROWEST_SPAN - (high - low))
    low = max(0, low - missing // 2)
    return low, min(127, max(high, low + NARROWEST_SPAN))


def _pitch_name(pitch: int) -> str:
    return f"{PITCH_NAMES[pitch % 12]}{pitch // 12 - 1}"
