"""TensorBoard: what was written can be read back; where it is not installed, it is said how to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fractal_live.train import board
from fractal_live.train.board import Board, BoardError
from fractal_live.train.loop import Progress
from fractal_live.train.objective import Figures


def test_without_tensorboard_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "HAS_TENSORBOARD", False)
    with pytest.raises(BoardError, match=r"pip install 'fractal-live\[train\]'.*--tensorboard"):
        Board(tmp_path, 0)


@pytest.mark.slow
def test_every_figure_is_a_scalar(tmp_path: Path) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra `train` is not installed"
    )
    learned = Figures({"pitch": 2.0, "plan": 0.5}, 6.0, 3.0)
    written = Board(tmp_path, 0)
    written.write(Progress(1, 0.5, 1e-3, learned, None))
    written.write(Progress(2, 1.0, 1e-4, learned, Figures({"pitch": 1.5}, None, None)))
    written.close()
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert {tag: [step for step, _ in points] for tag, points in found.items()} == {
        "rate": [1, 2],
        "train/pitch": [1, 2],
        "train/plan": [1, 2],
        "train/bits_per_note": [1, 2],
        "train/bits_per_step": [1, 2],
        "valid/pitch": [2],
    }
    assert found["valid/pitch"] == [(2, 1.5)]
