"""Pictures of pieces: a PNG of everything, a GIF that shows a level more in every frame."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from fractal_live.music.notes import Bar, Note, Score
from fractal_live.pictures import STAGES, draw_piece, draw_unfolding

Image = pytest.importorskip("PIL.Image", reason="pictures need matplotlib, which brings Pillow")
SCORE = Score(
    tuple(
        Bar(
            index,
            tuple(Note(480 * beat, 60 + beat + index, 240, 80) for beat in range(4)),
            plan=(4.0, 120.0, 1.0, 2.0, 62.0, 80.0),
            chroma=((1.0,) + (0.0,) * 11, (0.0,) * 7 + (1.0,) + (0.0,) * 4),
        )
        for index in range(3)
    )
)


def darkness(image: object) -> float:
    return float(255 - np.asarray(image.convert("L"), dtype=float).mean())  # type: ignore[attr-defined]


def test_a_piece_is_drawn_with_its_notes(tmp_path: Path) -> None:
    full, empty = tmp_path / "full.png", tmp_path / "empty.png"
    draw_piece(SCORE, full)
    draw_piece(Score(tuple(Bar(bar.index, (), plan=bar.plan, chroma=bar.chroma) for bar in SCORE.bars)), empty)
    assert darkness(Image.open(full)) != darkness(Image.open(empty))


def test_every_frame_of_the_unfolding_shows_something_new(tmp_path: Path) -> None:
    path = tmp_path / "unfolding.gif"
    draw_unfolding(SCORE, path)
    with Image.open(path) as moving:
        frames = []
        for number in range(moving.n_frames):
            moving.seek(number)
            frames.append(np.asarray(moving.convert("RGB")))
    assert len(frames) == len(STAGES)
    assert all((before != after).any() for before, after in itertools.pairwise(frames))
