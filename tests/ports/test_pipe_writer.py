"""A pipe that is abandoned under its writer's hands ends the thread quietly, whatever it was doing."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from fractal_live.ports.pipe_writer import PipeWriter


@pytest.mark.parametrize("turn", range(20))
def test_who_is_abandoned_while_it_writes_ends_without_a_word(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    ours, theirs = multiprocessing.Pipe()
    before = set(threading.enumerate())
    writer = PipeWriter(ours)
    (thread,) = set(threading.enumerate()) - before
    writer.send([list(range(1000))] * 2000)  # more than a pipe holds
    for _ in range(turn):
        theirs.recv()
    writer.abandon()
    ours.close()
    theirs.close()
    thread.join(5)
    assert not thread.is_alive() and not said
