"""The commands. Heavy imports happen inside them, so that `--help` is quick and `run` never loads torch."""

from __future__ import annotations

import logging
import random
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fractal_live import __version__, bench_cli, replay, studio
from fractal_live.replay import soundfont_to_hear
from fractal_live.settings import DEVICES, MIDI_APIS, SYNCS, Machine, Patch, RunSettings, read_machine, read_patch
from fractal_live.shipped_files import find_shipped, shipped_names
from fractal_live.terminal import HIGHEST_SEED, checkpoint_path, err, fail, one_of, out
from fractal_live.toml_values import SettingsError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


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
    patch: Annotated[str, typer.Option(help="A shipped patch by name, or a .toml file.")] = "plain",
    sync: Annotated[str | None, typer.Option(help="Who leads: midi, internal, osc or link (else: the patch).")] = None,
    send_clock: Annotated[
        bool | None, typer.Option("--send-clock/--no-send-clock", help="Lead others by MIDI clock (else: the patch).")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="A shipped name or a .safetensors file.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=HIGHEST_SEED, help="The same seed plays the same set.")] = None,
    bars: Annotated[int | None, typer.Option(min=1, help="Stop by itself after so many bars.")] = None,
    record: Annotated[Path | None, typer.Option(help="The .mid file of the set (else recordings/DATE.mid).")] = None,
    port: Annotated[str | None, typer.Option(help="Name of the virtual MIDI port.")] = None,
    midi_api: Annotated[str | None, typer.Option(help="auto, alsa, jack-native, jack, core, winmm, none.")] = None,
    connect: Annotated[str | None, typer.Option(help="Play into this existing MIDI output instead.")] = None,
    clock_port: Annotated[str | None, typer.Option(help="Follow the clock of this existing MIDI input.")] = None,
    osc_port: Annotated[int | None, typer.Option(min=1, max=65535, help="UDP port for OSC.")] = None,
    osc_query_port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port for OSCQuery; 0: off.")] = None,
    listen: Annotated[bool, typer.Option("--listen", help="Hear it through FluidSynth, without a DAW.")] = False,
    soundfont: Annotated[Path | None, typer.Option(help="The SoundFont to listen to (implies --listen).")] = None,
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
        "midi_api": one_of("--midi-api", midi_api, MIDI_APIS) if midi_api else None,
        "connect": connect,
        "clock_port": clock_port,
        "osc_port": osc_port,
        "osc_query_port": osc_query_port,
        "device": one_of("--device", device, DEVICES) if device else None,
    }
    machine = replace(machine, **{key: value for key, value in given.items() if value is not None})
    if tempo is not None:
        chosen = replace(chosen, tempo_bpm=tempo)
    heard = soundfont_to_hear(listen, soundfont, machine)
    _log_to(log_file, log_level, shows_dashboard=dashboard and out.is_terminal)
    try:
        settings = RunSettings(
            patch=chosen,
            machine=machine,
            checkpoint=checkpoint_path(checkpoint or chosen.checkpoint),
            sync=one_of("--sync", sync or chosen.sync, SYNCS),
            seed=random.SystemRandom().randint(2, HIGHEST_SEED) if seed is None else seed,
            record=record or recording_path(Path(machine.recordings), chosen.title, datetime.now()),
            bars=bars,
            shows_dashboard=dashboard and out.is_terminal,
            picture=picture,
            sends_clock=chosen.send_clock if send_clock is None else send_clock,
            patch_folder=Path(patch).expanduser().parent if Path(patch).expanduser().is_file() else None,
            soundfont=heard,
        )
    except SettingsError as error:
        fail(str(error))
    try:
        daemon = play(settings)
    except (DaemonError, OscPortError) as error:
        fail(str(error), 1)
    if not daemon.is_recorded:
        recorded = daemon.recording.recorder.last_error
    elif daemon.recording.recorder.notes:
        recorded = f"recorded {daemon.recording.recorder.notes} notes in {settings.record}"
    else:
        recorded = "nothing played"
    summary = (
        f"{recorded}; seed {settings.seed}; underruns {daemon.status.underruns}; restarts {daemon.status.restarts}"
    )
    err.print(summary, highlight=False, markup=False, soft_wrap=True)


