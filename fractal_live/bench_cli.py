"""`fractal-live bench`: a table for people, and with `--json` one line for programs, last on standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.table import Table

from fractal_live.settings import DEVICES, MIDI_APIS
from fractal_live.terminal import HIGHEST_SEED, checkpoint_path, err, fail, one_of, out

app = typer.Typer(no_args_is_help=True, help="Measures the instrument on this machine, the other side beside it.")

SOAK_SYNCS = ("auto", "midi", "internal")

AsJson = Annotated[bool, typer.Option("--json", help="The figures as one JSON line, last on standard output.")]
Checkpoint = Annotated[str, typer.Option(help="A shipped name or a .safetensors file.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Processor threads for the model.")]
MidiApi = Annotated[str, typer.Option(help="auto, alsa, jack-native, jack, core, winmm or none.")]
Seed = Annotated[int, typer.Option(min=0, max=HIGHEST_SEED)]


@app.command()
def timing(
    seconds: Annotated[float, typer.Option(min=1, help="How long each side plays, each time.")] = 20.0,
    bpm: Annotated[float, typer.Option(min=20, max=400)] = 180.0,
    repeats: Annotated[int, typer.Option(min=1, help="How often each side plays; medians are reported.")] = 3,
    midi_api: MidiApi = "auto",
    checkpoint: Checkpoint = "live",
    device: Device = "auto",
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Sent and heard minus due while the model generates flat out, beside asyncio with torch, and isobar."""
    from fractal_live.bench.timing import TimingSettings, run_timing, table

    settings = TimingSettings(
        checkpoint_path(checkpoint),
        seconds,
        bpm,
        repeats,
        one_of("--midi-api", midi_api, MIDI_APIS),
        one_of("--device", device, DEVICES),
        threads,
    )
    with _progress() as tell:
        figures = run_timing(settings, tell)
    _report(table(figures), figures, as_json)


@app.command()
def clock(
    seeds: Annotated[int, typer.Option(min=1, help="How many simulated clocks of each kind.")] = 12,
    seconds: Annotated[float, typer.Option(min=20, help="How long each of them is.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """How well the clock follower follows, beside others."""
    from fractal_live.bench.clock import run_clock, table

    with _progress() as tell:
        tell("following clocks")
        figures = run_clock(seeds, seconds)
    _report(table(figures), figures, as_json)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.05)] = 5.0,
    faults: Annotated[
        str,
        typer.Option(
            help="Of: model and stage (killed), hang (the model), clock (a gap), port (where the music goes vanishes "
            "and comes back); or none."
        ),
    ] = "model,stage,hang,clock,port",
    fault_every: Annotated[float, typer.Option(min=1, help="Seconds between two of them.")] = 60.0,
    sync: Annotated[str, typer.Option(help="midi (a leader of its own), internal, or auto.")] = "auto",
    tempo: Annotated[float, typer.Option(min=20, max=400, help="At the start, in bpm.")] = 120.0,
    midi_api: MidiApi = "auto",
    checkpoint: Checkpoint = "live",
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Plays a set with random controls, tempo moves and accidents, and counts what went wrong."""
    from fractal_live.bench.account import table
    from fractal_live.bench.faults import FAULTS
    from fractal_live.bench.soak import SoakSettings, run_soak

    named = () if faults == "none" else tuple(name.strip() for name in faults.split(","))
    for name in named:
        one_of("--faults", name, (*FAULTS, "none"))
    settings = SoakSettings(
        checkpoint_path(checkpoint),
        minutes,
        one_of("--sync", sync, SOAK_SYNCS),
        one_of("--midi-api", midi_api, MIDI_APIS),
        tempo,
        named,
        fault_every,
        one_of("--device", device, DEVICES),
        threads,
        seed,
    )
    with _progress() as tell:
        figures = run_soak(settings, tell)
    _report(table(figures), figures, as_json)


@app.command()
def bar(
    bars: Annotated[int, typer.Option(min=1, help="How many, one after another.")] = 100,
    pieces: Annotated[int, typer.Option(min=0, help="How many times 32 bars at once are made; 0: not at all.")] = 3,
    against: Annotated[str | None, typer.Option(help="Another checkpoint, which answers in turns.")] = None,
    checkpoint: Checkpoint = "live",
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """How long a bar takes from request to notes, and 32 bars at once."""
    from fractal_live.bench.bar import BarSettings, run_bar, table

    settings = BarSettings(
        checkpoint_path(checkpoint),
        checkpoint_path(against) if against else None,
        bars,
        pieces,
        one_of("--device", device, DEVICES),
        threads,
        seed,
    )
    with _progress() as tell:
        figures = run_bar(settings, tell)
    _report(table(figures), figures, as_json)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is going on; what cannot be measured ends the command."""
    from fractal_live.bench.companion import BenchError

    try:
        with err.status("starting") as status:
            yield lambda text: status.update(text)
    except BenchError as trouble:
        fail(str(trouble), 1)


def _report(table: Table, figures: dict[str, Any], as_json: bool) -> None:
    out.print(table)
    if as_json:
        typer.echo(json.dumps(figures, allow_nan=False))
