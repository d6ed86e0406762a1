"""Patches (the performer's) and machine settings, from TOML to checked values; and where shipped files lie.

Everything is refused here, before the show: an unknown key, a wrong type, a value out of range. Every
error names the file, the key and what is allowed.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fractal_live.live.controls import BY_NAME, PATCH_KEYS, Control, ControlValue, named_value
from fractal_live.live.dressing import MOST_SPLITS, ROLES, Outfit, Split
from fractal_live.live.listening import FOLLOWS, MOST_BARS_OF_A_CALL
from fractal_live.live.midi_map import (
    BUTTONS,
    HIGHEST,
    HIGHEST_CC,
    HIGHEST_MSB,
    HIGHEST_PROGRAM,
    LSB_ABOVE,
    TARGETS,
    MidiMap,
    Place,
    Target,
    allowed_names,
    place_named,
)
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.plan import ATTRIBUTES
from fractal_live.music.scales import chord_chroma

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ShippedKind = Literal["patches", "config", "checkpoints"]
SUFFIX: dict[ShippedKind, str] = {"patches": ".toml", "config": ".toml", "checkpoints": ".safetensors"}

SYNCS = ("midi", "internal", "osc", "link")
MIDI_APIS = ("auto", "alsa", "jack-native", "jack", "core", "winmm", "none")
CLOCK_LOSSES = ("hold", "stop")
DEVICES = ("auto", "cpu", "cuda")


class SettingsError(ValueError):
    """A settings file that cannot be used; the message names the file, the key and what is allowed."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What a performer prepares. `checkpoint` is a path or the name of a shipped one. `controls` are
    defaults by control name, `plan` held values by attribute (one number holds, several are a curve over
    the first bars); both fit `Controls(values, plan)`. `channel` is 0 to 15 and `program` 0 to 127, as MIDI has them
    (the file counts both from 1); `splits` are parts with channels of their own. `sync` is midi, internal, osc or
    link. `send_clock`: others follow us (not behind a MIDI clock). `link_start_stop`: a Link session's playing and
    stopping are ours. `osc_out` are receivers (host, port). `osc_time_tags`: OSC bundles dated up to a
    quarter of a second ahead are obeyed at their time. `cc`, `cc14`, `notes` and `programs` are what comes in over MIDI
    and what it does (`midi_map`); `follow`, `respond` (bars) and `listen_channel` (1 to 16, 0 = any) what is made of
    the notes played there (`listening`)."""

    title: str = "untitled"
    checkpoint: str = "live"
    sync: str = "midi"
    send_clock: bool = False
    link_start_stop: bool = True
    tempo_bpm: float = 120.0
    meter: Meter = FOUR_FOUR
    channel: int = 0
    program: int | None = None
    splits: tuple[Split, ...] = ()
    osc_out: tuple[tuple[str, int], ...] = ()
    osc_time_tags: bool = False
    controls: Mapping[str, ControlValue] = field(default_factory=dict)
    plan: Mapping[str, ControlValue] = field(default_factory=dict)
    cc: Mapping[Place, Target] = field(default_factory=dict)
    cc14: Mapping[Place, Target] = field(default_factory=dict)
    notes: Mapping[Place, Target] = field(default_factory=dict)
    programs: Mapping[int, str] = field(default_factory=dict)
    follow: str = "off"
    respond: int = 0
    listen_channel: int = 0

    @property
    def midi_map(self) -> MidiMap:
        """What knobs, keys and program changes do."""
        return MidiMap(self.cc, self.cc14, self.notes, self.programs)

    @property
    def outfit(self) -> Outfit:
        """Its parts, as bars are dressed in them."""
        return Outfit(self.channel, self.splits, self.program)


@dataclass(frozen=True, slots=True)
class Machine:
    """What this computer needs, whatever is played. Empty `connect` and `clock_port`: open a virtual
    port named `port_name`. `latency_ms` moves everything that is sent: positive is later. `osc_query_port` is TCP, 0:
    nobody is told the addresses. `soundfont` is for listening (empty: one that is installed), `audio_driver` is
    FluidSynth's (empty: as it chooses)."""

    port_name: str = "fractal-live"
    connect: str = ""
    clock_port: str = ""
    midi_api: str = "auto"
    latency_ms: float = 0.0
    clock_loss: str = "hold"
    osc_host: str = "127.0.0.1"
    osc_port: int = 5005
    osc_query_port: int = 0
    device: str = "auto"
    threads: int = 1
    recordings: str = "recordings"
    soundfont: str = ""
    audio_driver: str = ""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything `fractal-live run` was told, resolved. `bars` ends the run after that many; `record` is the
    file the set is written to; `sync` is midi, internal, osc or link; `sends_clock`: we lead others; `picture` is where
    the last frame of the dashboard is drawn as SVG; `patch_folder` is where the performer's
    own patches lie; `soundfont` is listened to through FluidSynth (None: nobody listens). Raises SettingsError where
    these do not go together."""

    patch: Patch
    machine: Machine
    checkpoint: Path
    sync: str
    seed: int
    record: Path
    bars: int | None = None
    shows_dashboard: bool = True
    picture: Path | None = None
    sends_clock: bool = False
    patch_folder: Path | None = None
    soundfont: Path | None = None

    def __post_init__(self) -> None:
        if self.sends_clock and self.sync == "midi":
            raise SettingsError(
                "--send-clock (send_clock = true in the patch) with --sync midi: a clock is followed already; "
                "allowed with --sync internal, osc and link, or --no-send-clock"
            )
        for number, name in self.patch.programs.items():
            own = [] if self.patch_folder is None else [self.patch_folder / name, self.patch_folder / f"{name}.toml"]
            try:
                if not any(path.is_file() for path in own):
                    find_shipped("patches", name)
            except SettingsError as error:
                raise SettingsError(f"programs.{number + 1}: {error}") from error


def read_patch(path: Path) -> Patch:
    """The patch in a file; what it does not say has the default. Raises SettingsError."""
    readers: dict[str, _Reader] = {
        "title": _text,
        "checkpoint": _text,
        "sync": _one_of(SYNCS),
        "send_clock": _yes_or_no,
        "link_start_stop": _yes_or_no,
        "tempo_bpm": _number(20, 400),
        "meter": _meter,
        "channel": _channel,
        "program": _program,
        "splits": _splits,
        "osc_out": _peers,
        "osc_time_tags": _yes_or_no,
        "controls": _control_values,
        "plan": _plan_values,
        "cc": _places(TARGETS, HIGHEST_CC),
        "cc14": _places({name: target for name, target in TARGETS.items() if not target.is_button}, HIGHEST_MSB),
        "notes": _places(BUTTONS, HIGHEST),
        "programs": _programs,
        "follow": _one_of(FOLLOWS),
        "respond": _whole(0, MOST_BARS_OF_A_CALL),
        "listen_channel": _whole(0, 16),
    }
    patch = Patch(**_read(path, readers))
    for high in patch.cc14:
        for place in (high, high._replace(number=high.number + LSB_ABOVE)):
            if place in patch.cc:
                raise SettingsError(f"{path}: cc.{place}: is a half of cc14.{high}; allowed: in one of the two")
    return patch


def read_machine(path: Path) -> Machine:
    """The machine settings in a file; what it does not say has the default. Raises SettingsError."""
    readers: dict[str, _Reader] = {
        "port_name": _text,
        "connect": _text_or_empty,
        "clock_port": _text_or_empty,
        "midi_api": _one_of(MIDI_APIS),
        "latency_ms": _number(-500, 500),
        "clock_loss": _one_of(CLOCK_LOSSES),
        "osc_host": _text,
        "osc_port": _whole(1, 65535),
        "osc_query_port": _whole(0, 65535),
        "device": _one_of(DEVICES),
        "threads": _whole(1, 64),
        "recordings": _text,
        "soundfont": _text_or_empty,
        "audio_driver": _text_or_empty,
    }
    return Machine(**_read(path, readers))


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file as it is, for whoever checks it (a model's shape). Raises SettingsError."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid TOML ({error})") from error


def find_shipped(kind: ShippedKind, name: str) -> Path:
    """The file that is meant by `name`: a path of the user's if there is a file, else the shipped one of
    that name (the suffix may be left out). Raises SettingsError with the names there are."""
    own = Path(name).expanduser()
    if own.is_file():
        return own
    folder = shipped_folder(kind)
    for candidate in (folder / name, folder / f"{name}{SUFFIX[kind]}"):
        if candidate.is_file():
            return candidate
    there = shipped_names(kind)
    raise SettingsError(
        f"{name}: neither a file nor shipped with the program{_nearest(name, there)}; "
        f"shipped {kind}: {', '.join(there) or 'none'}"
    )


def shipped_names(kind: ShippedKind) -> tuple[str, ...]:
    """The shipped files of a kind, without suffix, sorted."""
    folder = shipped_folder(kind)
    found = folder.rglob(f"*{SUFFIX[kind]}") if folder.is_dir() else ()
    return tuple(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in found))


def shipped_folder(kind: ShippedKind, package: Path = Path(__file__).parent) -> Path:
    """Beside the package in a clone, inside it (`shipped/`) once installed. The clone is known by its
    pyproject.toml: a folder called config beside an installed package is somebody else's."""
    clone = package.parent
    return clone / kind if (clone / "pyproject.toml").is_file() else package / "shipped" / kind


