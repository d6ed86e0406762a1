"""The model process answers whatever happens to one request."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from fractal_live.baselines import door
from fractal_live.music.notes import Bar
from fractal_live.music.plan import unknown_plan
from fractal_live.music.request import (
    BarReply,
    BarRequest,
    ModelFault,
    ModelPing,
    ModelReady,
    ModelSetup,
    Withdrawn,
)


@dataclass
class Engine:
    """One whose GPU is full."""

    device: str
    checkpoint_id: str = "small"
    parameters: int = 1

    def warm_up(self) -> int:
        return 1

    def bar(self, request: BarRequest, is_wanted: Callable[[], bool] = lambda: True) -> BarReply:
        if request.index == 7:
            raise ZeroDivisionError("in bar 7")
        if self.device == "cuda":
            raise torch.OutOfMemoryError("2 GiB wanted, 1 MiB free")
        return BarReply(Bar(request.index), unknown_plan(), request.version, 1)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """Our end of a model process that runs in a thread."""
    opened: dict[str, Any] = {"auto": Engine("cuda"), "cpu": Engine("cpu")}
    monkeypatch.setattr(door, "open_engine", lambda path, device: opened[device])
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setattr(door.signal, "signal", lambda number, handler: None)
    here, there = multiprocessing.Pipe()
    process = threading.Thread(target=door.main, args=(there,), daemon=True)
    process.start()
    yield here
    here.close()
    process.join(5)
    assert not process.is_alive()


def test_a_full_gpu_is_left_for_the_cpu_and_said(ours: Connection) -> None:
    ours.send(ModelSetup(str(Path("small")), "auto", 1))
    assert ours.recv() == ModelReady("small", "cuda", 1, 1)
    ours.send(BarRequest(0, version=3))
    text = "the GPU is out of memory, going on on the CPU: 2 GiB wanted, 1 MiB free"
    assert ours.recv() == ModelFault(text, 3, begins_anew=True)
    assert ours.recv() == ModelReady("small", "cpu", 1, 1)
    ours.send(BarRequest(0, version=4))
    assert ours.recv().version == 4


def test_a_request_it_cannot_answer_does_not_end_it(ours: Connection) -> None:
    ours.send(ModelSetup(str(Path("small")), "cpu", 1))
    assert isinstance(ours.recv(), ModelReady)
    ours.send(BarRequest(7, version=1))
    assert ours.recv() == ModelFault("bar 7: ZeroDivisionError: in bar 7", 1)
    ours.send(BarRequest(8, version=2))
    assert ours.recv().bar == Bar(8)


def test_one_that_takes_the_place_of_another_makes_real_bars_first(ours: Connection) -> None:
    ours.send(ModelSetup(str(Path("small")), "cpu", 1, is_restart=True))
    assert ours.recv() == ModelReady("small", "cpu", 1, 0)


def test_a_ping_is_answered_while_a_bar_is_made(ours: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    made = Engine.bar

    def slowly(engine: Engine, request: BarRequest, is_wanted: Callable[[], bool]) -> BarReply:
        assert goes_on.wait(10)
        return made(engine, request)

    monkeypatch.setattr(Engine, "bar", slowly)
    ours.send(ModelSetup(str(Path("small")), "cpu", 1))
    assert isinstance(ours.recv(), ModelReady)
    ours.send(BarRequest(3, version=1))
    ours.send(ModelPing())
    assert ours.recv() == ModelPing()
    goes_on.set()
    assert ours.recv().bar == Bar(3)


def test_a_bar_that_a_newer_request_overtakes_is_given_up(ours: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Engine.bar

    def until_overtaken(engine: Engine, request: BarRequest, is_wanted: Callable[[], bool]) -> BarReply:
        for _ in range(1000):
            if request.version == 3:
                return made(engine, request)
            if not is_wanted():
                raise Withdrawn
            threading.Event().wait(0.01)
        raise AssertionError("nobody said so")

    monkeypatch.setattr(Engine, "bar", until_overtaken)
    ours.send(ModelSetup(str(Path("small")), "cpu", 1))
    assert isinstance(ours.recv(), ModelReady)
    for version in (1, 2, 3):
        ours.send(BarRequest(version, version=version))
    assert ours.recv().version == 3
    assert not ours.poll(0.1), "nothing is said of the others"
