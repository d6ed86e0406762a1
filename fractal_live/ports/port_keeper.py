"""Opens the stage's two ports, and keeps them open: in a thread of its own it tries again where there is no MIDI
system, or no longer, and plugs an existing port in again that went away and is back.

The loop only hands over what is to be closed and takes what has been opened; it never waits for a port.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from fractal_live.ports.jack_midi import JackMidiIn, JackMidiOut
from fractal_live.ports.midi_in import MidiIn, open_input
from fractal_live.ports.midi_out import MidiOut, NoPort, open_output
from fractal_live.ports.midi_system import PortError
from fractal_live.ports.pipes import StageSetup

TRY_S = 0.5
JOIN_S = 2.0


class MidiPorts(NamedTuple):
    output: MidiOut | JackMidiOut | NoPort
    midi_in: MidiIn | JackMidiIn

    @property
    def is_lost(self) -> bool:
        """The MIDI system has gone."""
        return self.output.is_lost or self.midi_in.is_lost

    @property
    def is_waiting(self) -> bool:
        """There is no port yet, and there may be one."""
        return isinstance(self.output, NoPort) and self.output.is_waiting

    def close(self) -> None:
        self.output.close()
        self.midi_in.close()


def open_ports(setup: StageSetup, wake: Callable[[], None], is_realtime: bool) -> MidiPorts:
    """Both ports as the setup wants them; PortError if one that is named is not there. `wake` is called from other
    threads when something has come in, has left or is lost."""
    output = open_output(setup.port_name, setup.midi_api, setup.connect, wake, is_realtime, wake)
    try:
        return MidiPorts(output, open_input(setup.port_name, wake, setup.midi_api, setup.clock_port, wake))
    except PortError:
        output.close()
        raise


def no_ports(wake: Callable[[], None], is_realtime: bool, advice: str = "") -> MidiPorts:
    """What stands in until ports can be had."""
    return MidiPorts(NoPort(advice, wake, is_realtime, is_waiting=True), MidiIn(wake))


class PortKeeper:
    """`open_ports` opens both, or raises PortError; `wake` is called when `take` `take_replugged` or
    `take_unplugged` has something.
    All but the thread's own methods are for the loop."""

    def __init__(self, open_ports: Callable[[], MidiPorts], wake: Callable[[], None]) -> None:
        self._open_ports = open_ports
        self._wake = wake
        self._ports: MidiPorts | None = None
        self._retired: deque[MidiPorts] = deque()
        self._opened: deque[MidiPorts] = deque(maxlen=1)
        self._replugged: deque[str] = deque(maxlen=8)
        self._unplugged: deque[str] = deque(maxlen=8)
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="port-keeper", daemon=True)

    def start(self, ports: MidiPorts) -> None:
        """Begins to look after them."""
        self._ports = ports
        self._thread.start()

    def use(self, ports: MidiPorts) -> None:
        """From now on these; the ones before are closed."""
        if self._ports is not None and self._ports is not ports:
            self._retired.append(self._ports)
        self._ports = ports

    def take(self) -> MidiPorts | None:
        """Ports that have been opened, to be used instead of those before."""
        if not self._opened:
            return None
        self.use(self._opened[0])  # before it is taken: the thread opens no others meanwhile
        return self._opened.popleft()

    def take_replugged(self) -> str | None:
        """The name of an output that had gone and is back."""
        return self._replugged.popleft() if self._replugged else None

    def take_unplugged(self) -> str | None:
        """The name of a port, asked for by name, that has gone."""
        return self._unplugged.popleft() if self._unplugged else None

    def close(self) -> None:
        """Ends the thread. What it opened last and nobody took is closed; the ports in use are not."""
        self._is_closing.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._is_closing.wait(TRY_S):
            # First: a library that still holds a dead server does not see its successor, and libjack frees all
            # clients of a dead server when the next one is opened, whoever still means to close them.
            self._close_retired()
            self._look_after(self._ports)
        self._close_retired()
        while self._opened:
            self._opened.popleft().close()

    def _close_retired(self) -> None:
        while self._retired:
            self._retired.popleft().close()

    def _look_after(self, ports: MidiPorts | None) -> None:
        if ports is None or ports.is_lost or self._opened:
            return
        if ports.is_waiting:
            self._try_to_open()
        else:
            self._replug(ports.midi_in)
            if self._replug(ports.output):
                self._replugged.append(ports.output.name)
                self._wake()

    def _replug(self, port: MidiOut | JackMidiOut | NoPort | MidiIn | JackMidiIn) -> bool:
        was_plugged = port.is_plugged
        is_back = port.reconnect()
        if was_plugged and not port.is_plugged:
            self._unplugged.append(port.name)
            self._wake()
        return is_back

    def _try_to_open(self) -> None:
        try:
            opened = self._open_ports()
        except PortError:
            return  # not yet; the performer knows
        if opened.is_waiting:
            opened.close()
            return
        self._opened.append(opened)
        self._wake()
