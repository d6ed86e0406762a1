"""A folder of MIDI files as arrays of songs on the grid, read once and kept beside the run.

An unreadable file is named and left out; it never becomes an empty song.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fractal_live.model.config import chroma_level
from fractal_live.model.grid import IntArray, bar_starts, grid_notes
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.midifile import MidiFileError, read_score
from fractal_live.music.notes import Score, on_grid
from fractal_live.music.plan import measure

log = logging.getLogger(__name__)


class CorpusError(ValueError):
    """No usable music where it was looked for."""


@dataclass(frozen=True, slots=True)
class Song:
    """One song on the grid. Each bar takes a whole number of eight-step half bars; steps past the bar's
    end are empty and invalid.

    notes (N, 4): step, pitch, velocity, duration in steps, sorted by step then pitch; bar_steps (bars,):
    real length of each bar; bar_start (bars,): its first step; plan (bars, 6), NaN where undefined;
    chroma (halves, 12) levels 0 to 3.
    """

    name: str
    notes: IntArray
    bar_steps: IntArray
    bar_start: IntArray
    plan: npt.NDArray[np.float32]
    chroma: IntArray

    @property
    def bars(self) -> int:
        return len(self.bar_steps)


def song_from_score(name: str, score: Score) -> Song:
    bars = [on_grid(bar) for bar in score.bars]
    return Song(
        name,
        grid_notes(bars),
        np.array([bar.meter.steps_per_bar for bar in bars]),
        bar_starts(bars)[:-1],
        np.stack([measure(bar) for bar in bars]),
        np.concatenate([chroma_level(chroma_of_bar(bar)) for bar in bars]),
    )


def read_corpus(folder: Path, on_file: Callable[[Path], None] | None = None) -> list[Song]:
    """All MIDI files below a folder, in the order of their names. Raises CorpusError when none can be read."""
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give a folder of MIDI files")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi"))
    songs = []
    for path in paths:
        if on_file is not None:
            on_file(path)
        try:
            songs.append(song_from_score(path.stem, read_score(path)))
        except MidiFileError as error:
            log.warning("left out: %s", error)
    if not songs:
        raise CorpusError(f"{folder}: none of its {len(paths)} .mid files could be read; give a folder of MIDI files")
    return songs