def _read_settings(patch: str) -> tuple[Patch, Machine]:
    try:
        return read_patch(find_shipped("patches", patch)), read_machine(find_shipped("config", "machine"))
    except SettingsError as error:
        fail(str(error))


def _log_to(path: Path | None, level: str, shows_dashboard: bool) -> None:
    """To a file if one is named; to the terminal only where no dashboard would be torn by it."""
    numeric = getattr(logging, one_of("--log-level", level, ("debug", "info", "warning", "error")).upper())
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(filename=path, level=numeric, format=form)
    elif not shows_dashboard:
        logging.basicConfig(stream=sys.stderr, level=max(numeric, logging.WARNING), format="%(message)s")
    else:
        logging.basicConfig(handlers=[logging.NullHandler()])


for command in (replay.replay, studio.generate, studio.infill, studio.train, studio.evaluate):
    app.command()(command)
app.add_typer(bench_cli.app, name="bench")


@app.command()
def ports() -> None:
    """Lists the MIDI ports there are, and what to type to use them."""
    from fractal_live.ports.midi_system import API_NAMES, REMEDY, PortError, choose_api, input_ports, output_ports

    api = choose_api("auto")
    if api is None:
        fail(f"no MIDI system answers: {REMEDY}; `fractal-live run` would play to nowhere", 1)
    name = next(name for name, number in API_NAMES.items() if number == api)
    table = Table("MIDI system", "port", "to use it")
    try:
        for port in output_ports(api):
            table.add_row(name, port, f'run --connect "{port}"')
        for port in input_ports(api):
            table.add_row(name, port, f'run --clock-port "{port}"')
    except PortError as error:
        fail(str(error), 1)
    out.print(table)


@app.command()
def controls(
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The table as in the README.")] = False,
    pure_data: Annotated[bool, typer.Option("--pure-data", help="The Pure Data patch.")] = False,
    touchdesigner: Annotated[bool, typer.Option("--touchdesigner", help="The TouchDesigner script's table.")] = False,
) -> None:
    """Lists everything that can be moved while it plays: address, range, default, unit."""
    from fractal_live.clients import pure_data_patch, touchdesigner_table
    from fractal_live.live.controls import CONTROLS, table_markdown

    if pure_data:
        typer.echo(pure_data_patch(), nl=False)
        return
    if touchdesigner:
        typer.echo(touchdesigner_table(), nl=False)
        return
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
def learn(
    control: Annotated[
        str, typer.Argument(help="What it shall move: temperature, split_level/2, panic, patch/NAME ...")
    ],
    patch: Annotated[str, typer.Option(help="The patch it is written into: a .toml file, or a shipped one.")] = "plain",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Wait no longer than this.")] = 30.0,
    port: Annotated[str | None, typer.Option(help="Name of the virtual MIDI port.")] = None,
    clock_port: Annotated[str | None, typer.Option(help="Listen to this existing MIDI input.")] = None,
    midi_api: Annotated[str | None, typer.Option(help="auto, alsa, jack-native, jack, core, winmm.")] = None,
) -> None:
    """Waits for a knob, a key or a program change and writes it into a patch, for a control."""
    from fractal_live.learning import listen_for, own_patch, target_named, write_learned
    from fractal_live.ports.midi_system import PortError

    _, machine = _read_settings(patch)
    given: dict[str, Any] = {
        "port_name": port,
        "midi_api": one_of("--midi-api", midi_api, MIDI_APIS) if midi_api else None,
        "clock_port": clock_port,
    }
    machine = replace(machine, **{key: value for key, value in given.items() if value is not None})
    try:
        target, meant = target_named(control)
        path, source = own_patch(patch)
        learned = listen_for(target, machine, seconds)
        if learned is None:
            fail(f"nothing came within {seconds:g} seconds; `fractal-live ports` lists what can be listened to", 1)
        others = write_learned(learned, meant, path, source)
    except (SettingsError, PortError) as error:
        fail(str(error), 1)
    if path != source:
        typer.echo(f"{source.stem} ships with the program and stays as it is: {path} is your copy of it")
    typer.echo(f'heard {learned}: "{learned.key}" = "{meant}" is in [{learned.table}] of {path}')
    if others:
        typer.echo(f"moved too by: {', '.join(others)}")
    typer.echo(f"play it with: fractal-live run --patch {path}")


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
