"""The loss curve as a picture beside the model card, where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fractal_live.train.card import curve_names


def draw_curve(history: Sequence[Mapping[str, float]], path: Path) -> bool:
    """Every column of the curve over the steps, as shares of its first value, bits in a panel of their
    own. False, and nothing written, without matplotlib or with nothing to draw."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not history:
        return False
    names = curve_names(history)
    bits = [name for name in names if "_bits_per_" in name]
    losses = [name for name in names if name not in bits]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, shown, unit in ((left, losses, "nats, share of the first"), (right, bits, "bits")):
        for name in shown:
            rows = [row for row in history if name in row]
            scale = 1.0 if axes is right else abs(rows[0][name]) or 1.0
            axes.plot([row["step"] for row in rows], [row[name] / scale for row in rows], label=name.replace("_", " "))
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        if shown:
            axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=100)
    return True
