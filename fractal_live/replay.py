"""The command that plays a recorded set again: into a file, beside the recording, or into the port."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_live.settings import DEVICES, MIDI_APIS, Machine, read_machine
from fractal_live.shipped_files import find_shipped
from fractal_live.terminal import checkpoint_path, err, fail, one_of, out
from fractal_live.toml_values import SettingsError

if TYPE_CHECKING:
    from fractal_live.live.provenance import ModelBegan
    from fractal_live.recorded_set import RecordedSet


def replay(
    recording: Annotated[Path, typer.Argument(help="The .mid file that `run` recorded.")],
    out_path: Annotated[
        Path | None, typer.Option("--out", help="Write it here and compare, instead of playing it.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Where the recording's checkpoint lies now.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda (else: the recording's).")] = None,
    port: Annotated[str | None, typer.Option(help="Name of the virtual MIDI port.")] = None,
    midi_api: Annotated[str | None, typer.Option(help="auto, alsa, jack-native, jack, core, winmm, none.")] = None,
    connect: Annotated[str | None, typer.Option(help="Play into this existing MIDI output instead.")] = None,
    listen: Annotated[bool, typer.Option("--listen", help="Hear it through FluidSynth, without a DAW.")] = False,
    soundfont: Annotated[Path | None, typer.Option(help="The SoundFont to listen to (implies --listen).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --out: one JSON line instead of a sentence.")] = False,
) -> None:
    """Plays a recorded set again from its seeds and controls: the same notes, on the same device bit for bit."""
    from fractal_live.music.midifile import MidiFileError
    from fractal_live.recorded_set import read_set

    machine = _machine(port=port, midi_api=midi_api, connect=connect)
    heard = soundfont_to_hear(listen, soundfont, machine)
    try:
        recorded = read_set(recording)
    except MidiFileError as error:
        fail(str(error))
    engine = _engine(recorded, checkpoint, device)
    if out_path is None:
        _play(recorded, engine, machine, heard)
    else:
        _write(recorded, engine, out_path, as_json)


def _machine(**given: str | None) -> Machine:
    if given["midi_api"] is not None:
        one_of("--midi-api", given["midi_api"], MIDI_APIS)
    try:
        machine = read_machine(find_shipped("config", "machine"))
    except SettingsError as error:
        fail(str(error))
    names = {"port": "port_name"}
    return replace(machine, **{names.get(key, key): value for key, value in given.items() if value is not None})  # type: ignore[arg-type]


def _engine(recorded: RecordedSet, checkpoint: str | None, device: str | None) -> Any:
    """The engine that played the recording, or a refusal."""
    import torch

    from fractal_live.baselines.door import open_engine

    script = recorded.script
    if not script.models:
        fail(f"{recorded.path}: it does not say which checkpoint played it")
    model = script.models[-1]
    named = checkpoint or script.opening.checkpoint
    if checkpoint is None and not Path(named).is_file():
        named = Path(named).stem
    path = checkpoint_path(named)
    torch.set_num_threads(model.threads)
    wanted = one_of("--device", device, DEVICES) if device else model.device.partition(":")[0]
    try:
        engine = open_engine(path, wanted)
    except (ValueError, RuntimeError) as error:
        fail(str(error))
    if engine.checkpoint_id not in {played.checkpoint_id for played in script.models}:
        fail(
            f"{recorded.path} was played by the checkpoint {model.checkpoint_id}; {path} is {engine.checkpoint_id}, "
            "which would play another set: name the right one with --checkpoint"
        )
    return engine


def _write(recorded: RecordedSet, engine: Any, path: Path, as_json: bool) -> None:
    from rich.progress import track

    from fractal_live.live.provenance import ProvenanceError
    from fractal_live.live.reenactment import reenacted
    from fractal_live.recorded_set import compared, write_again

    shown = track(
        reenacted(recorded.script, engine),
        "playing again",
        total=recorded.script.begun,
        console=err,
        disable=as_json or not err.is_terminal,
    )
    try:
        again = list(shown)
    except ProvenanceError as error:
        fail(f"{recorded.path}: {error}")
    found = compared(recorded, again)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_again(recorded, again, path)
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror})", 1)
    others = _other_machine(recorded.script.models, engine)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"others": others}))
    else:
        out.print(f"{found.bars} bars, {found.same} the same", highlight=False)
    if found.first_other is not None:
        bar, why = found.first_other
        reason = "; ".join(others) or "the checkpoint, the device and torch are the recording's"
        fail(f"bar {bar} of the recording is the first that differs: {why} ({reason})", 1)


def _other_machine(models: tuple[ModelBegan, ...], engine: Any) -> list[str]:
    """What may make the same request another bar: every device and every torch rounds in its own way."""
    import torch

    here = {"device": str(engine.device), "torch": str(torch.__version__)}
    found = []
    for name, value in here.items():
        recorded = sorted({getattr(model, name) for model in models})
        if recorded != [value]:
            found.append(f"the {name} of the recording was {', '.join(recorded)}, here it is {value}")
    return found


def soundfont_to_hear(listen: bool, soundfont: Path | None, machine: Machine) -> Path | None:
    """What `--listen` and `--soundfont` ask for, checked before the show; None: nobody listens."""
    from fractal_live.ports.listening import check_listening
    from fractal_live.ports.midi_system import PortError

    if not listen and soundfont is None:
        return None
    try:
        return check_listening(str(soundfont or machine.soundfont))
    except PortError as error:
        fail(str(error))


def _play(recorded: RecordedSet, engine: Any, machine: Machine, soundfont: Path | None) -> None:
    from fractal_live.encore import EncoreError, play_again
    from fractal_live.live.reenactment import reenacted

    engine.warm_up()
    try:
        played = play_again(
            recorded,
            reenacted(recorded.script, engine),
            machine,
            soundfont,
            lambda text: err.print(text, markup=False, highlight=False, soft_wrap=True),
        )
    except EncoreError as error:
        fail(str(error), 1)
    summary = f"{recorded.script.begun} bars; other than recorded {played.other_bars}; late {played.late_bars}"
    err.print(summary, markup=False, highlight=False, soft_wrap=True)
