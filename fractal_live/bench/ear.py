"""A process that only listens: every message at a port of its own, stamped in the driver's callback."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection

from fractal_live.ports import pipes
from fractal_live.ports.midi_in import open_input
from fractal_live.ports.midi_system import PortError
from fractal_live.ports.priority import ask_for_priority

ENTRY = "fractal_live.bench.ear"
LOOK_S = 0.05  # far more often than the port's queue fills


@dataclass(frozen=True, slots=True)
class EarSetup:
    """First message to the ear. `midi_api` as in StageSetup."""

    midi_api: str
    port_name: str = "fractal-ear"


@dataclass(frozen=True, slots=True)
class EarReady:
    """From the ear: the input that one connects to; empty where there is no MIDI system."""

    port: str


@dataclass(frozen=True, slots=True)
class Take:
    """To the ear: what has been heard since the last time?"""


@dataclass(frozen=True, slots=True)
class Heard:
    """From the ear: (time.monotonic_ns, message), oldest first."""

    messages: tuple[tuple[int, bytes], ...]


def main(connection: Connection) -> None:
    """Entry point of the process: EarSetup, then EarReady, then Heard for every Take, until the pipe closes."""
    try:
        setup: EarSetup = connection.recv()
        ask_for_priority()  # what is measured shall not be the ear's own sleep
        try:
            midi_in = open_input(setup.port_name, lambda: None, setup.midi_api)
        except PortError as trouble:
            connection.send(pipes.Fault(str(trouble)))
            return
    except (EOFError, OSError):
        return
    heard: list[tuple[int, bytes]] = []
    try:
        connection.send(EarReady(midi_in.name))
        while True:
            asked = connection.poll(LOOK_S)
            while midi_in.received:
                heard.append(midi_in.received.popleft())
            if asked:
                connection.recv()
                connection.send(Heard(tuple(heard)))
                heard.clear()
    except (EOFError, OSError):
        return
    finally:
        midi_in.close()
