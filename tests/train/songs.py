"""Small songs of our own making, as MIDI files, for training tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fractal_live.music.midifile import write_score
from fractal_live.music.notes import Bar, Note, Score, without_overlaps

CHORDS = ((60, 64, 67), (57, 60, 64), (65, 69, 72), (55, 59, 62))


def write_song(path: Path, seed: int, bars: int = 20) -> None:
    """Broken chords over a bass, a little different for every seed."""
    rng = np.random.default_rng(seed)
    written = []
    for index in range(bars):
        chord = CHORDS[index % 4]
        notes = [Note(0, chord[0] - 24, 960, 80), Note(960, chord[0] - 24, 960, 76)]
        for eighth in range(8):
            pitch = chord[int(rng.integers(3))]
            notes.append(Note(eighth * 240, pitch, 240, 70 + 4 * (eighth % 2)))
        written.append(Bar(index, without_overlaps(notes), tempo_bpm=90))
    write_score(Score(tuple(written)), path)


def write_folder(folder: Path, songs: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(songs):
        write_song(folder / f"song-{seed}.mid", seed)
    return folder
