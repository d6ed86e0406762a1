"""The commands. Heavy imports happen inside them, so that `--help` is quick and `run` never loads torch."""

from __future__ import annotations

import json
import logging
import random
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from fractal_live import __version__
from fractal_live.settings import (
    DEVICES,
    MIDI_APIS,
    SYNCS,
    Machine,
    Patch,
    RunSettings,
    SettingsError,
    find_shipped,
    read_machine,
    read_patch,
    shipped_names,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console()
err = Console(stderr=True)

HIGHEST_SEED = 2**31 - 1


def _fail(text: str, status: int = 2) -> NoReturn:
    err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(status)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        _fail(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    return value


def _version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """A live instrument: a fractal model of symbolic music that plays ahead of the beat."""


@app.command()
def run(
    patch: Annotated[str, typer.Option(help="A shipped patch by name, or a .toml file.")] = "nocturne",
    sync: Annotated[str | None, typer.Option(help="Who leads: midi, internal or osc (else the patch says).")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="A shipped name or a .safetensors file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=HIGHEST_SEED, help="The same seed plays the same set.")] = None,
    bars: Annotated[int | None, typer.Option(min=1, help="Stop by itself after so many bars.")] = None,
    record: Annotated[Path | None, typer.Option(help="The .mid file of the set (else recordings/DATE.mid).")] = None,
    port: Annotated[str | None, typer.Option(help="Name of the virtual MIDI port.")] = None,
    midi_api: Annotated[str | None, typer.Option(help="auto, alsa, jack, core, winmm or none.")] = None,
    connect: Annotated[str | None, typer.Option(help="Play into this existing MIDI output instead.")] = None,
    clock_port: Annotated[str | None, typer.Option(help="Follow the clock of this existing MIDI input.")] = None,
    osc_port: Annotated[int | None, typer.Option(min=1, max=65535, help="UDP port for OSC.")] = None,
    tempo: Annotated[float | None, typer.Option(min=20, max=400, help="Own tempo in bpm.")] = None,
    dashboard: Annotated[bool, typer.Option(help="Show the dashboard.")] = True,
    picture: Annotated[Path | None, typer.Option(help="Draw the last frame of the dashboard here (.svg).")] = None,
    log_file: Annotated[Path | None, typer.Option(help="Write the log to this file.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Plays: opens the MIDI port, listens for clock and OSC, unfolds bars ahead of the playhead."""
    from fractal_live.daemon import DaemonError, play
    from fractal_live.live.recorder import recording_path
    from fractal_live.ports.osc_in import OscPortError

    chosen, machine = _read_settings(patch)
    given: dict[str, Any] = {
        "port_name": port,
        "midi_api": _one_of("--midi-api", midi_api, MIDI_APIS) if midi_api else None,
        "connect": connect,
        "clock_port": clock_port,
        "osc_port": osc_port,
        "device": _one_of("--device", device, DEVICES) if device else None,
    }
    machine = replace(machine, **{key: value for key, value in given.items() if value is not None})
    if tempo is not None:
        chosen = replace(chosen, tempo_bpm=tempo)
    _log_to(log_file, log_level, shows_dashboard=dashboard and out.is_terminal)
    settings = RunSettings(
        patch=chosen,
        machine=machine,
        checkpoint=_checkpoint(checkpoint or chosen.checkpoint),
        sync=_one_of("--sync", sync or chosen.sync, SYNCS),
        seed=random.SystemRandom().randint(2, HIGHEST_SEED) if seed is None else seed,
        record=record or recording_path(Path(machine.recordings), chosen.title, datetime.now()),
        bars=bars,
        shows_dashboard=dashboard and out.is_terminal,
        picture=picture,
    )
    try:
        daemon = play(settings)
    except (DaemonError, OscPortError) as error:
        _fail(str(error), 1)
    if not daemon.is_recorded:
        recorded = daemon.recorder.last_error
    elif daemon.recorder.notes:
        recorded = f"recorded {daemon.recorder.notes} notes in {settings.record}"
    else:
        recorded = "nothing played"
    summary = f"{recorded}; seed {settings.seed}; underruns {daemon.status.health.underruns}"
    err.print(summary, highlight=False, markup=False, soft_wrap=True)


def _read_settings(patch: str) -> tuple[Patch, Machine]:
    try:
        return read_patch(find_shipped("patches", patch)), read_machine(find_shipped("config", "machine"))
    except SettingsError as error:
        _fail(str(error))


def _checkpoint(name: str) -> Path:
    try:
        return find_shipped("checkpoints", name)
    except SettingsError as error:
        _fail(str(error))


def _log_to(path: Path | None, level: str, shows_dashboard: bool) -> None:
    """To a file if one is named; to the terminal only where no dashboard would be torn by it."""
    numeric = getattr(logging, _one_of("--log-level", level, ("debug", "info", "warning", "error")).upper())
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(filename=path, level=numeric, format=form)
    elif not shows_dashboard:
        logging.basicConfig(stream=sys.stderr, level=max(numeric, logging.WARNING), format="%(message)s")
    else:
        logging.basicConfig(handlers=[logging.NullHandler()])


@app.command()
def generate(
    bars: Annotated[int, typer.Option(min=1, max=4096, help="Bars of each piece.")] = 32,
    num: Annotated[int, typer.Option(min=1, max=10000, help="How many pieces.")] = 1,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the .mid files.")] = Path("generated"),
    seed: Annotated[int, typer.Option(min=0, max=HIGHEST_SEED, help="Piece i uses seed + i.")] = 0,
    density: Annotated[float | None, typer.Option(min=0, max=47, help="Onsets per bar, held throughout.")] = None,
    temperature: Annotated[float, typer.Option(min=0.1, max=2)] = 1.0,
    cfg: Annotated[float, typer.Option(min=0, max=5, help="Guidance; 1 = off.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.05, max=1)] = 1.0,
    checkpoint: Annotated[str, typer.Option(help="A shipped name or a .safetensors file.")] = "live",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line instead of a table.")] = False,
) -> None:
    """Writes pieces as .mid files: 4/4, tick 0 is a barline, the same engine as on stage."""
    from rich.progress import track

    from fractal_live.model.checkpoint import CheckpointError
    from fractal_live.model.engine import Engine
    from fractal_live.model.piece import compose
    from fractal_live.music.midifile import write_score
    from fractal_live.music.plan import COLUMN, unknown_plan
    from fractal_live.music.request import Sampling

    try:
        engine = Engine(_checkpoint(checkpoint), _one_of("--device", device, DEVICES))
    except (CheckpointError, ValueError) as error:
        _fail(str(error))
    out_dir.mkdir(parents=True, exist_ok=True)
    given = unknown_plan(bars)
    if density is not None:
        given[:, COLUMN["density"]] = density
    sampling = Sampling(temperature, cfg, top_p)
    pieces = []
    for index in track(range(num), "composing", console=err, disable=as_json or not err.is_terminal):
        score = compose(engine, bars, seed + index, sampling, given)
        path = out_dir / f"piece-{seed + index:06d}.mid"
        write_score(score, path)
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


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="A folder of MIDI files, or one with train/ and valid/ in it.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the run; an unfinished run in it goes on.")] = Path(
        "runs/live"
    ),
    steps: Annotated[int, typer.Option(min=1)] = 7500,
    batch_size: Annotated[int, typer.Option(min=1)] = 4,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=1.0)] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, max=HIGHEST_SEED)] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads; one beside other work.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    minutes: Annotated[float | None, typer.Option(help="Stop after this long; the same command goes on.")] = None,
    model_config: Annotated[Path | None, typer.Option("--config", help="The model's shape (.toml).")] = None,
) -> None:
    """Trains a checkpoint on MIDI files; can be killed at any time and goes on where it was."""
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fractal_live.model.config import ConfigError, ModelConfig
    from fractal_live.settings import read_table
    from fractal_live.train.corpus import CorpusError, read_corpus
    from fractal_live.train.dataset import Dataset
    from fractal_live.train.loop import Trainer, TrainSettings, validation_batches

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(threads)
    settings = TrainSettings(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        threads=threads,
        device=device,
        minutes=minutes,
        warmup_steps=min(200, max(1, steps // 10)),
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        reading = progress.add_task("reading", total=None)
        try:
            config = ModelConfig.from_dict(read_table(model_config)) if model_config else ModelConfig()
            folder = data / "train" if (data / "train").is_dir() else data
            songs = read_corpus(folder, lambda path: progress.advance(reading))
            held_out = read_corpus(data / "valid") if (data / "valid").is_dir() else []
        except (CorpusError, ConfigError, SettingsError) as error:
            _fail(str(error))
        progress.remove_task(reading)
        trainer = Trainer(config, settings, Dataset(songs, config), out_dir)
        if trainer.resume():
            err.print(f"going on from step {trainer.step}", highlight=False)
        validation = validation_batches(Dataset(held_out, config)) if held_out else []
        task = progress.add_task("training", total=steps, completed=trainer.step)
        for report in trainer.run(validation):
            shown = " ".join(f"{name} {value:.2f}" for name, value in report.losses.items())
            progress.update(task, completed=report.step, description=shown)
            if report.bits_per_note is not None:
                out.print(
                    f"step {report.step}: {report.bits_per_note:.3f} bits per note on held-out songs", highlight=False
                )
    out.print(f"checkpoint: {out_dir / 'model.safetensors'}", highlight=False)


@app.command()
def evaluate(
    what: Annotated[str, typer.Argument(help="quality (what it invents) or plan (how nearly it plays what is asked).")],
    data: Annotated[Path, typer.Option(help="A folder with train/ and valid/, or one of MIDI files.")],
    checkpoint: Annotated[str, typer.Option(help="A shipped name or a .safetensors file.")] = "live",
    pieces: Annotated[int, typer.Option(min=2, max=1000, help="How many pieces are judged.")] = 24,
    bars: Annotated[int, typer.Option(min=1, max=64, help="Bars of each piece.")] = 16,
    cfg: Annotated[float, typer.Option(min=0, max=5, help="Guidance; 1 = off.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=HIGHEST_SEED)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line instead of a table.")] = False,
) -> None:
    """Judges a checkpoint beside real music that it was not trained on."""
    from rich.progress import Progress

    from fractal_live.model.checkpoint import CheckpointError
    from fractal_live.model.engine import Engine
    from fractal_live.music.request import Sampling
    from fractal_live.train.corpus import CorpusError, read_corpus
    from fractal_live.train.evaluate import plan_adherence, quality, windows

    _one_of("what to evaluate", what, ("quality", "plan"))
    try:
        engine = Engine(_checkpoint(checkpoint), _one_of("--device", device, DEVICES))
        held_out = read_corpus(data / "valid" if (data / "valid").is_dir() else data)
        songs = read_corpus(data / "train") if what == "quality" and (data / "train").is_dir() else held_out
    except (CheckpointError, CorpusError, ValueError) as error:
        _fail(str(error))
    real = windows(held_out, bars, pieces)
    if len(real) < 2:
        _fail(f"{data}: fewer than two runs of {bars} full 4/4 bars; ask for fewer --bars or give more songs")
    with Progress(console=err, disable=as_json or not err.is_terminal) as progress:
        task = progress.add_task("composing", total=pieces if what == "quality" else len(real))

        def on_piece() -> None:
            progress.advance(task)

        if what == "quality":
            result = quality(engine, windows(songs, bars, 200), real, pieces, bars, seed, on_piece)
        else:
            result = plan_adherence(engine, real, Sampling(cfg_scale=cfg), seed, on_piece)
    if as_json:
        typer.echo(json.dumps({"checkpoint": engine.checkpoint_id, what: result}))
        return
    names = list(result)
    table = Table("", *names, title=f"{engine.checkpoint_id}: {len(real)} real pieces of {bars} bars")
    for metric in result[names[0]]:
        table.add_row(metric, *(f"{result[name][metric]:.3f}" for name in names))
    out.print(table)


@app.command()
def ports() -> None:
    """Lists the MIDI ports there are, and what to type to use them."""
    from fractal_live.ports.midi_system import API_NAMES, REMEDY, PortError, choose_api, input_ports, output_ports

    api = choose_api("auto")
    if api is None:
        _fail(f"no MIDI system answers: {REMEDY}; `fractal-live run` would play to nowhere", 1)
    name = next(name for name, number in API_NAMES.items() if number == api)
    table = Table("MIDI system", "port", "to use it")
    try:
        for port in output_ports(api):
            table.add_row(name, port, f'run --connect "{port}"')
        for port in input_ports(api):
            table.add_row(name, port, f'run --clock-port "{port}"')
    except PortError as error:
        _fail(str(error), 1)
    out.print(table)


@app.command()
def controls(
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The table as in the README.")] = False,
) -> None:
    """Lists everything that can be moved while it plays: address, range, default, unit."""
    from fractal_live.live.controls import CONTROLS, table_markdown

    if as_markdown:
        typer.echo(table_markdown())
        return
    table = Table("address", "range", "default", "unit", "heard", "what it does")
    for control in CONTROLS:
        default = "" if control.default is None else f"{control.default:g}"
        table.add_row(
            control.address,
            f"{control.low:g} to {control.high:g}",
            default,
            control.unit,
            control.takes_effect,
            control.help,
        )
    out.print(table)


@app.command()
def patches() -> None:
    """Lists the shipped patches."""
    table = Table("patch", "title", "sync", "checkpoint")
    for name in shipped_names("patches"):
        found, _ = _read_settings(name)
        table.add_row(name, found.title, found.sync, found.checkpoint)
    out.print(table)


if __name__ == "__main__":
    app()
