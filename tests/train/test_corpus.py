"""Files to songs: what is read is what was written, what cannot be read is named and left out, and what
was read once is kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import mido
import numpy as np
import pytest

from fractal_live.model.config import chroma_level
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import Meter
from fractal_live.music.midifile import read_score
from fractal_live.music.notes import Bar, Note, Score
from fractal_live.music.plan import measure
from fractal_live.train import corpus
from fractal_live.train.corpus import CorpusError, Song, read_corpus, song_from_score
from tests.train.songs import write_folder, write_song


def without_notes(path: Path) -> None:
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500000), mido.MetaMessage("end_of_track", time=960)])
    mido.MidiFile(ticks_per_beat=480, tracks=[track]).save(path)


def of_drums_alone(path: Path) -> None:
    hits = [mido.Message("note_on", channel=9, note=36), mido.Message("note_off", channel=9, note=36, time=240)]
    mido.MidiFile(ticks_per_beat=480, tracks=[mido.MidiTrack(hits)]).save(path)


def cut_off(path: Path) -> None:
    write_song(path, 0)
    path.write_bytes(path.read_bytes()[:-40])


def of_an_unheard_of_key(path: Path) -> None:
    key = mido.MidiTrack([mido.MetaMessage("key_signature", key="C"), mido.Message("note_on", note=60, velocity=9)])
    mido.MidiFile(ticks_per_beat=480, tracks=[key]).save(path)
    path.write_bytes(path.read_bytes().replace(b"\xff\x59\x02\x00\x00", b"\xff\x59\x02\x00\x02"))


BROKEN: dict[str, Callable[[Path], object]] = {
    "cut-off": cut_off,
    "text": lambda path: path.write_text("These are not the notes.\n" * 20, encoding="utf-8"),
    "empty": lambda path: path.write_bytes(b""),
    "header-alone": lambda path: path.write_bytes(b"MThd\0\0\0\6 not music"),
    "no-notes": without_notes,
    "drums": of_drums_alone,
    "unheard-of-key": of_an_unheard_of_key,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_unreadable_file_is_named_and_left_out(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each time it is met, and whether it was read now or before."""
    folder = write_folder(tmp_path / "songs", 2)
    BROKEN[kind](folder / f"a-{kind}.mid")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            songs = read_corpus(folder, cache=tmp_path / "songs.npz")
        assert [song.name for song in songs] == ["song-0", "song-1"]
        (warning,) = caplog.records
        assert f"a-{kind}.mid: " in warning.getMessage()
        assert warning.getMessage().count(str(folder)) == 1


def test_every_song_has_notes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "songs", 2)
    for kind, write in BROKEN.items():
        write(folder / f"{kind}.mid")
    assert all(len(song.notes) for song in read_corpus(folder))


def test_a_folder_without_music_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="give a folder of MIDI files"):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="no such folder"):
        read_corpus(tmp_path / "nowhere")
    for kind, write in BROKEN.items():
        write(tmp_path / f"{kind}.mid")
    with pytest.raises(CorpusError, match=f"none of its {len(BROKEN)} .mid files could be read"):
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


class Reads:
    """Counts the files that are parsed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []

        def counting(path: Path) -> Score:
            self.names.append(path.name)
            return read_score(path)

        monkeypatch.setattr(corpus, "read_score", counting)

    def taken(self) -> list[str]:
        names, self.names = self.names, []
        return names


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def assert_same_songs(some: list[Song], others: list[Song]) -> None:
    """Names, values and types."""
    assert [song.name for song in some] == [song.name for song in others]
    for one, other in zip(some, others, strict=True):
        for field in fields(Song)[1:]:
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), field.name


def test_songs_read_once_are_kept_and_are_the_same(tmp_path: Path, reads: Reads) -> None:
    folder = write_folder(tmp_path / "songs", 3)
    cache = tmp_path / "run" / "songs.npz"
    plain = read_corpus(folder)
    reads.taken()
    first = read_corpus(folder, cache=cache)
    assert reads.taken() == ["song-0.mid", "song-1.mid", "song-2.mid"]
    again = read_corpus(folder, cache=cache)
    assert reads.taken() == []
    assert_same_songs(first, plain)
    assert_same_songs(again, plain)


def test_only_files_that_are_new_or_changed_are_read_again(tmp_path: Path, reads: Reads) -> None:
    folder = write_folder(tmp_path / "songs", 3)
    cache = tmp_path / "songs.npz"
    read_corpus(folder, cache=cache)
    reads.taken()
    write_song(folder / "song-1.mid", 11, bars=9)
    os.utime(folder / "song-2.mid", ns=(1, 1))
    write_song(folder / "more.mid", 5)
    (folder / "song-0.mid").rename(folder / "other.mid")
    songs = read_corpus(folder, cache=cache)
    assert reads.taken() == ["more.mid", "other.mid", "song-1.mid", "song-2.mid"]
    assert_same_songs(songs, read_corpus(folder))
    reads.taken()
    read_corpus(folder, cache=cache)
    assert reads.taken() == []


def test_songs_read_by_other_code_are_read_again(tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "songs", 2)
    read_corpus(folder, cache=tmp_path / "songs.npz")
    reads.taken()
    monkeypatch.setattr(corpus, "READERS", corpus.READERS[1:])
    read_corpus(folder, cache=tmp_path / "songs.npz")
    assert len(reads.taken()) == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_cache_is_said_and_read_anew(
    share: float, tmp_path: Path, reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "songs", 2)
    cache = tmp_path / "songs.npz"
    whole = read_corpus(folder, cache=cache)
    content = cache.read_bytes()
    cache.write_bytes(content[: int(share * len(content))])
    reads.taken()
    with caplog.at_level(logging.WARNING):
        assert_same_songs(read_corpus(folder, cache=cache), whole)
    assert "songs.npz: damaged" in caplog.text
    assert len(reads.taken()) == 2
    assert list(tmp_path.glob("*.part")) == []
