"""The queue between the stage and JACK's cycles, on a server that we drive ourselves: what goes in comes out."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from fractal_live.ports import jack_midi
from fractal_live.ports.jack_midi import DOUBTED_CYCLES, JackMidiOut

RATE, FRAMES = 48_000, 256
CYCLE_NS = FRAMES * 10**9 // RATE


class FullError(Exception):
    """The cycle's buffer is full."""


class Port:
    """JACK's end: a buffer per cycle that holds `room` messages; what a cycle leaves in it has been sent."""

    name = "fractal-live:output"
    number_of_connections = 1

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self._cycle: list[tuple[int, bytes]] = []

    def clear_buffer(self) -> None:
        self._cycle = []

    def write_midi_event(self, frame: int, message: bytes) -> None:
        assert 0 <= frame < FRAMES and (not self._cycle or frame >= self._cycle[-1][0]), "in order, inside the cycle"
        if len(self._cycle) >= self.room:
            raise FullError
        self._cycle.append((frame, message))
        self.sent.append(message)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], tuple[JackMidiOut, Port]]:
    """An output at a port with so much room."""

    def open_at(room: int) -> tuple[JackMidiOut, Port]:
        port = Port(room)
        clock = SimpleNamespace(rate=RATE, ns_of=lambda frames: frames * 10**9 // RATE)
        ports = SimpleNamespace(register=lambda name: port)
        client = SimpleNamespace(
            jack=SimpleNamespace(midi_outports=ports, blocksize=FRAMES),
            clock=clock,
            is_lost=False,
            xruns=0,
            start=lambda process, clear: None,
            close=lambda: None,
        )
        monkeypatch.setattr(jack_midi, "_client", lambda name, on_lost: client)
        monkeypatch.setattr(jack_midi, "JackError", FullError)
        return JackMidiOut("fractal-live", None, lambda: None, lambda: None), port

    return open_at


@pytest.mark.parametrize("room", [1, 3, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_merged_or_sent_twice_whatever_happens_between_two_cycles(
    opened: Callable[[int], tuple[JackMidiOut, Port]], seed: int, room: int
) -> None:
    """Cycles are left out, buffers fill, what waits is taken back; each message is counted exactly once."""
    rng, number = random.Random(seed), 0
    output, port = opened(room)
    now_ns, newest_ns = 10**9, 0
    at_once: list[bytes] = []
    timed: list[bytes] = []
    for _ in range(3000):
        kind = rng.randrange(5)
        if kind == 0:
            messages = [number.to_bytes(3, "big") for number in range(number, number + rng.randrange(4))]
            output.send(messages)
            at_once += messages
            number += len(messages)
        elif kind == 1:
            events = []
            for _ in range(rng.randrange(6)):
                newest_ns = max(newest_ns, now_ns) + rng.randrange(2 * CYCLE_NS)
                events.append((newest_ns, 0, number.to_bytes(3, "big")))
                number += 1
            timed += [message for _, _, message in events[: output.play(events)]]
        elif kind == 2 and rng.random() < 0.1:
            count = output.take_back()
            timed = timed[: len(timed) - count]
            newest_ns = 0
        else:
            now_ns += CYCLE_NS * rng.choice((1, 1, 1, 5))
            output._process(now_ns, FRAMES)
    while output._waiting or output._at_once:
        now_ns += CYCLE_NS
        output._process(now_ns, FRAMES)
    assert sorted(port.sent) == sorted(at_once + timed)
    assert [message for message in port.sent if message in set(at_once)] == at_once, "in their order"
    assert [event[2] for event, _ in output.take_sent()] == timed, "and what is said to have left has left"


def test_what_threads_send_while_cycles_run_arrives_whole_and_in_order(
    opened: Callable[[int], tuple[JackMidiOut, Port]],
) -> None:
    """As an asyncio program sends: now and then, from another thread than JACK's."""
    output, port = opened(7)
    messages = [number.to_bytes(3, "big") for number in range(20_000)]
    is_over = threading.Event()

    def cycles() -> None:
        now_ns = 0
        while not is_over.is_set() or output._at_once:
            now_ns += CYCLE_NS
            output._process(now_ns, FRAMES)

    jack = threading.Thread(target=cycles)
    jack.start()
    for first in range(0, len(messages), 4):
        output.send(messages[first : first + 4])
    is_over.set()
    jack.join()
    assert port.sent == messages


ON, OFF, SILENCE = b"\x90\x3c\x40", b"\x80\x3c\x00", b"\xb0\x7b\x00"
IN_TIME_NS = 10**12


def cycles(output: JackMidiOut, count: int, is_late: bool = False) -> None:
    """So many, which begin in the future or began long ago."""
    start_ns = time.monotonic_ns() + (-IN_TIME_NS if is_late else IN_TIME_NS)
    for _ in range(count):
        output._process(start_ns, FRAMES)


def test_what_a_late_cycle_closed_is_closed_once_more(opened: Callable[[int], tuple[JackMidiOut, Port]]) -> None:
    output, port = opened(1000)
    output.send([ON, OFF, SILENCE])
    cycles(output, 1, is_late=True)
    cycles(output, 3)
    assert port.sent == [ON, OFF, SILENCE, OFF, SILENCE]


def test_what_was_closed_just_before_cycles_were_left_out_is_closed_once_more(
    opened: Callable[[int], tuple[JackMidiOut, Port]],
) -> None:
    output, port = opened(1000)
    output.send([ON, OFF])
    cycles(output, 2)
    output._client.xruns += 1
    cycles(output, 3)
    assert port.sent == [ON, OFF, OFF]


def test_what_was_closed_and_struck_again_is_left_alone(opened: Callable[[int], tuple[JackMidiOut, Port]]) -> None:
    output, port = opened(1000)
    output.send([ON, OFF, SILENCE, ON])
    cycles(output, 1, is_late=True)
    cycles(output, 3)
    assert port.sent == [ON, OFF, SILENCE, ON]


def test_a_silence_is_said_twice_with_all_that_it_closed(opened: Callable[[int], tuple[JackMidiOut, Port]]) -> None:
    output, port = opened(1000)
    output.send([ON, OFF, SILENCE])
    cycles(output, DOUBTED_CYCLES)
    assert port.sent == [ON, OFF, SILENCE]
    cycles(output, 20)
    assert port.sent == [ON, OFF, SILENCE, OFF, SILENCE]


def test_whoever_closes_the_port_waits_until_the_silence_is_said_twice(
    opened: Callable[[int], tuple[JackMidiOut, Port]],
) -> None:
    output, port = opened(1000)
    output.send([ON, OFF, SILENCE])
    closing = threading.Thread(target=output.close)
    closing.start()
    while closing.is_alive():
        cycles(output, 1)
        closing.join(0.001)
    assert port.sent == [ON, OFF, SILENCE, OFF, SILENCE]


def test_a_cycle_in_time_repeats_nothing_and_a_late_one_nothing_old(
    opened: Callable[[int], tuple[JackMidiOut, Port]],
) -> None:
    output, port = opened(1000)
    output.send([ON, OFF])
    cycles(output, 10)
    cycles(output, 1, is_late=True)
    cycles(output, 2)
    assert port.sent == [ON, OFF]
