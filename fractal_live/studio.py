"""The commands of the studio, where nothing is played: generate, infill, train, evaluate.

Heavy imports happen inside them, so that the other commands never load torch.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fractal_live.settings import DEVICES
from fractal_live.terminal import HIGHEST_SEED, checkpoint_path, err, fail, one_of, out
from fractal_live.toml_values import SettingsError, read_table

if TYPE_CHECKING:
    from fractal_live.music.meter import Meter
    from fractal_live.music.notes import Score
    from fractal_live.music.plan import PlanTable

# Typer reads a command's options from its signature: these types are what the commands can share of it.
Checkpoint = Annotated[str, typer.Option(help="A shipped name or a .safetensors file.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Seed = Annotated[int, typer.Option(min=0, max=HIGHEST_SEED)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON line instead of a table.")]
Wish = Annotated[str | None, typer.Option(help="One number to hold, or several with commas: a curve over the bars.")]
Temperature = Annotated[float, typer.Option(min=0.1, max=2)]
Guidance = Annotated[float, typer.Option(min=0, max=5, help="Guidance; 1 = off.")]
TopP = Annotated[float, typer.Option(min=0.05, max=1)]
TopK = Annotated[int, typer.Option(min=0, max=128)]
MaskK = Annotated[int, typer.Option(min=0, max=16, help="Never the so many likeliest choices.")]
MaskP = Annotated[float, typer.Option(min=0, max=0.95, help="Never the likeliest choices that sum to this.")]
Echo = Annotated[float, typer.Option(min=-6, max=6, help="How much the music repeats itself, in nats.")]
Rounds = Annotated[int, typer.Option(min=1, max=64, help="Rounds in which masked levels open what is unknown.")]
Refine = Annotated[float, typer.Option(min=0, max=1, help="Share of half bars drawn again, the least sure first.")]


def generate(
    bars: Annotated[int, typer.Option(min=1, max=4096, help="Bars of each piece.")] = 32,
    num: Annotated[int, typer.Option(min=1, max=10000, help="How many pieces.")] = 1,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the .mid files.")] = Path("generated"),
    seed: Annotated[int, typer.Option(min=0, max=HIGHEST_SEED, help="Piece i uses seed + i.")] = 0,
    density: Wish = None,
    tempo: Wish = None,
    polyphony: Wish = None,
    duration: Wish = None,
    register: Wish = None,
    loudness: Wish = None,
    latent: Annotated[str | None, typer.Option(help="Up to 16 numbers with commas; else the seed draws them.")] = None,
    gain: Annotated[float, typer.Option(min=0, max=1, help="Influence of the latent.")] = 1.0,
    meter: Annotated[str, typer.Option(help="Time signature, such as 4/4, 3/4 or 7/8.")] = "4/4",
    at_once: Annotated[
        bool, typer.Option(help="All bars side by side in a few rounds, not one after another.")
    ] = False,
    rounds: Rounds = 8,
    refine: Refine = 0.0,
    temperature: Temperature = 1.0,
    cfg: Guidance = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    mask_k: MaskK = 0,
    mask_p: MaskP = 0.0,
    echo: Echo = 0.0,
    png: Annotated[bool, typer.Option("--png", help="Also a picture: plan, harmony, piano roll.")] = False,
    gif: Annotated[bool, typer.Option("--gif", help="Also a moving picture, a level at a time.")] = False,
    checkpoint: Checkpoint = "live",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Writes pieces as .mid files, tick 0 a barline, by the same engine as on stage."""
    from rich.progress import track

    from fractal_live.model.piece import compose, drawn_latent
    from fractal_live.music.midifile import write_score
    from fractal_live.music.notes import Score
    from fractal_live.music.request import Sampling

    wishes = dict(
        density=density, tempo=tempo, polyphony=polyphony, duration=duration, register=register, loudness=loudness
    )
    given = _given_plan(bars, wishes)
    point = _latent(latent)
    signature = _meter(meter)
    engine = _engine(checkpoint, device)
    sampling = Sampling(
        temperature,
        cfg,
        top_p=top_p,
        top_k=top_k,
        mask_k=mask_k,
        mask_p=mask_p,
        echo=echo,
        iterations=rounds,
        refine=refine,
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    pieces = []
    for index in track(range(num), "composing", console=err, disable=as_json or not err.is_terminal):
        if at_once:
            place = drawn_latent(seed + index) if point is None else point
            score = Score(engine.piece(given, sampling, seed + index, place, gain, signature))
        else:
            score = compose(engine, bars, seed + index, sampling, given, signature, point, gain)
        path = out_dir / f"piece-{seed + index:06d}.mid"
        write_score(score, path)
        _draw(score, path, png, gif)
        notes = sum(len(bar.notes) for bar in score.bars)
        pieces.append(
            {"file": str(path), "seed": seed + index, "notes": notes, "onsets_per_bar": round(notes / bars, 2)}
        )
    if as_json:
        typer.echo(json.dumps({"checkpoint": engine.checkpoint_id, "bars": bars, "pieces": pieces}))
        return
    table = Table("file", "seed", "notes", "onsets per bar")
    for piece in pieces:
        table.add_row(*(str(value) for value in piece.values()))
    out.print(table)


def _draw(score: Score, path: Path, png: bool, gif: bool) -> None:
    """The pictures that were asked for, beside the piece."""
    from fractal_live.pictures import PictureError, draw_piece, draw_unfolding

    try:
        if png:
            draw_piece(score, path.with_suffix(".png"))
        if gif:
            draw_unfolding(score, path.with_suffix(".gif"))
    except PictureError as error:
        fail(str(error))


def infill(
    original: Annotated[Path, typer.Argument(help="A .mid file whose tick 0 is a barline.")],
    bars: Annotated[str, typer.Option(help="The bars to make again, counted from 1: 5, 5-8, or 5-8,13.")],
    out_file: Annotated[Path, typer.Option("--out", help="The new .mid file.")] = Path("infilled.mid"),
    low: Annotated[int, typer.Option(min=0, max=127, help="Lowest pitch that is replaced.")] = 0,
    high: Annotated[int, typer.Option(min=0, max=127, help="Highest pitch that is replaced.")] = 127,
    seed: Seed = 0,
    density: Wish = None,
    polyphony: Wish = None,
    duration: Wish = None,
    register: Wish = None,
    loudness: Wish = None,
    candidates: Annotated[int, typer.Option(min=1, max=64, help="Attempts, of which the most agreed is kept.")] = 8,
    rounds: Rounds = 16,
    refine: Refine = 0.0,
    echo: Echo = 2.0,
    temperature: Temperature = 0.3,
    cfg: Guidance = 1.0,
    top_p: TopP = 1.0,
    checkpoint: Checkpoint = "live",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Makes some bars of a piece again, knowing both sides; all else stays as it was, in its own tracks."""
    from fractal_live.music.consensus import mended
    from fractal_live.music.midifile import MidiFileError, read_score, write_infilled
    from fractal_live.music.notes import Score
    from fractal_live.music.request import InfillRequest, Sampling

    if low > high:
        fail(f"--low {low} is above --high {high}")
    try:
        score = read_score(original)
    except MidiFileError as error:
        fail(str(error))
    is_missing = _marked(bars, len(score.bars))
    plan = _given_plan(
        len(score.bars),
        dict(density=density, polyphony=polyphony, duration=duration, register=register, loudness=loudness),
    )
    engine = _engine(checkpoint, device)
    sampling = Sampling(temperature, cfg, top_p=top_p, echo=echo, iterations=rounds, refine=refine)
    made = Score(mended(engine, InfillRequest(score.bars, is_missing, plan, sampling, seed, low, high), candidates))
    write_infilled(original, out_file, made, is_missing, low, high)
    notes = [len(bar.notes) for bar, new in zip(made.bars, is_missing, strict=True) if new]
    if as_json:
        typer.echo(json.dumps({"checkpoint": engine.checkpoint_id, "file": str(out_file), "notes_per_new_bar": notes}))
        return
    out.print(f"{out_file}: {sum(is_missing)} of {len(is_missing)} bars made again", highlight=False, markup=False)


def train(
    data: Annotated[Path, typer.Option(help="A folder of MIDI files, or one with train/ and valid/ in it.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the run; an unfinished run in it goes on.")] = Path(
        "runs/live"
    ),
    model: Annotated[str, typer.Option(help="fractal, or the rival: event-transformer.")] = "fractal",
    steps: Annotated[int, typer.Option(min=1)] = 7500,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops per step and device.")] = 4,
    rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="Peak learning rate.")] = 1e-4,
    seed: Seed = 0,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads; one beside other work.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="auto, bfloat16 or float32.")] = "auto",
    minutes: Annotated[float | None, typer.Option(help="Budget of the whole run; the rate falls to its end.")] = None,
    model_config: Annotated[Path | None, typer.Option("--config", help="The model's shape (.toml).")] = None,
    start: Annotated[str | None, typer.Option(help="Begin from this checkpoint's weights (fine-tuning).")] = None,
    new: Annotated[list[str] | None, typer.Option(help="With --start: tensors (or patterns) to learn anew.")] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write a log for TensorBoard (extra: train).")] = False,
) -> None:
    """Trains a checkpoint on MIDI files; can be killed at any time and goes on where it was. Under torchrun the
    devices share every step."""
    from fractal_live.train.command import TrainRequest, run_training

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    request = TrainRequest(
        data=data,
        out=out_dir,
        model=one_of("--model", model, ("fractal", "event-transformer")),
        config=_table(model_config),
        start=checkpoint_path(start) if start else None,
        new=tuple(new or ()),
        tensorboard=tensorboard,
        settings=dict(
            steps=steps,
            batch_size=batch_size,
            learning_rate=rate,
            seed=seed,
            threads=threads,
            device=device,
            precision=precision,
            minutes=minutes,
            warmup_steps=min(200, max(1, steps // 10)),
        ),
    )
    try:
        run_training(request, out, err)
    except ValueError as error:
        fail(str(error))


def evaluate(
    what: Annotated[str, typer.Argument(help="quality, plan, latent, infill, memory, live; bits; anchors.")],
    data: Annotated[Path | None, typer.Option(help="A folder with train/ and valid/, or one of MIDI files.")] = None,
    checkpoint: Checkpoint = "live",
    pieces: Annotated[int | None, typer.Option(min=1, max=1000, help="How many pieces are judged.")] = None,
    bars: Annotated[int | None, typer.Option(min=1, max=1000, help="Bars of each piece.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.1, max=2, help="Else as the command judged has it.")
    ] = None,
    cfg: Guidance = 1.0,
    echo: Annotated[float | None, typer.Option(min=-6, max=6, help="Else as the command judged has it.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, max=64, help="Else as the command judged has it.")] = None,
    seed: Seed = 0,
    keep: Annotated[Path | None, typer.Option(help="Write the pieces that were judged to this folder (.mid).")] = None,
    plots: Annotated[Path | None, typer.Option(help="Write pictures to this folder (.png).")] = None,
    recorded: Annotated[Path | None, typer.Option(help="Judge these .mid files instead of composing.")] = None,
    anchors: Annotated[Path | None, typer.Option(help="Saved features of real songs, else the shipped ones.")] = None,
    out_file: Annotated[Path, typer.Option("--out", help="Where `evaluate anchors` writes.")] = Path("anchors.npz"),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Judges a checkpoint beside real music that it was not trained on. `bits` says what held-out songs cost, for the
    fractal and its rival alike; `anchors` saves the features of a folder of songs, so that others can compare."""
    from rich.progress import Progress

    from fractal_live.music.request import MENDING, Sampling
    from fractal_live.train.judges.court import CASES
    from fractal_live.train.judges.trial import Trial
    from fractal_live.train.judging import JudgingRequest, bits, judged, save_anchors

    one_of("what to evaluate", what, (*CASES, "bits", "anchors"))
    if what in ("bits", "anchors") and data is None:
        fail(f"evaluate {what} needs songs: --data DIR")
    try:
        if what == "anchors" and data is not None:
            save_anchors(data, out_file)
            out.print(f"anchors: {out_file}", highlight=False)
            return
        engine = _engine(checkpoint, device)
        if what == "bits" and data is not None:
            report = bits(engine, data, pieces)
        else:
            case = CASES[what]
            given: dict[str, Any] = {"temperature": temperature, "echo": echo, "iterations": rounds, "cfg_scale": cfg}
            usual = MENDING if what == "infill" else Sampling()
            sampling = replace(usual, **{name: value for name, value in given.items() if value is not None})
            trial = Trial(pieces or case.pieces, bars or case.bars, seed, sampling, keep, plots, recorded)
            with Progress(console=err, disable=as_json or not err.is_terminal) as progress:
                report = judged(JudgingRequest(what, data, anchors), engine, trial, progress)
    except ValueError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"checkpoint": engine.checkpoint_id} | report.as_dict()))
        return
    table = Table(*report.header(), title=f"{engine.checkpoint_id}, {report.judge}: {report.title}")
    for row in report.cells():
        table.add_row(*row)
    out.print(table)
    for remark in report.remarks:
        out.print(remark, highlight=False, markup=False)


