"""A judge's whole sitting: songs and anchors found, the pieces heard, the report; what `fractal-live evaluate` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from fractal_live.baselines.event_transformer import EventTransformer
from fractal_live.baselines.likelihood import bits_of_crops
from fractal_live.music.request import Generator
from fractal_live.shipped_files import shipped_folder
from fractal_live.train.comparison import comparable_bits
from fractal_live.train.event_dataset import comparable_crops, crop_tokens
from fractal_live.train.judges.anchors import Anchors, build, held_out, load, save, splits_of
from fractal_live.train.judges.court import CASES, judge, pieces_heard
from fractal_live.train.judges.report import Line, Report
from fractal_live.train.judges.trial import JudgeError, Trial

SHIPPED = "anchors.npz"
CROP_BARS = 32


@dataclass(frozen=True, slots=True)
class JudgingRequest:
    """Which judge; songs to compare with bar by bar, and saved features, both optional: the shipped ones serve."""

    what: str
    data: Path | None
    anchors: Path | None


def judged(request: JudgingRequest, engine: Generator, trial: Trial, progress: Progress) -> Report:
    """The report of a judge. Raises ValueError, naming what is missing."""
    songs = []
    if request.data is not None and CASES[request.what].needs_songs:
        reading = progress.add_task("reading", total=None)
        songs = held_out(request.data, lambda path: progress.advance(reading))
        progress.remove_task(reading)
    task = progress.add_task("listening", total=pieces_heard(request.what, trial.pieces))
    heard = replace(trial, on_piece=lambda: progress.advance(task))
    return judge(request.what, engine, heard, _anchors(request), songs)


def _anchors(request: JudgingRequest) -> Anchors | None:
    if request.anchors is not None:
        return load(request.anchors)
    if CASES[request.what].needs_songs:
        return None
    shipped = shipped_folder("checkpoints") / SHIPPED
    return load(shipped) if shipped.is_file() else None


def save_anchors(data: Path, path: Path) -> None:
    """Features of a folder's songs, so that others can compare with them without having them."""
    save(build(splits_of(data)), path)


def bits(engine: Any, data: Path, count: int | None) -> Report:
    """What held-out songs cost a checkpoint, in bits per note, so that systems can be compared: see
    `train.comparison` and `baselines.likelihood` for what is paid."""
    crops = comparable_crops(held_out(data), CROP_BARS, count)
    if not crops:
        raise JudgeError(f"{data}: no run of {CROP_BARS} full 4/4 bars in its held-out songs")
    if isinstance(engine.model, EventTransformer):
        rival = bits_of_crops(engine.model, [crop_tokens(crop) for crop in crops])
        notes = rival.notes
        parts = {name: getattr(rival, name) for name in ("position", "pitch", "velocity", "duration")}
    else:
        if engine.model.config.plan_bars != CROP_BARS:
            raise JudgeError(
                f"{engine.checkpoint_id} was made for crops of {engine.model.config.plan_bars} bars; bits are compared "
                f"on {CROP_BARS}"
            )
        found = comparable_bits(engine.model, crops)
        notes, parts = found.notes, found.parts
    lines = [Line(name, (value / notes,)) for name, value in parts.items()]
    total = Line("bits per note", (sum(parts.values()) / notes,))
    return Report("bits", f"{len(crops)} crops of {CROP_BARS} bars, {notes} notes", ("bits per note",), (*lines, total))
