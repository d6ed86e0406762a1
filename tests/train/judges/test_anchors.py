"""Anchors: what is written is what is read, and the figures of real music do not depend on the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fractal_live.music.excerpt import Excerpt
from fractal_live.train.corpus import Song
from fractal_live.train.judges.anchors import Anchors, build, load, save, splits_of
from fractal_live.train.judges.real import bars_of, excerpts, noise, pieces, places, shuffled, whole
from fractal_live.train.judges.remembered import Remembered, memory_figures, sampled, share_found
from fractal_live.train.judges.trial import JudgeError
from tests.train.judges.fakes import song
from tests.train.songs import write_folder


def test_anchors_come_back_as_they_were(anchors: Anchors, tmp_path: Path) -> None:
    path = tmp_path / "anchors.npz"
    save(anchors, path)
    back = load(path)
    assert list(back.controls) == ["real valid", "real test", "shuffled", "noise"]
    for mine, other in [
        (anchors.train, back.train),
        *zip(anchors.controls.values(), back.controls.values(), strict=True),
    ]:
        for name, values in mine.as_arrays().items():
            assert np.array_equal(values, other.as_arrays()[name]), name
    assert all(np.array_equal(anchors.known.ngrams[length], back.known.ngrams[length]) for length in (8, 12, 16, 24))
    assert np.array_equal(anchors.known.patterns, back.known.patterns)
    assert (back.memory, back.long_names) == (anchors.memory, anchors.long_names)
    assert np.array_equal(back.plans, anchors.plans, equal_nan=True) and np.array_equal(back.songs, anchors.songs)
    assert [entry.name for entry in tmp_path.iterdir()] == ["anchors.npz"]


def test_a_file_that_is_not_there_or_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="give --data"):
        load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip", encoding="utf-8")
    with pytest.raises(JudgeError, match="not a file of anchors"):
        load(tmp_path / "text.npz")


def test_too_few_songs_are_refused() -> None:
    with pytest.raises(JudgeError, match="valid songs"):
        build({"train": [song(0), song(1)], "valid": [song(2, bars=8)]})


def test_a_folder_without_splits_is_split(tmp_path: Path) -> None:
    found = splits_of(write_folder(tmp_path, 7))
    assert [one.name for one in found["valid"]] == ["song-0", "song-6"]
    assert [one.name for one in found["train"]] == ["song-1", "song-2", "song-3", "song-4", "song-5"]


def test_pieces_are_the_bars_of_the_songs(songs: list[Song]) -> None:
    found = pieces(songs, 16, 10)
    assert [len(bars) for bars in found] == [16] * 10
    first = places(songs[0], 16)[1]
    assert found[0] == bars_of(songs[0], first, 16)
    assert [len(bar.notes) for bar in found[0]] == songs[0].plan[first : first + 16, 0].tolist()


def test_shuffling_keeps_the_bars_and_noise_has_the_density(songs: list[Song]) -> None:
    rng = np.random.default_rng(0)
    (_, excerpt), *_ = excerpts(songs, 32)

    def bars(music: Excerpt) -> list[list[list[int]]]:
        return sorted((music.notes[music.notes[:, 0] // 16 == bar] % [16, 128, 128, 999]).tolist() for bar in range(32))

    assert bars(shuffled(excerpt, rng)) == bars(excerpt)
    assert len(noise(32, 10, rng).notes) == 320


def test_training_songs_are_found_whole_and_strangers_are_not(songs: list[Song]) -> None:
    music = [whole(one) for one in songs[:3]]
    known = Remembered.of(music)
    own = memory_figures(music, range(3), known)
    other = memory_figures([whole(songs[4])], [0], known)
    assert (own["ngrams_12"], own["ngrams_24"], own["bar_patterns"]) == (1, 1, 1)
    assert (other["ngrams_12"], other["bar_patterns"], other["cross_f1"]) == (0, 0, 0)
    assert own["cross_f1"] < 0.2


def test_a_quarter_of_the_hashes_is_kept_and_tells_the_share_of_all() -> None:
    """4 000 hashes, half of them known: the share found among about 1 000 is within five standard errors of 0.5."""
    hashes = np.random.default_rng(0).integers(0, 2**64, 4000, dtype=np.uint64)
    kept = sampled(hashes)
    share = share_found(kept, np.sort(sampled(hashes[::2])))
    assert len(kept) == pytest.approx(1000, abs=5 * 28)
    assert share is not None and abs(share - 0.5) < 5 * 0.016
