"""Songs and anchors that the judges' tests share: made once, small."""

from __future__ import annotations

import pytest

from fractal_live.train.corpus import Song
from fractal_live.train.judges.anchors import Anchors, build
from tests.train.judges.fakes import song


@pytest.fixture(scope="session")
def songs() -> list[Song]:
    return [song(seed) for seed in range(8)]


@pytest.fixture(scope="session")
def anchors(songs: list[Song]) -> Anchors:
    long = [song(100 + seed, bars=72) for seed in range(4)]
    return build({"train": [*songs[:4], *long], "valid": songs[4:6], "test": songs[6:]})
