"""Files to songs: what is read is what was written, what cannot be read is named and left out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from fractal_live.model.config import chroma_level
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note, Score
from fractal_live.music.plan import measure
from fractal_live.train.corpus import CorpusError, read_corpus, song_from_score
from tests.train.songs import write_folder


def test_an_unreadable_file_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "songs", 2)
    (folder / "broken.mid").write_bytes(b"MThd\0\0\0\6 not music")
    with caplog.at_level(logging.WARNING):
        songs = read_corpus(folder)
    assert [song.name for song in songs] == ["song-0", "song-1"]
    assert "broken.mid" in caplog.text


def test_a_folder_without_music_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="give a folder of MIDI files"):
        read_corpus(tmp_path)


def test_a_song_has_its_notes_plan_and_harmony_on_the_padded_grid() -> None:
    bars = (
        Bar(0, (Note(0, 60, 480, 100), Note(240, 64, 2000, 90)), Meter(3, 4), 100.0),
        Bar(1, (Note(0, 67, 120, 80),), Meter(3, 4), 100.0),
    )
    song = song_from_score("waltz", Score(bars))
    assert song.notes.tolist() == [[0, 60, 100, 4], [2, 64, 90, 17], [16, 67, 80, 1]]
    assert song.bar_steps.tolist() == [12, 12]
    assert song.bar_start.tolist() == [0, 16]
    assert song.chroma.tolist() == np.concatenate([chroma_level(chroma_of_bar(bar)) for bar in bars]).tolist()
    assert song.plan[1].tolist() == pytest.approx(measure(bars[1]).tolist())