_Reader = Callable[[Any], Any]


class _Wrong(Exception):
    """A value a key cannot have; `key` is where inside a table, the text says what is allowed."""

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


def _read(path: Path, readers: Mapping[str, _Reader]) -> dict[str, Any]:
    values = {}
    for key, value in read_table(path).items():
        if key not in readers:
            raise SettingsError(
                f"{path}: unknown key {key!r}{_nearest(key, readers)}; allowed: {', '.join(sorted(readers))}"
            )
        try:
            values[key] = readers[key](value)
        except _Wrong as wrong:
            raise SettingsError(f"{path}: {key}{wrong.key}: {wrong}") from wrong
    return values


def _splits(tables: Any) -> tuple[Split, ...]:
    if not isinstance(tables, list) or len(tables) > MOST_SPLITS:
        raise _Wrong(f"allowed: up to {MOST_SPLITS} tables, each under [[splits]]")
    splits = []
    for place, table in enumerate(tables, 1):
        try:
            splits.append(_split(table))
        except _Wrong as wrong:
            raise _Wrong(str(wrong), f"[{place}]{wrong.key}") from wrong
    return tuple(splits)


def _split(table: Any) -> Split:
    readers: dict[str, _Reader] = {
        "name": _text,
        "channel": _channel,
        "program": _program,
        "role": _one_of(ROLES),
        "low": _whole(0, 127),
        "high": _whole(0, 127),
        "transpose": _whole(-48, 48),
        "velocity": _number(0, 4),
        "curve": _number(0.1, 4),
    }
    if not isinstance(table, dict) or not {"name", "channel"} <= table.keys():
        raise _Wrong("allowed: a table with at least name and channel")
    values = {}
    for key, value in table.items():
        if key not in readers:
            raise _Wrong(f"unknown key{_nearest(key, readers)}; allowed: {', '.join(sorted(readers))}", f".{key}")
        try:
            values[key] = readers[key](value)
        except _Wrong as wrong:
            raise _Wrong(str(wrong), f".{key}") from wrong
    split = Split(**values)
    if split.low > split.high:
        raise _Wrong(f"is {split.low}, above high, {split.high}", ".low")
    return split


