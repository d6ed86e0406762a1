"""Every control is heard: moved over OSC while it plays, judged by the notes that sound.

Plays by its own clock to no MIDI system at all; the notes are heard through `/fractal/out/note`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from tests.instrument import Instrument, instrument, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TEMPO_BPM = 300


class Ear:
    """An OSC client that subscribes and keeps what it is told: (address, values) in order."""

    def __init__(self, running: Instrument) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._to = ("127.0.0.1", running.osc_port)
        self.told: list[tuple[str, tuple[float, ...]]] = []

    def send(self, address: str, *values: float) -> None:
        builder = OscMessageBuilder(address)
        for value in values:
            builder.add_arg(float(value), "f")
        self._socket.sendto(builder.build().dgram, self._to)

    def say(self, address: str, text: str) -> None:
        builder = OscMessageBuilder(address)
        builder.add_arg(text)
        self._socket.sendto(builder.build().dgram, self._to)

    def subscribe(self) -> None:
        self.send("/fractal/subscribe")

    def listen(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(65536)
            except BlockingIOError:
                return
            except ConnectionRefusedError:  # sent before the instrument listened
                continue
            message = OscMessage(datagram)
            self.told.append((message.address, tuple(message.params)))

    def bar(self) -> int:
        self.listen()
        return int(next((values[0] for address, values in reversed(self.told) if address == "/fractal/out/bar"), -1))

    def await_bar(self, index: int) -> None:
        wait_for(lambda: self.bar() >= index, 60, f"bar {index}")

    def after(self, bars: int) -> list[tuple[float, ...]]:
        """The notes of so many whole bars from now: a control that was moved has its bar line first, then one
        more bar, because the line may have been too near."""
        first = self.bar() + 2
        self.await_bar(first + bars)
        starts = [place for place, (address, _) in enumerate(self.told) if address == "/fractal/out/bar"]
        low = next(place for place in starts if self.told[place][1][0] == first)
        high = next(place for place in starts if self.told[place][1][0] == first + bars)
        notes = [values for address, values in self.told[low:high] if address == "/fractal/out/note" and values[1] > 0]
        assert notes, "it went silent"
        return notes

    def plan(self, attribute: str) -> np.ndarray:
        self.listen()
        address = f"/fractal/out/plan/{attribute}"
        return np.array(next(values for told, values in reversed(self.told) if told == address))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[Ear]:
    options = ("--sync", "internal", "--midi-api", "none", "--tempo", str(TEMPO_BPM), "--seed", "21")
    with instrument(tmp_path, *options) as running:
        ear = Ear(running)

        def is_heard() -> bool:
            ear.subscribe()
            time.sleep(0.2)
            return ear.bar() >= 0

        wait_for(is_heard, 90, "the first bar")
        yield ear
        assert running.leave() == 0
        ear.close()


def pitch_of(notes: list[tuple[float, ...]]) -> float:
    return float(np.mean([note[0] for note in notes]))


def loudness_of(notes: list[tuple[float, ...]]) -> float:
    return float(np.mean([note[1] for note in notes]))


def test_the_plan_is_heard_and_released(playing: Ear) -> None:
    playing.send("/fractal/plan/density", 5)
    assert len(playing.after(3)) == 15
    playing.send("/fractal/plan/density", 32)
    assert len(playing.after(3)) >= 90
    playing.send("/fractal/plan/density", 12)
    playing.send("/fractal/plan/register", 52)
    low = pitch_of(playing.after(3))
    playing.send("/fractal/plan/register", 74)
    assert pitch_of(playing.after(3)) > low + 8
    playing.send("/fractal/plan/register")
    playing.send("/fractal/plan/loudness", 50)
    soft = loudness_of(playing.after(3))
    playing.send("/fractal/plan/loudness", 110)
    assert loudness_of(playing.after(3)) > soft + 25


def test_latent_temperature_guidance_and_a_new_cycle_are_heard(playing: Ear) -> None:
    playing.send("/fractal/latent/level0", 0, 0, -3)
    low, low_plan = pitch_of(playing.after(4)), playing.plan("register")
    playing.send("/fractal/latent/level0", 0, 0, 3)
    high, high_plan = pitch_of(playing.after(4)), playing.plan("register")
    assert min(low_plan.min(), high_plan.min()) > 0, "a plan is complete once the controls rest"
    assert high_plan.mean() > low_plan.mean() + 4
    assert high > low + 1

    playing.send("/fractal/latent/gain", 0)
    playing.send("/fractal/plan/density", 16)
    playing.send("/fractal/param/temperature", 0.15)
    tame = len({note[0] for note in playing.after(4)})
    playing.send("/fractal/param/temperature", 2.0)
    assert len({note[0] for note in playing.after(4)}) > tame

    playing.send("/fractal/param/temperature", 1.0)
    playing.after(1)
    before = playing.plan("register")
    playing.send("/fractal/generate", 77)
    playing.after(1)
    after = playing.plan("register")
    shift = 3  # at most this many bars have gone by: none of the old rows may have stayed where they were
    assert not any(np.array_equal(before[k : k + 16], after[:16]) for k in range(shift + 1))

    playing.send("/fractal/param/transpose", 24)
    high = pitch_of(playing.after(3))
    playing.send("/fractal/param/transpose", -24)
    assert high - pitch_of(playing.after(3)) > 30
