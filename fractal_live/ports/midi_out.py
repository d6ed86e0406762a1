"""Messages at their time to a MIDI output port: a virtual one of our own, or an existing one.

Where there is no MIDI system, `NoPort` takes its place: it counts and sends nowhere.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import rtmidi

from fractal_live.ports.jack_client import JackClient
from fractal_live.ports.jack_midi import JackMidiOut
from fractal_live.ports.midi_system import (
    JACK_NATIVE,
    REMEDY,
    Plug,
    PortError,
    choose_api,
    find_port,
    has_virtual_ports,
    input_ports,
    new_output,
    port_title,
    watch_server,
)
from fractal_live.ports.sender import Sender

FLUSH_S = 0.1  # a JACK client hands over at the next period; closing at once would lose the note-offs


class NoPort(Sender):
    """Sends nowhere, each message at its time; `sent` counts what would have gone out. `is_waiting`: a port was
    wanted, and may still be had."""

    is_lost = False
    is_plugged = True

    def __init__(
        self,
        advice: str = "",
        on_sent: Callable[[], None] = lambda: None,
        is_realtime: bool = False,
        is_waiting: bool = False,
    ) -> None:
        self.name = ""
        self.advice = advice
        self.is_waiting = is_waiting
        self.sent = 0
        super().__init__(self._count, on_sent, is_realtime)

    def reconnect(self) -> bool:
        """There is nothing to plug."""
        return False

    def take_heard(self) -> bool:
        """Nobody listens."""
        return False

    def _count(self, message: bytes) -> None:
        self.sent += 1


class MidiOut(Sender):
    """An open output port of RtMidi's. `title` is our end's name where it is plugged into the existing port `name`;
    `watch` notices the end of a JACK server, which RtMidi does not."""

    def __init__(
        self,
        client: Any,
        name: str,
        on_sent: Callable[[], None] = lambda: None,
        is_realtime: bool = False,
        title: str | None = None,
        watch: JackClient | None = None,
    ) -> None:
        self.name = name
        self.advice = ""
        self._client = client
        self._plug = Plug(client, name, title)
        self._watch = watch
        super().__init__(self._hand_to_system, on_sent, is_realtime)

    @property
    def is_lost(self) -> bool:
        """The server has gone; nothing may be sent any more, and this process cannot have another client of it."""
        return self._watch is not None and self._watch.is_lost

    @property
    def is_plugged(self) -> bool:
        """False while an existing port that was asked for is away, as the last `reconnect` found it."""
        return self._plug.is_there

    def take_heard(self) -> bool:
        """RtMidi does not tell who listens."""
        return False

    def reconnect(self) -> bool:
        """Plugs into the existing port again if it went away and is back; whether it did."""
        with self._lock:
            return self._client is not None and not self.is_lost and self._plug.renew()

    def _hand_to_system(self, message: bytes) -> None:
        if self.is_lost:
            return  # RtMidi would fill the dead server's buffer and then wait for ever, with the interpreter lock
        try:
            self._client.send_message(message)
        except (rtmidi.RtMidiError, RuntimeError) as trouble:
            raise PortError(f"the MIDI output {self.name} refused a message: {trouble}") from trouble

    def close(self) -> None:
        """Waits until what was sent has left, then closes. May be called twice."""
        super().close()
        if self._client is None:
            return
        if self._watch is not None:
            self._watch.close()
        time.sleep(FLUSH_S)
        client, self._client = self._client, None
        client.close_port()
        client.delete()


def open_output(
    port_name: str,
    midi_api: str = "auto",
    connect: str | None = None,
    on_sent: Callable[[], None] = lambda: None,
    is_realtime: bool = False,
    on_lost: Callable[[], None] = lambda: None,
) -> MidiOut | JackMidiOut | NoPort:
    """A virtual port called `port_name`, or with `connect` the existing port of that name or part of it.
    `on_sent` is called from another thread whenever something has left, `on_lost` when the system has gone."""
    api = choose_api(midi_api)
    if api is None:
        if connect is not None:
            raise PortError(f"no MIDI system answers, so there is no port {connect!r}; {REMEDY}")
        is_wanted = midi_api != "none"
        advice = f"No MIDI system answers, playing to nowhere: {REMEDY}." if is_wanted else ""
        return NoPort(advice, on_sent, is_realtime, is_waiting=is_wanted)
    if connect is None and not has_virtual_ports(api):
        advice = "This MIDI system has no virtual ports: create a loopback port and name it with --connect."
        return NoPort(advice, on_sent, is_realtime)
    if api == JACK_NATIVE:
        return JackMidiOut(port_name, connect, on_sent, on_lost)
    client = new_output(api, port_name)
    title = port_title(api, port_name, "output")
    try:
        if connect is not None:
            ports = client.get_ports()
            number = find_port(ports, connect)
            client.open_port(number, name=title)
            return MidiOut(client, ports[number], on_sent, is_realtime, title, watch_server(api, on_lost))
        before = input_ports(api)
        client.open_virtual_port(name=title)
        ours = [name for name in input_ports(api) if name not in before]
        name = ours[0] if ours else port_name
        return MidiOut(client, name, on_sent, is_realtime, watch=watch_server(api, on_lost))
    except (rtmidi.RtMidiError, RuntimeError, OSError) as trouble:
        with contextlib.suppress(rtmidi.RtMidiError, RuntimeError):
            client.delete()
        raise trouble if isinstance(trouble, PortError) else PortError(f"MIDI output {port_name}: {trouble}") from None