def _engine(checkpoint: str, device: str) -> Any:
    from fractal_live.baselines.door import open_engine
    from fractal_live.model.checkpoint import CheckpointError

    try:
        return open_engine(checkpoint_path(checkpoint), one_of("--device", device, DEVICES))
    except (CheckpointError, ValueError) as error:
        fail(str(error))


def _table(path: Path | None) -> dict[str, object]:
    try:
        return dict(read_table(path)) if path else {}
    except SettingsError as error:
        fail(str(error))


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        fail(f"--{name} is {text!r}; give one number, or several with commas between")


def _given_plan(bars: int, wishes: dict[str, str | None]) -> PlanTable:
    """Wishes as plan rows: one number is held, several are spread over the bars, straight lines between."""
    import numpy as np

    from fractal_live.music.plan import ATTRIBUTES, COLUMN, unknown_plan

    given = unknown_plan(bars)
    for name, text in wishes.items():
        if text is None:
            continue
        attribute, values = ATTRIBUTES[COLUMN[name]], _numbers(name, text)
        if not all(attribute.low <= value <= attribute.high for value in values):
            fail(f"--{name} is {text!r}; allowed: {attribute.low:g} to {attribute.high:g} {attribute.unit}")
        given[:, COLUMN[name]] = np.interp(np.linspace(0, 1, bars), np.linspace(0, 1, len(values)), values)
    return given


