"""The figures of a run as TensorBoard scalars. Part of the extra `train`; imported only when asked for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fractal_live.train.loop import Progress

HAS_TENSORBOARD = find_spec("tensorboard") is not None
if HAS_TENSORBOARD:
    from torch.utils.tensorboard import SummaryWriter


class BoardError(ValueError):
    """TensorBoard was asked for and is not there."""


class Board:
    """Writes a run's progress into a folder that `tensorboard --logdir` shows."""

    def __init__(self, folder: Path, step: int) -> None:
        """step: where the run goes on; scalars of later steps in the folder, from before a kill, are hidden."""
        if not HAS_TENSORBOARD:
            raise BoardError(
                "TensorBoard is not installed: pip install 'fractal-live[train]', or leave out --tensorboard"
            )
        self.writer: Any = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, report: Progress) -> None:
        values = {"rate": report.learning_rate}
        for prefix, figures in (("train", report.learned), ("valid", report.held_out)):
            if figures is not None:
                values |= {name.replace("_", "/", 1): value for name, value in figures.row(prefix).items()}
        for name, value in values.items():
            self.writer.add_scalar(name, value, report.step)

    def close(self) -> None:
        self.writer.close()
