"""Pieces as pictures: what each level decided, from the plan down to the notes. Needs matplotlib (extra `pictures`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_live.music.notes import Score
from fractal_live.music.pianoroll import ONSET, VELOCITY, roll_of_bars
from fractal_live.music.plan import ATTRIBUTES

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

WIDE, TALL, DPI = 12.0, 7.0, 100
FRAME_MS = 1200
PITCH_CLASS_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
STAGES = ("level 0: the plan", "level 1: harmony", "levels 2 and 3: where notes begin", "leaf: the notes")


class PictureError(RuntimeError):
    """A picture cannot be drawn here; the message says what is missing."""


def draw_piece(score: Score, path: Path) -> None:
    """A PNG: the plan's curves, the harmony and the piano roll, one above the other."""
    _figure(score, len(STAGES)).savefig(path, format="png")


def draw_unfolding(score: Score, path: Path) -> None:
    """A GIF of the same picture, a level at a time."""
    from PIL import Image

    frames = []
    for shown in range(1, len(STAGES) + 1):
        canvas: Any = _figure(score, shown).canvas
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("P"))
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)


def _figure(score: Score, shown: int) -> Figure:
    """The picture of a piece with its first `shown` stages."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError("pictures need matplotlib: pip install 'fractal-live[pictures]'") from error
    figure = Figure(figsize=(WIDE, TALL), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    plan_axes, chroma_axes, roll_axes = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 3))
    figure.suptitle(STAGES[shown - 1])
    bars = len(score.bars)
    for name, values in _plan_curves(score).items():
        plan_axes.step(np.arange(bars + 1), [*values, values[-1]], where="post", label=name)
    plan_axes.set(ylabel="plan, its range", ylim=(-0.05, 1.05), xlim=(0, bars))
    plan_axes.legend(loc="upper right", ncols=len(ATTRIBUTES), fontsize="small")
    chroma_axes.set(ylabel="harmony", yticks=range(0, 12, 2), yticklabels=PITCH_CLASS_NAMES[::2], ylim=(-0.5, 11.5))
    roll_axes.set(ylabel="pitch", xlabel="bar", ylim=(20, 109))
    if shown > 1:
        chroma_axes.imshow(
            _chroma(score), aspect="auto", origin="lower", extent=(0, bars, -0.5, 11.5), cmap="magma", vmin=0, vmax=1
        )
    if shown > 2:
        roll = roll_of_bars(score.bars)
        steps, pitches = np.nonzero(roll[:, :, ONSET])
        width = bars / len(roll)
        if shown == len(STAGES):
            extent = (0, bars, -0.5, 127.5)
            roll_axes.imshow(
                roll[:, :, VELOCITY].T, aspect="auto", origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=127
            )
            roll_axes.scatter(steps * width, pitches, s=4, color="black")
        else:
            roll_axes.vlines(np.unique(steps) * width, 20, 109, linewidth=0.5, color="black")
        roll_axes.set(ylim=(20, 109))
    return figure


def _plan_curves(score: Score) -> dict[str, npt.NDArray[np.float64]]:
    """The plan's rows as shares of each attribute's range, by attribute."""
    rows = np.array([bar.plan for bar in score.bars], dtype=np.float64).reshape(len(score.bars), -1)
    return {
        attribute.name: (rows[:, column] - attribute.low) / (attribute.high - attribute.low)
        for column, attribute in enumerate(ATTRIBUTES)
    }


def _chroma(score: Score) -> npt.NDArray[np.float64]:
    """(12, halves): the harmony that was decided, half bar by half bar."""
    return np.array([half for bar in score.bars for half in bar.chroma], dtype=np.float64).reshape(-1, 12).T
