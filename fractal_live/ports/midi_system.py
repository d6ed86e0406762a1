"""Which MIDI system this machine has, and what its ports are called.

Wraps the choice of python-rtmidi's backend, or of JACK without it. A backend counts as present only if a
client can be opened there; a JACK server is never started by asking.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import rtmidi

from fractal_live.ports import jack_client

JACK_NATIVE = -1  # no number of rtmidi's: the package JACK-Client
API_NAMES = {
    "alsa": rtmidi.API_LINUX_ALSA,
    "core": rtmidi.API_MACOSX_CORE,
    "jack-native": JACK_NATIVE,
    "jack": rtmidi.API_UNIX_JACK,
    "winmm": rtmidi.API_WINDOWS_MM,
}
LISTING_TRIES = 5
MIDI_APIS = ("auto", *API_NAMES, "none")
REMEDY = "start a JACK server (jackd, or PipeWire with pw-jack) or load ALSA's sequencer (modprobe snd-seq)"


class PortError(OSError):
    """A MIDI port could not be opened; the text says which there are."""


def choose_api(midi_api: str) -> int | None:
    """The rtmidi number of the backend to use, or JACK_NATIVE. `auto` takes the first that works, None if none does;
    a backend asked for by name that does not work is a PortError."""
    if midi_api not in MIDI_APIS:
        raise PortError(f"midi api {midi_api!r} is unknown; allowed: {', '.join(MIDI_APIS)}")
    if midi_api == "none":
        return None
    wanted = list(API_NAMES) if midi_api == "auto" else [midi_api]
    compiled = rtmidi.get_compiled_api()
    for name in wanted:
        if name == "jack-native" and jack_client.answers():
            return JACK_NATIVE
        if API_NAMES[name] in compiled and _works(API_NAMES[name]):
            return int(API_NAMES[name])
    if midi_api == "auto":
        return None
    if midi_api == "jack-native" and not jack_client.is_installed():
        raise PortError("the MIDI system 'jack-native' needs a package: pip install 'fractal-live[jack]'")
    raise PortError(f"the MIDI system {midi_api!r} does not answer; {REMEDY}, or choose another midi api")


def has_virtual_ports(api: int) -> bool:
    return bool(api != rtmidi.API_WINDOWS_MM)


def port_title(api: int, port_name: str, role: str) -> str:
    """What a virtual port is called on this system; `role` is output or input. JACK and ALSA show the
    client's name before the port's, CoreMIDI shows the port's alone."""
    if api == rtmidi.API_UNIX_JACK:
        return role
    return f"{port_name} {role}" if api == rtmidi.API_LINUX_ALSA else port_name


def new_output(api: int, client_name: str) -> Any:
    """An rtmidi.MidiOut that is not open yet; a PortError if the system refuses."""
    return _new(rtmidi.MidiOut, api, client_name)


def new_input(api: int, client_name: str) -> Any:
    """An rtmidi.MidiIn that is not open yet; a PortError if the system refuses."""
    return _new(rtmidi.MidiIn, api, client_name)


def output_ports(api: int) -> list[str]:
    """Ports that we could send to (other programs' inputs)."""
    if api == JACK_NATIVE:
        return _jack_ports(accepts=True)
    with contextlib.closing(_Listing(new_output(api, "fractal-live-list"))) as listing:
        return listing.ports()


def input_ports(api: int) -> list[str]:
    """Ports that we could listen to (other programs' outputs)."""
    if api == JACK_NATIVE:
        return _jack_ports(accepts=False)
    with contextlib.closing(_Listing(new_input(api, "fractal-live-list"))) as listing:
        return listing.ports()


def find_port(ports: list[str], wanted: str) -> int:
    """The number of the port called `wanted`, or else of the only one whose name contains it."""
    if wanted in ports:
        return ports.index(wanted)
    hits = [number for number, name in enumerate(ports) if wanted.lower() in name.lower()]
    if len(hits) == 1:
        return hits[0]
    trouble = "is not there" if not hits else "fits several"
    raise PortError(f"the MIDI port {wanted!r} {trouble}; ports: {', '.join(ports) or 'none'}")


def watch_server(api: int, on_lost: Callable[[], None]) -> jack_client.JackClient | None:
    """For RtMidi on JACK: a client that does nothing but notice the server's end. None where that needs no watching,
    or cannot be had."""
    if api != rtmidi.API_UNIX_JACK or not jack_client.is_installed():
        return None
    try:
        watch = jack_client.JackClient("fractal-live-watch", on_lost)
        watch.start()
    except jack_client.JackLostError:
        return None
    return watch


class Plug:
    """RtMidi's connection to the existing port `name`, which may go away and come back. `title` is our end's name;
    None: our port is a virtual one, which others plug into."""

    def __init__(self, client: Any, name: str, title: str | None) -> None:
        self._client = client
        self._name = name
        self._title = title
        self.is_there = True

    def renew(self) -> bool:
        """Plugs in again if the port went away and is back; whether it did. To be called now and then."""
        if self._title is None:
            return False
        try:
            ports = self._client.get_ports()
            was_there, self.is_there = self.is_there, self._name in ports
            if was_there or not self.is_there:
                return False
            self._client.close_port()
            self._client.open_port(ports.index(self._name), name=self._title)
        except (rtmidi.RtMidiError, RuntimeError, OSError):  # gone again already: the next time will tell
            self.is_there = False
            return False
        return True


def _jack_ports(accepts: bool) -> list[str]:
    try:
        with contextlib.closing(jack_client.JackClient("fractal-live-list", lambda: None)) as client:
            return client.ports(accepts)
    except jack_client.JackLostError as trouble:
        raise PortError(str(trouble)) from trouble


class _Listing:
    """A client that only looks."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def ports(self) -> list[str]:
        for _ in range(LISTING_TRIES):
            with contextlib.suppress(rtmidi.RtMidiError):  # a port went away between counting and naming
                return [str(name) for name in self._client.get_ports()]
        raise PortError("the MIDI ports keep changing while they are listed; try again")

    def close(self) -> None:
        self._client.delete()


def _works(api: int) -> bool:
    try:
        _new(rtmidi.MidiOut, api, "fractal-live-probe").delete()
    except PortError:
        return False
    return True


def _new(kind: Any, api: int, client_name: str) -> Any:
    if api == rtmidi.API_UNIX_JACK:
        os.environ["JACK_NO_START_SERVER"] = "1"
    with quiet_stderr():
        try:
            return kind(api, name=client_name)
        except (rtmidi.RtMidiError, OSError, RuntimeError) as trouble:
            raise PortError(f"{rtmidi.get_api_display_name(api)}: {trouble}") from trouble


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """The C libraries print several lines for every server that is not there; the exception says it."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all: nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
