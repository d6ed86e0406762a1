"""The messages that cross the walls between daemon, stage and model, and the pipes they travel in.

Every message is a frozen value. The pipes carry small pickles between processes of one user on one
machine; nothing from outside ever reaches them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from multiprocessing.connection import Connection

from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar


@dataclass(frozen=True, slots=True)
class StageSetup:
    """First message to the stage. `sync` is midi, internal, osc or link. `midi_api` is auto, alsa, jack-native, jack,
    core, winmm or none. `connect` names an existing output port to use instead of opening a virtual
    one; `clock_port` an existing input port that carries the leader's clock. `end_bar` stops the
    transport at that bar line. `clock_loss` is hold or stop. `sends_clock`: it leads others on the same port.
    `rolling_tick`: the stage before this one rolled, and was there at `rolling_at_ns`; None: nothing rolls.
    `is_restart`: there was a stage before this one, so a port that is missing is waited for; `closing` ends what
    that one may have left sounding. `soundfont` is played by FluidSynth beside the port, through `audio_driver` (empty:
    as it chooses); None: nobody listens."""

    sync: str = "midi"
    port_name: str = "fractal-live"
    midi_api: str = "auto"
    connect: str | None = None
    clock_port: str | None = None
    meter: Meter = FOUR_FOUR
    tempo_bpm: float = 120.0
    channels: tuple[int, ...] = (0,)
    latency_ms: float = 0.0
    clock_loss: str = "hold"
    end_bar: int | None = None
    sends_clock: bool = False
    rolling_tick: int | None = None
    rolling_at_ns: int = 0
    is_restart: bool = False
    closing: tuple[bytes, ...] = ()
    soundfont: str | None = None
    audio_driver: str = ""


@dataclass(frozen=True, slots=True)
class PlayBar:
    """To the stage: a finished bar. Replaces an earlier version that has not begun to sound.
    `fallback` plays at the next bar line if bar index + 1 has not arrived by then; while the bar sounds it may be sent
    once more with another. At the bar's line channels get their `programs` (channel 0 to 15, program 0 to 127), where
    they do not have them yet."""

    bar: Bar
    version: int
    fallback: Bar
    programs: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ForgetBars:
    """To the stage: what it has of these bars is not to be played, the position has been moved since."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TransportCommand:
    """To the stage: start, stop, continue, tempo (value in bpm), panic, trigger_bar, clock_beat; take_up
    (all that is ready has been sent: go on as `StageSetup.rolling_tick` says, unless told otherwise meanwhile)."""

    kind: str
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class LinkState:
    """To the stage, some fifty times a second in link mode: the session is at `beat` (a quarter note; negative too)
    at `at_ns` (time.monotonic_ns), moves on at that tempo, and plays or not; `peers` are the others in it."""

    tempo_bpm: float
    beat: float
    at_ns: int
    is_playing: bool
    peers: int


@dataclass(frozen=True, slots=True)
class Ping:
    """To the stage: the daemon lives. Silence for a second makes the stage close its notes and leave."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """To the stage: leave, with nothing sounding."""


@dataclass(frozen=True, slots=True)
class StageReady:
    """From the stage, whenever it has opened its ports: which (empty: none), how long before its time a bar is
    taken from what was offered, and a line for the performer."""

    output_port: str
    input_port: str
    priority: str
    advice: str = ""
    ahead_ns: int = 0


@dataclass(frozen=True, slots=True)
class TransportState:
    """From the stage, at every change and about ten times a second. `tick` is the position at `at_ns`
    (time.monotonic_ns); `is_locked` says that the clock follower has settled."""

    is_rolling: bool
    tick: int
    tempo_bpm: float
    is_locked: bool
    at_ns: int


@dataclass(frozen=True, slots=True)
class BarStarted:
    """From the stage: this bar has begun to sound; from now on it is the past."""

    bar: Bar
    version: int
    is_fallback: bool


@dataclass(frozen=True, slots=True)
class Sounded:
    """From the stage: a note message (or a program change) that was sent, and the tick it was due at."""

    tick: int
    message: bytes


@dataclass(frozen=True, slots=True)
class ControlInput:
    """From the stage: a message that came in on the MIDI input and is not clock."""

    message: bytes
    at_ns: int


@dataclass(frozen=True, slots=True)
class StageHealth:
    """From the stage, about twice a second. Lateness is sent minus due over the last few seconds; `lateness_bins`
    and `lateness_worst_ns` are of everything since the stage began (`live.telemetry.lateness_of` reads them); `xruns`
    are the JACK server's, where it tells; `faults` what went wrong at the ports."""

    lateness_p50_ns: int
    lateness_p99_ns: int
    lateness_max_ns: int
    underruns: int
    sounding: int
    sent: int
    dropped_clocks: int
    lateness_bins: tuple[int, ...] = ()
    lateness_worst_ns: int = 0
    xruns: int = 0
    faults: int = 0
    ignored_song_positions: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """From the stage: something went wrong; `text` is for the performer."""

    text: str


def enter(entry: str, connection: Connection) -> None:
    """The first function of a new process: its `main` is found by the module's name, so that the daemon never
    imports what only its children need."""
    importlib.import_module(entry).main(connection)