def _latent(text: str | None) -> tuple[float, ...] | None:
    from fractal_live.music.request import LATENT_DIMS

    if text is None:
        return None
    values = _numbers("latent", text)
    if len(values) > LATENT_DIMS:
        fail(f"--latent has {len(values)} numbers; allowed: 1 to {LATENT_DIMS}")
    return (*values, *[0.0] * (LATENT_DIMS - len(values)))


def _meter(text: str) -> Meter:
    from fractal_live.music.meter import Meter

    numerator, _, denominator = text.partition("/")
    if not (numerator.isdigit() and denominator.isdigit()):
        fail(f"--meter is {text!r}; give a time signature such as 4/4 or 7/8")
    try:
        return Meter(int(numerator), int(denominator))
    except ValueError as error:
        fail(str(error))


def _marked(text: str, bars: int) -> tuple[bool, ...]:
    """Bar numbers and ranges, counted from 1, as marks."""
    marks = [False] * bars
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(end.strip().isdigit() for end in ends):
            fail(f"--bars is {text!r}; give numbers and ranges such as 5-8,13")
        low, high = int(ends[0]), int(ends[-1])
        if not 1 <= low <= high <= bars:
            fail(f"--bars is {text!r}; the piece has bars 1 to {bars}")
        marks[low - 1 : high] = [True] * (high - low + 1)
    return tuple(marks)
