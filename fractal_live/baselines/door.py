"""The one door to every system that makes music: a checkpoint says what kind it is and gets its engine.

`main` is the model process for all of them.
"""

from __future__ import annotations

import gc
import importlib
import os
import queue
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from fractal_live.baselines.kinds import ENGINES, peek_kind
from fractal_live.music.request import (
    BarReply,
    BarRequest,
    InfillReply,
    InfillRequest,
    ModelFault,
    ModelPing,
    ModelReady,
    ModelSetup,
    Withdrawn,
)

NICENESS = 10


def open_engine(path: Path, device: str = "auto") -> Any:
    """The engine that plays a checkpoint: a `Generator` that also has `device` and `warm_up()`. Only the modules
    of its own kind are loaded. Raises CheckpointError, or ValueError for a kind or device that is not there."""
    kind = peek_kind(path)
    if kind not in ENGINES:
        raise ValueError(f"{path}: its kind is {kind!r}; this version plays {', '.join(ENGINES)}")
    module, name = ENGINES[kind]
    return getattr(importlib.import_module(module), name)(path, device)


def main(connection: Connection) -> None:
    """The model process: ModelSetup (a spare one waits for it), then ModelReady, then a BarReply, InfillReply or
    ModelFault per request (none for a bar that a newer request overtook) and a ModelPing per ModelPing, until the pipe
    closes. Leaves Ctrl-C to the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        setup: ModelSetup = connection.recv()
        torch.set_num_threads(setup.threads)
        daemon = _Daemon(connection)
        try:
            engine = _warm(setup, daemon)
        except (ValueError, RuntimeError) as error:
            daemon.send(ModelFault(str(error)))
            return
        while (request := daemon.next_request()) is not None:
            try:
                daemon.send(_answer(engine, request, daemon))
            except Withdrawn:
                continue
            except torch.OutOfMemoryError as error:
                if setup.device == "cpu":
                    raise
                # Another program has taken the GPU's memory; the CPU has its own.
                text = f"the GPU is out of memory, going on on the CPU: {error}"
                daemon.send(ModelFault(text, request.version, begins_anew=True))
                setup = replace(setup, device="cpu")
                engine = _warm(setup, daemon)
            except Exception as error:
                # Whatever one request does to the model, the next one is answered.
                what = f"bar {request.index}" if isinstance(request, BarRequest) else "the gap in the loop"
                daemon.send(ModelFault(f"{what}: {type(error).__name__}: {error}", request.version))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(engine: Any, request: BarRequest | InfillRequest, daemon: _Daemon) -> BarReply | InfillReply:
    if isinstance(request, BarRequest):
        reply: BarReply = engine.bar(request, lambda: daemon.newest is request)
        return reply
    started_ns = time.monotonic_ns()
    return InfillReply(engine.infill(request), request.version, time.monotonic_ns() - started_ns)


class _Daemon:
    """The other end of the pipe. A thread reads it, so that while a bar is made a ping is answered and a `newest`
    request is heard of, which means that nobody waits for the one before."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # of sending
        self.newest: BarRequest | InfillRequest | None = None
        self._requests: queue.SimpleQueue[BarRequest | InfillRequest | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def next_request(self) -> BarRequest | InfillRequest | None:
        """Waited for; None when the daemon has gone."""
        return self._requests.get()

    def send(self, message: object) -> None:
        with self._lock:
            self._connection.send(message)

    def _read(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, ModelPing):
                    self.send(message)
                else:
                    self.newest = message
                    self._requests.put(message)
        except (EOFError, OSError):
            self._requests.put(None)


def _warm(setup: ModelSetup, daemon: _Daemon) -> Any:
    """The engine, warmed up (unless bars are waited for) and announced. Without room on the GPU, on the CPU."""
    try:
        engine = open_engine(Path(setup.checkpoint), setup.device)
        bar_ns = 0 if setup.is_restart else engine.warm_up()
    except torch.OutOfMemoryError:
        if setup.device == "cpu":
            raise
        engine = open_engine(Path(setup.checkpoint), "cpu")
        bar_ns = 0 if setup.is_restart else engine.warm_up()
    gc.collect()
    gc.freeze()
    daemon.send(ModelReady(engine.checkpoint_id, str(engine.device), engine.parameters, bar_ns))
    return engine
