"""The one door to every system that makes music: a checkpoint says what kind it is and gets its engine.

`main` is the model process for all of them.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
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
    ModelFault per request and a ModelPing per ModelPing, until the pipe closes. Leaves Ctrl-C to the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        setup: ModelSetup = connection.recv()
        torch.set_num_threads(setup.threads)
        try:
            engine = _warm(setup, connection)
        except (ValueError, RuntimeError) as error:
            connection.send(ModelFault(str(error)))
            return
        while True:
            request: BarRequest | InfillRequest | ModelPing = connection.recv()
            if isinstance(request, ModelPing):
                connection.send(request)
                continue
            try:
                connection.send(_answer(engine, request))
            except torch.OutOfMemoryError as error:
                if setup.device == "cpu":
                    raise
                # Another program has taken the GPU's memory; the CPU has its own.
                setup = replace(setup, device="cpu")
                engine = _warm(setup, connection)
                connection.send(ModelFault(f"the GPU is out of memory, going on on the CPU: {error}", request.version))
            except Exception as error:
                # Whatever one request does to the model, the next one is answered.
                what = f"bar {request.index}" if isinstance(request, BarRequest) else "the gap in the loop"
                connection.send(ModelFault(f"{what}: {type(error).__name__}: {error}", request.version))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(engine: Any, request: BarRequest | InfillRequest) -> BarReply | InfillReply:
    if isinstance(request, BarRequest):
        reply: BarReply = engine.bar(request)
        return reply
    started_ns = time.monotonic_ns()
    return InfillReply(engine.infill(request), request.version, time.monotonic_ns() - started_ns)


def _warm(setup: ModelSetup, connection: Connection) -> Any:
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
    connection.send(ModelReady(engine.checkpoint_id, str(engine.device), engine.parameters, bar_ns))
    return engine
