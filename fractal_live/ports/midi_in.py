"""Messages from a MIDI input port, stamped on arrival: the leader's clock, the performer's keys.

The driver's thread stamps, hands over and wakes; nothing is decided here.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import rtmidi

from fractal_live.ports.jack_midi import JackMidiIn
from fractal_live.ports.midi_system import (
    JACK_NATIVE,
    Plug,
    PortError,
    choose_api,
    find_port,
    has_virtual_ports,
    new_input,
    output_ports,
    port_title,
)

MAX_WAITING = 4096
SETTLE_S = 0.05


class MidiIn:
    """An open input port, or none (`name` is empty then).

    `received` holds (time.monotonic_ns, message), oldest first; the driver's thread appends on the
    right, one reader takes from the left. A full queue loses its oldest. `wake` is called from the
    driver's thread after every message and must not block.
    """

    is_lost = False  # the output notices it for both
    xruns = 0

    def __init__(self, wake: Callable[[], None]) -> None:
        self.name = ""
        self.received: deque[tuple[int, bytes]] = deque(maxlen=MAX_WAITING)
        self._wake = wake
        self._client: Any = None
        self._plug: Plug | None = None

    def listen(self, client: Any, name: str, title: str | None = None) -> None:
        """Take over an open rtmidi.MidiIn; `title` is our end's name where it is plugged into an existing port."""
        self._client = client
        self._plug = Plug(client, name, title)
        self.name = name

    @property
    def is_plugged(self) -> bool:
        """False while an existing port that was asked for is away, as the last `reconnect` found it."""
        return self._plug is None or self._plug.is_there

    def reconnect(self) -> bool:
        """Plugs into the existing port again if it went away and is back; whether it did."""
        return self._client is not None and self._plug is not None and self._plug.renew()

    def on_message(self, message: tuple[list[int], float], data: object = None) -> None:
        """Called by the driver's thread."""
        arrived_ns = time.monotonic_ns()
        self.received.append((arrived_ns, bytes(message[0])))
        self._wake()

    def close(self) -> None:
        """May be called twice. Lets a callback under way return first: JACK cancels its thread on closing,
        and a thread cancelled while it waits for the interpreter lock leaves that lock's mutex held."""
        if self._client is None:
            return
        client, self._client = self._client, None
        client.cancel_callback()
        time.sleep(SETTLE_S)
        client.close_port()
        client.delete()


def open_input(
    port_name: str,
    wake: Callable[[], None],
    midi_api: str = "auto",
    clock_port: str | None = None,
    on_lost: Callable[[], None] = lambda: None,
) -> MidiIn | JackMidiIn:
    """A virtual input called `port_name`, or with `clock_port` the existing port of that name or part of
    it. Without a MIDI system, an input that hears nothing. `on_lost`: as for the output."""
    midi_in = MidiIn(wake)
    api = choose_api(midi_api)
    if api is None or (clock_port is None and not has_virtual_ports(api)):
        if clock_port is not None:
            raise PortError(f"no MIDI system answers, so there is no clock port {clock_port!r}")
        return midi_in
    if api == JACK_NATIVE:
        return JackMidiIn(port_name, clock_port, wake, on_lost)
    client = new_input(api, f"{port_name}-in")
    try:
        client.ignore_types(sysex=True, timing=False, active_sense=True)
        set_lasting_callback(client, midi_in.on_message)
        title = port_title(api, port_name, "input")
        if clock_port is not None:
            ports = client.get_ports()
            number = find_port(ports, clock_port)
            client.open_port(number, name=title)
            midi_in.listen(client, ports[number], title)
        else:
            before = output_ports(api)
            client.open_virtual_port(name=title)
            ours = [name for name in output_ports(api) if name not in before]
            midi_in.listen(client, ours[0] if ours else port_name)
    except (rtmidi.RtMidiError, RuntimeError, OSError) as trouble:
        with contextlib.suppress(rtmidi.RtMidiError, RuntimeError):
            client.delete()
        raise trouble if isinstance(trouble, PortError) else PortError(f"MIDI input {port_name}: {trouble}") from None
    return midi_in


_LASTING: list[object] = []


def set_lasting_callback(client: Any, callback: Callable[..., None]) -> None:
    """As RtMidi's `set_callback`, for good. Cancelling a callback frees the tuple that holds it, which the driver's
    thread may be about to read while it waits for the interpreter lock: a crash of the whole process, and not where it
    was caused. So the tuple lives on; a port costs some bytes each time it is opened."""
    client.set_callback(callback)
    _LASTING.extend(held for held in gc.get_referents(client) if isinstance(held, tuple) and callback in held)
