"""What the judges measured, drawn as .png files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fractal_live.music.excerpt import FloatArray
from fractal_live.music.structure import LAGS, structure_names
from fractal_live.train.judges.portrait import Portrait
from fractal_live.train.judges.trial import needed

WIDE, TALL = 9.0, 4.0


def _axes(panels: int) -> tuple[Any, list[Any]]:
    """A figure that no window shows, and so many panels side by side."""
    figure = needed("matplotlib.figure").Figure(figsize=(WIDE, TALL), layout="constrained")
    needed("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _write(figure: Any, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=120)


def draw_quality(shown: Mapping[str, Portrait], train: Portrait, folder: Path) -> None:
    """Histograms of onset, pitch and duration, and likeness of bars by how far they lie apart."""
    drawn = {"train": train, **{name: found for name, found in shown.items() if name != "noise"}}
    for field, low, high in (("onset", 0, 16), ("pitch", 24, 104), ("duration", 0, 24)):
        figure, (panel,) = _axes(1)
        for name, portrait in drawn.items():
            counts = getattr(portrait, field)
            first = 1 if field == "duration" else 0
            panel.plot(np.arange(low, high) + first, (counts / counts.sum())[low:high], label=name)
        panel.set_xlabel({"onset": "sixteenth of the bar", "pitch": "MIDI pitch", "duration": "sixteenths"}[field])
        panel.set_ylabel("share of notes")
        panel.legend()
        _write(figure, folder, field)
    figure, panels = _axes(3)
    for panel, kind in zip(panels, ("onset", "rhythm", "chroma"), strict=True):
        columns = [structure_names().index(f"{kind}_lag_{lag}") for lag in LAGS]
        for name, portrait in drawn.items():
            if len(portrait.structure):
                panel.plot(LAGS, portrait.structure[:, columns].astype(np.float64).mean(0), label=name)
        panel.set_xlabel("bars apart")
        panel.set_title(f"likeness of {kind}")
    panels[-1].legend()
    _write(figure, folder, "likeness")


def draw_scatter(asked: Mapping[str, FloatArray], played: Mapping[str, FloatArray], folder: Path, name: str) -> None:
    """What was asked against what was played, a panel per attribute."""
    figure, panels = _axes(len(asked))
    for panel, attribute in zip(panels, asked, strict=True):
        panel.scatter(asked[attribute], played[attribute], s=3, alpha=0.4)
        known = asked[attribute][np.isfinite(asked[attribute])]
        if len(known):
            panel.plot([known.min(), known.max()], [known.min(), known.max()], color="black", linewidth=0.7)
        panel.set_title(attribute)
        panel.set_xlabel("asked")
    panels[0].set_ylabel("played")
    _write(figure, folder, name)


def draw_curves(
    x: Sequence[float], curves: Mapping[str, FloatArray], labels: tuple[str, str], folder: Path, name: str
) -> None:
    """One panel per curve over the same x."""
    figure, panels = _axes(len(curves))
    for panel, (title, values) in zip(panels, curves.items(), strict=True):
        panel.plot(x, values, marker="o", markersize=3)
        panel.set_title(title)
        panel.set_xlabel(labels[0])
    panels[0].set_ylabel(labels[1])
    _write(figure, folder, name)