def _channel(value: Any) -> int:
    return int(_whole(1, 16)(value)) - 1


def _program(value: Any) -> int:
    return int(_whole(1, 128)(value)) - 1


def _control_values(table: Any) -> dict[str, ControlValue]:
    return _values_by_name(table, {name: BY_NAME[name] for name in PATCH_KEYS})


def _places(targets: Mapping[str, Target], highest: int) -> _Reader:
    """A table of what is moved from where: number, or "channel:number", to the name of a control."""

    def read(table: Any) -> dict[Place, Target]:
        found: dict[Place, Target] = {}
        for key, name in _table(table).items():
            try:
                place = place_named(key, highest)
            except ValueError as error:
                raise _Wrong(str(error), f".{key}") from error
            if not isinstance(name, str) or name not in targets:
                allowed = ", ".join(allowed_names(targets))
                raise _Wrong(f"is {name!r}{_nearest(str(name), targets)}; allowed: {allowed}", f".{key}")
            if place in found:
                raise _Wrong(f"is there twice, as {place}", f".{key}")
            found[place] = targets[name]
        return found

    return read


def _programs(table: Any) -> dict[int, str]:
    found: dict[int, str] = {}
    for key, name in _table(table).items():
        if not key.isdecimal() or not 1 <= int(key) <= HIGHEST_PROGRAM:
            raise _Wrong(f"allowed: a program number from 1 to {HIGHEST_PROGRAM}", f".{key}")
        try:
            found[int(key) - 1] = _text(name)
        except _Wrong as wrong:
            raise _Wrong(str(wrong), f".{key}") from wrong
    return found


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"is {value!r}; allowed: a table")
    return value


