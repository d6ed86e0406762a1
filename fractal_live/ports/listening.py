"""Hearing it without a DAW: what has left the port is played by FluidSynth as well, with the sounds of a SoundFont.

FluidSynth renders in a thread of its own. It is only loaded where somebody wants to listen.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from fractal_live.ports.midi_system import PortError, quiet_stderr
from fractal_live.ports.sender import Event, Sender

FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "~/.local/share/sounds/sf2",
    "~/.local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "/opt/homebrew/share/fluid-synth/sf2",
    "/usr/local/share/fluid-synth/sf2",
    "~/Library/Audio/Sounds/Banks",
    "C:/soundfonts",
)
SUFFIXES = (".sf2", ".sf3")
PREFERRED = ("default", "fluidr3", "generaluser", "timgm")  # whole General MIDI sets, the usual one first
HOW_TO_GET = {
    "linux": "apt install fluidsynth fluid-soundfont-gm (a small one: timgm6mb-soundfont), or "
    "pacman -S fluidsynth soundfont-fluid, or dnf install fluidsynth-libs fluid-soundfont-gm",
    "darwin": "brew install fluid-synth, and a SoundFont such as GeneralUser GS in ~/Library/Audio/Sounds/Banks",
    "win32": "choco install fluidsynth, and a SoundFont such as GeneralUser GS in C:/soundfonts",
}
GAIN = 0.5
CHANNELS = 16
CLOSE_S = 0.3
NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE, PITCH_BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
PITCH_BEND_CENTRE = 8192


def check_listening(named: str = "") -> Path:
    """Before the show: the SoundFont to use, `named` or else one that is installed. Raises PortError, which says how
    to get what is missing."""
    _library()
    return find_soundfont(named)


def find_soundfont(named: str = "", folders: Sequence[str] = FOLDERS) -> Path:
    """The file `named`, or else the likeliest one in the usual folders. Raises PortError."""
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise PortError(f"the SoundFont {path} is not there")
        return path
    found = [
        path
        for folder in folders
        for path in sorted(Path(folder).expanduser().glob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not found:
        raise PortError(f"no SoundFont is installed: {_how_to_get()}; or name one with --soundfont PATH")
    return min(found, key=_rank)


def _rank(path: Path) -> int:
    name = path.stem.lower()
    return next((place for place, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED))


def _how_to_get() -> str:
    return HOW_TO_GET.get(sys.platform, HOW_TO_GET["linux"])


def _library() -> Any:
    """The package and the library below it, or PortError."""
    try:
        return importlib.import_module("fluidsynth")
    except ModuleNotFoundError as error:
        raise PortError(f"listening needs a package: pip install 'fractal-live[listen]' ({error})") from error
    except (ImportError, OSError, AttributeError) as error:
        raise PortError(f"listening needs the FluidSynth library: {_how_to_get()} ({error})") from error


class Output(Protocol):
    """Where messages go, as the player has it."""

    ahead_ns: int

    def play(self, events: Sequence[Event]) -> int: ...

    def take_back(self) -> int: ...

    def send(self, messages: Sequence[bytes]) -> None: ...

    def take_sent(self) -> Sequence[tuple[Event, int]]: ...


class Synth:
    """FluidSynth with one SoundFont; silent until `start`. Any thread may call `take`."""

    def __init__(self, soundfont: Path) -> None:
        self._library = _library()
        self._driver: Any = None
        with quiet_stderr():
            self.synth = self._library.Synth(gain=GAIN, channels=CHANNELS)
            number = self.synth.sfload(os.fspath(soundfont), 1)
        if number == self._library.FLUID_FAILED:
            self.synth.delete()
            raise PortError(f"{soundfont}: FluidSynth cannot read this SoundFont")

    def start(self, audio_driver: str = "") -> None:
        """Opens the sound card; empty: as FluidSynth chooses. Raises PortError."""
        with quiet_stderr():
            if audio_driver:
                self.synth.setting("audio.driver", audio_driver)
            self._driver = self._library.new_fluid_audio_driver(self.synth.settings, self.synth.synth)
        if not self._driver:
            name = f"with the driver {audio_driver!r}" if audio_driver else "by itself"
            raise PortError(
                f"FluidSynth finds no sound card {name}; try audio_driver = "
                '"pulseaudio", "pipewire", "alsa", "jack", "coreaudio" or "wasapi" in the machine settings'
            )

    def take(self, message: bytes) -> None:
        """A channel message; others are none of its business."""
        kind, channel, data = message[0] & 0xF0, message[0] & 0x0F, message[1:]
        if kind == NOTE_ON and data[1] > 0:
            self.synth.noteon(channel, data[0], data[1])
        elif kind in (NOTE_OFF, NOTE_ON):
            self.synth.noteoff(channel, data[0])
        elif kind == CONTROL_CHANGE:
            self.synth.cc(channel, data[0], data[1])
        elif kind == PROGRAM_CHANGE:
            self.synth.program_change(channel, data[0])
        elif kind == PITCH_BEND:
            self.synth.pitch_bend(channel, (data[0] | data[1] << 7) - PITCH_BEND_CENTRE)

    def close(self) -> None:
        if self._driver:
            self._library.delete_fluid_audio_driver(self._driver)
            self._driver = None
        self.synth.delete()


class Listening:
    """Stands before an output and hands it everything; what has left it goes to the synthesizer too, each message at
    the time it left. For the thread that owns the output. Its own thread waits for the time, so that the loop never
    waits for FluidSynth."""

    def __init__(self, synth: Synth, output: Output, is_realtime: bool = False) -> None:
        self._synth = synth
        self.use(output)
        self._sender = Sender(synth.take, lambda: None, is_realtime)
        self._handed = 0
        self._last_ns = 0

    def use(self, output: Output) -> None:
        """From now on this one."""
        self._output = output
        self.ahead_ns = output.ahead_ns

    def play(self, events: Sequence[Event]) -> int:
        return self._output.play(events)

    def take_back(self) -> int:
        return self._output.take_back()

    def send(self, messages: Sequence[bytes]) -> None:
        self._output.send(messages)
        now_ns = time.monotonic_ns()
        self._sound([((now_ns, 0, message), now_ns) for message in messages])

    def take_sent(self) -> Sequence[tuple[Event, int]]:
        sent = self._output.take_sent()
        self.ahead_ns = self._output.ahead_ns  # JACK's period may have changed
        self._sound(sent)
        return sent

    def close(self) -> None:
        """Waits until all has sounded that was to, then ends FluidSynth; the output stays as it is."""
        deadline_s = time.monotonic() + CLOSE_S
        while self._handed > 0 and time.monotonic() < deadline_s:
            self._handed -= len(self._sender.take_sent())
            time.sleep(0.005)
        self._sender.close()
        self._synth.close()

    def _sound(self, sent: Sequence[tuple[Event, int]]) -> None:
        if not sent:
            return
        events: list[Event] = []
        for (_, tick, message), at_ns in sent:
            self._last_ns = max(self._last_ns, at_ns)  # in the order in which they left
            events.append((self._last_ns, tick, message))
        self._handed += self._sender.play(events) - len(self._sender.take_sent())


def open_synth(soundfont: str, audio_driver: str = "") -> Synth:
    """A synthesizer that is heard. Raises PortError."""
    synth = Synth(Path(soundfont))
    try:
        synth.start(audio_driver)
    except PortError:
        synth.close()
        raise
    return synth
