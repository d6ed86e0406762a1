"""The yardsticks: they know real music from noise, and a plan obeyed from one ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fractal_live.model.engine import Engine
from fractal_live.music.plan import measure
from fractal_live.music.request import Sampling
from fractal_live.train.corpus import read_corpus
from fractal_live.train.evaluate import divergence, features, plan_adherence, quality, similarity, windows
from tests.train.songs import write_folder


def test_divergence_is_nothing_between_equals_and_one_bit_between_strangers() -> None:
    a, b = np.array([1.0, 3.0, 0.0]), np.array([2.0, 6.0, 0.0])
    assert divergence(a, b) == pytest.approx(0.0)
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(1.0)


def test_windows_are_the_bars_of_the_songs(tmp_path: Path) -> None:
    songs = read_corpus(write_folder(tmp_path, 3))
    found = windows(songs, 4, 2)
    assert [len(bars) for bars in found] == [4, 4]
    first = songs[0].bars // 3
    assert [len(bar.notes) for bar in found[0]] == songs[0].plan[first : first + 4, 0].tolist()
    assert np.allclose(np.stack([measure(bar) for bar in found[0]]), songs[0].plan[first : first + 4], atol=0.01)


def test_features_of_a_known_piece(tmp_path: Path) -> None:
    songs = read_corpus(write_folder(tmp_path, 1))
    found = features(windows(songs, 8, 1))
    assert found.onset[1::2].sum() == 0
    assert found.density == pytest.approx(10, abs=0.01)
    assert found.scale == 1.0


def test_a_piece_that_comes_back_every_four_bars_is_alike_at_that_distance(tmp_path: Path) -> None:
    (bars,) = windows(read_corpus(write_folder(tmp_path, 1)), 4, 1)
    assert similarity([(*bars, *bars, *bars)], 4) == pytest.approx(1.0)
    assert similarity([(*bars, *bars)], 1) < 0.5
    assert similarity([bars], 8) == 0.0


@pytest.mark.slow
def test_real_songs_are_judged_nearer_to_real_songs_than_noise(live_checkpoint: Path, pop909: Path) -> None:
    engine = Engine(live_checkpoint, "cpu")
    songs = read_corpus(pop909 / "valid")
    real, other = windows(songs[:20], 8, 20), windows(songs[20:], 8, 20)
    table = quality(engine, real, other, pieces=4, bars=8, seed=0, on_piece=lambda: None)
    for metric in ("onset_jsd", "duration_jsd"):
        assert table["real"][metric] < table["noise"][metric] / 3, metric
        assert table["model"][metric] < table["noise"][metric] / 2, metric
    assert table["noise"]["scale_consistency"] < 0.75 < 0.9 < table["model"]["scale_consistency"]


@pytest.mark.slow
def test_the_plans_of_real_songs_are_played(live_checkpoint: Path, pop909: Path) -> None:
    engine = Engine(live_checkpoint, "cpu")
    real = windows(read_corpus(pop909 / "valid")[:6], 8, 6)
    table = plan_adherence(engine, real, Sampling(), 0, lambda: None)
    assert table["density"]["pooled_r"] > 0.95 and table["density"]["mae"] < 1.0
    for name, least in (("polyphony", 0.7), ("duration", 0.7), ("register", 0.35), ("loudness", 0.8)):
        assert table[name]["pooled_r"] > least, table
