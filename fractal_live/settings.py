"""Patches (the performer's) and machine settings, read from TOML files.

Everything is refused here, before the show: an unknown key, a wrong type, a value out of range. Every
error names the file, the key and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fractal_live import patch_values as values
from fractal_live import toml_values as toml
from fractal_live.live.controls import ControlValue
from fractal_live.live.dressing import Outfit, Split
from fractal_live.live.latent_path import Point
from fractal_live.live.listening import FOLLOWS, MOST_BARS_OF_A_CALL
from fractal_live.live.midi_map import (
    BUTTONS,
    HIGHEST,
    HIGHEST_CC,
    HIGHEST_MSB,
    LSB_ABOVE,
    TARGETS,
    MidiMap,
    Place,
    Target,
)
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.shipped_files import find_shipped
from fractal_live.toml_values import SettingsError

SYNCS = ("midi", "internal", "osc", "link")
MIDI_APIS = ("auto", "alsa", "jack-native", "jack", "core", "winmm", "none")
CLOCK_LOSSES = ("hold", "stop")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Patch:
    """What a performer prepares. `checkpoint` is a path or the name of a shipped one. `controls` are
    defaults by control name, `plan` held values by attribute (one number holds, several are a curve over
    the first bars); both fit `Controls(values, plan)`. `channel` is 0 to 15 and `program` 0 to 127, as MIDI has them
    (the file counts both from 1); `splits` are parts with channels of their own. `points`
    are what the latent's slots hold. `sync` is midi, internal, osc or
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
    points: Mapping[int, Point] = field(default_factory=dict)
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
    readers: dict[str, toml.Reader] = {
        "title": toml.text,
        "checkpoint": toml.text,
        "sync": toml.one_of(SYNCS),
        "send_clock": toml.yes_or_no,
        "link_start_stop": toml.yes_or_no,
        "tempo_bpm": toml.number(20, 400),
        "meter": values.meter,
        "channel": values.channel,
        "program": values.program,
        "splits": values.splits,
        "osc_out": values.peers,
        "osc_time_tags": toml.yes_or_no,
        "controls": values.control_values,
        "plan": values.plan_values,
        "points": values.points,
        "cc": values.places(TARGETS, HIGHEST_CC),
        "cc14": values.places({name: target for name, target in TARGETS.items() if not target.is_button}, HIGHEST_MSB),
        "notes": values.places(BUTTONS, HIGHEST),
        "programs": values.programs,
        "follow": toml.one_of(FOLLOWS),
        "respond": toml.whole(0, MOST_BARS_OF_A_CALL),
        "listen_channel": toml.whole(0, 16),
    }
    patch = Patch(**toml.read_values(path, readers))
    for high in patch.cc14:
        for place in (high, high._replace(number=high.number + LSB_ABOVE)):
            if place in patch.cc:
                raise SettingsError(f"{path}: cc.{place}: is a half of cc14.{high}; allowed: in one of the two")
    return patch


def read_machine(path: Path) -> Machine:
    """The machine settings in a file; what it does not say has the default. Raises SettingsError."""
    readers: dict[str, toml.Reader] = {
        "port_name": toml.text,
        "connect": toml.text_or_empty,
        "clock_port": toml.text_or_empty,
        "midi_api": toml.one_of(MIDI_APIS),
        "latency_ms": toml.number(-500, 500),
        "clock_loss": toml.one_of(CLOCK_LOSSES),
        "osc_host": toml.text,
        "osc_port": toml.whole(1, 65535),
        "osc_query_port": toml.whole(0, 65535),
        "device": toml.one_of(DEVICES),
        "threads": toml.whole(1, 64),
        "recordings": toml.text,
        "soundfont": toml.text_or_empty,
        "audio_driver": toml.text_or_empty,
    }
    return Machine(**toml.read_values(path, readers))
