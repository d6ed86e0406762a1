"""Note messages to a MIDI output port: a virtual one of our own, or an existing one.

Where there is no MIDI system, `NoPort` takes its place: it counts and sends nowhere.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Protocol

import rtmidi

from fractal_live.ports.midi_system import (
    REMEDY,
    PortError,
    choose_api,
    find_port,
    has_virtual_ports,
    input_ports,
    new_output,
    port_title,
)

FLUSH_S = 0.1  # a JACK client hands over at the next period; closing at once would lose the note-offs


class Output(Protocol):
    """What the stage sends to. `name` is empty where no port is open; `advice` says what to do then."""

    name: str
    advice: str

    def send(self, message: bytes) -> None: ...

    def close(self) -> None: ...


class NoPort:
    """Sends nowhere; `sent` counts what would have gone out."""

    def __init__(self, advice: str = "") -> None:
        self.name = ""
        self.advice = advice
        self.sent = 0

    def send(self, message: bytes) -> None:
        self.sent += 1

    def close(self) -> None:
        """Nothing to do."""


class MidiOut:
    """An open output port. For one thread."""

    def __init__(self, client: Any, name: str) -> None:
        self.name = name
        self.advice = ""
        self._client = client

    def send(self, message: bytes) -> None:
        """One complete MIDI message; PortError if the system refuses it."""
        try:
            self._client.send_message(message)
        except (rtmidi.RtMidiError, RuntimeError) as trouble:
            raise PortError(f"the MIDI output {self.name} refused a message: {trouble}") from trouble

    def close(self) -> None:
        """Waits until what was sent has left, then closes. May be called twice."""
        if self._client is None:
            return
        time.sleep(FLUSH_S)
        client, self._client = self._client, None
        client.close_port()
        client.delete()


def open_output(port_name: str, midi_api: str = "auto", connect: str | None = None) -> MidiOut | NoPort:
    """A virtual port called `port_name`, or with `connect` the existing port of that name or part of it."""
    api = choose_api(midi_api)
    if api is None:
        if connect is not None:
            raise PortError(f"no MIDI system answers, so there is no port {connect!r}; {REMEDY}")
        advice = "" if midi_api == "none" else f"No MIDI system answers, playing to nowhere: {REMEDY}."
        return NoPort(advice)
    if connect is None and not has_virtual_ports(api):
        return NoPort("This MIDI system has no virtual ports: create a loopback port and name it with --connect.")
    client = new_output(api, port_name)
    try:
        if connect is not None:
            ports = client.get_ports()
            number = find_port(ports, connect)
            client.open_port(number, name=port_title(api, port_name, "output"))
            return MidiOut(client, ports[number])
        before = input_ports(api)
        client.open_virtual_port(name=port_title(api, port_name, "output"))
        ours = [name for name in input_ports(api) if name not in before]
        return MidiOut(client, ours[0] if ours else port_name)
    except (rtmidi.RtMidiError, RuntimeError, OSError) as trouble:
        with contextlib.suppress(rtmidi.RtMidiError, RuntimeError):
            client.delete()
        raise trouble if isinstance(trouble, PortError) else PortError(f"MIDI output {port_name}: {trouble}") from None
