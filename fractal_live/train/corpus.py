"""A folder of MIDI files as arrays of songs on the grid, read once and kept beside the run.

An unreadable file is named and left out; it never becomes an empty song.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fractal_live.model import config, grid
from fractal_live.model.config import chroma_level
from fractal_live.model.grid import IntArray, bar_starts, grid_notes
from fractal_live.music import harmony, meter, midifile, notes, plan
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.midifile import MidiFileError, read_score
from fractal_live.music.notes import Score, on_grid
from fractal_live.music.plan import measure
from fractal_live.train.corpus_cache import Entry, code_digest, file_key, read_cache, write_cache

log = logging.getLogger(__name__)

READERS = (config, grid, harmony, meter, midifile, notes, plan)
"""Whose change makes what was read before worthless, beside this module's own."""


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


def read_corpus(folder: Path, on_file: Callable[[Path], None] | None = None, cache: Path | None = None) -> list[Song]:
    """All MIDI files below a folder, in the order of their names. Raises CorpusError when none can be read.

    cache: a file (.npz) that keeps what was read; only files that are new or have changed are read again.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give a folder of MIDI files")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi") and path.is_file())
    digest = code_digest((*READERS, sys.modules[__name__]))
    known = {} if cache is None else read_cache(cache, digest)
    entries: dict[str, Entry] = {}
    songs = []
    for path in paths:
        if on_file is not None:
            on_file(path)
        key = file_key(path, folder)
        entry = entries[key] = known.get(key) or _read(path)
        if entry.failure:
            log.warning("left out: %s: %s", path, entry.failure)
        else:
            arrays: dict[str, Any] = entry.arrays
            songs.append(Song(path.stem, **arrays))
    if cache is not None and entries.keys() != known.keys():
        write_cache(cache, digest, entries)
    if not songs:
        raise CorpusError(f"{folder}: none of its {len(paths)} .mid files could be read; give a folder of MIDI files")
    return songs


def _read(path: Path) -> Entry:
    """The file's song as arrays, or what is wrong with it."""
    try:
        song = song_from_score(path.stem, read_score(path))
    except MidiFileError as error:
        return Entry({}, str(error).removeprefix(f"{path}: "))
    except Exception as error:  # whatever a stranger's file may hold: it is left out, and said so
        return Entry({}, f"{type(error).__name__}: {error}")
    return Entry({item.name: getattr(song, item.name) for item in fields(song) if item.name != "name"})