def _plan_values(table: Any) -> dict[str, ControlValue]:
    return _values_by_name(table, {attribute.name: BY_NAME[f"plan_{attribute.name}"] for attribute in ATTRIBUTES})


def _values_by_name(table: Any, controls: Mapping[str, Control]) -> dict[str, ControlValue]:
    if not isinstance(table, dict):
        raise _Wrong(f"is {table!r}; allowed: a table of values")
    values: dict[str, ControlValue] = {}
    for name, value in table.items():
        if name not in controls:
            raise _Wrong(f"unknown key{_nearest(name, controls)}; allowed: {', '.join(controls)}", f".{name}")
        try:
            values[name] = _control_value(value, controls[name])
        except _Wrong as wrong:
            raise _Wrong(str(wrong), f".{name}") from wrong
    return values


def _control_value(value: Any, control: Control) -> ControlValue:
    if control.kind == "text":
        return _named(value, control)
    if control.kind == "int":
        return int(_whole(int(control.low), int(control.high))(value))
    read = _number(control.low, control.high)
    fewest = control.group_of
    if control.kind != "floats" or (fewest == 1 and not isinstance(value, list)):
        return float(read(value))
    if not isinstance(value, list):
        raise _Wrong(f"is {value!r}; allowed: a list of {fewest} numbers, or of several times {fewest}")
    if not fewest <= len(value) <= control.most_values or len(value) % fewest:
        groups = f" in groups of {fewest}" if fewest > 1 else ""
        raise _Wrong(f"has {len(value)} numbers; allowed: {fewest} to {control.most_values}{groups}")
    return tuple(read(number) for number in value)


def _named(value: Any, control: Control) -> ControlValue:
    """A key, a scale, a chord or a list of chords."""
    try:
        if control.name != "chord":
            named_value(control, value)
            return str(value) if isinstance(value, str) else float(value)
        chords = value if isinstance(value, list) else [value]
        for chord in chords:
            chord_chroma(_text(chord))
        return tuple(chords)
    except ValueError as error:
        raise _Wrong(str(error)) from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f"is {value!r}; allowed: a text in quotes")
    return value


def _text_or_empty(value: Any) -> str:
    return "" if value == "" else _text(value)


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"is {value!r}; allowed: true, false")
    return value


def _one_of(choices: tuple[str, ...]) -> _Reader:
    def read(value: Any) -> Any:
        if value not in choices:
            raise _Wrong(f"is {value!r}{_nearest(str(value), choices)}; allowed: {', '.join(choices)}")
        return value

    return read


def _number(low: float, high: float) -> _Reader:
    def read(value: Any) -> float:
        # The comparison is written so that NaN, which TOML can spell, fails it.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise _Wrong(f"is {value!r}; allowed: a number from {low:g} to {high:g}")
        return float(value)

    return read


def _whole(low: int, high: int) -> _Reader:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _Wrong(f"is {value!r}; allowed: a whole number from {low} to {high}")
        return value

    return read


def _meter(value: Any) -> Meter:
    try:
        numerator, denominator = _text(value).split("/")
        return Meter(int(numerator), int(denominator))
    except ValueError as error:
        raise _Wrong(f'is {value!r} ({error}); allowed: a meter such as "4/4", "3/4", "6/8" or "7/8"') from error


def _peers(value: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, list):
        raise _Wrong(f'is {value!r}; allowed: a list such as ["127.0.0.1:7000"]')
    return tuple(_peer(entry) for entry in value)


def _peer(entry: Any) -> tuple[str, int]:
    host, _, port = _text(entry).rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise _Wrong(f'has {entry!r}; allowed: address and port, such as "127.0.0.1:7000"')
    return host, int(port)


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
